DELETE FROM breach_status WHERE tenant = $1 AND user_id = $2 AND detected_at < to_timestamp($3::bigint / 1000.0)
