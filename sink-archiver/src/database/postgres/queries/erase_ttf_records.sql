DELETE FROM ttf_records WHERE tenant = $1 AND user_id = $2 AND emitted_at < to_timestamp($3::bigint / 1000.0)
