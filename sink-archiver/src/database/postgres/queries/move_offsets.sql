UPDATE sink_offsets AS stored
SET next_offset = wanted.next_offset, moved_at = now()
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[])
    AS wanted (topic, partition, expected, next_offset)
WHERE stored.topic = wanted.topic
  AND stored.partition = wanted.partition
  AND stored.next_offset = wanted.expected
  AND stored.owner = $5
