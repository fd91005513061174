UPDATE sink_offsets
SET next_offset = ?4, moved_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE topic = ?1 AND partition = ?2 AND next_offset = ?3 AND owner = ?5
