-- Roll-ups of hours (or days) that lie wholly before an instant. Those that have stages which may not go yet stay with them.
-- The caller puts in the table and the length of its buckets; both come from a closed list.
WITH past AS (
    SELECT bucket, EXISTS (
            SELECT FROM stage_durations
            WHERE stage_durations.tenant = rollup.tenant
              AND signup_at >= rollup.bucket AND signup_at < rollup.bucket + INTERVAL '{step}'
              AND {written} >= to_timestamp($4::bigint / 1000.0)) AS waits
    FROM {rollup} AS rollup
    WHERE bucket <= to_timestamp($3::bigint / 1000.0) - INTERVAL '{step}'
      AND CASE WHEN $1::text IS NULL THEN array_position($2::text[], tenant) IS NULL ELSE tenant = $1 END)
SELECT count(*) FILTER (WHERE NOT waits), count(*) FILTER (WHERE waits),
       round(extract(epoch FROM min(bucket) FILTER (WHERE NOT waits)) * 1000)::bigint
FROM past
