SELECT
    (SELECT received_at FROM events WHERE tenant = ?1 AND source = ?2 AND event_id = ?3 AND occurred_at = ?4),
    (SELECT next_offset FROM sink_offsets WHERE topic = ?5 AND partition = ?6)
