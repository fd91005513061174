INSERT INTO sink_offsets AS stored (topic, partition, next_offset, owner)
SELECT topic, partition, 0, $3
FROM unnest($1::text[], $2::integer[]) AS wanted (topic, partition)
ORDER BY topic, partition
ON CONFLICT (topic, partition) DO UPDATE SET owner = excluded.owner
RETURNING topic, partition, next_offset
