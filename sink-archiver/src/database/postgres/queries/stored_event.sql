SELECT
    (SELECT (extract(epoch FROM received_at) * 1000)::bigint
     FROM events
     WHERE tenant = $1 AND source = $2 AND event_id = $3 AND occurred_at = to_timestamp($4::bigint / 1000.0)),
    (SELECT next_offset FROM sink_offsets WHERE topic = $5 AND partition = $6)
