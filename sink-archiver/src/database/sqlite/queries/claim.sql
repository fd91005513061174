INSERT INTO sink_offsets (topic, partition, next_offset, owner)
VALUES (?1, ?2, 0, ?3)
ON CONFLICT (topic, partition) DO UPDATE SET owner = excluded.owner
RETURNING next_offset
