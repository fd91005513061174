-- After the stages themselves: what has any left is made of those.
DELETE FROM {rollup} AS rollup
WHERE bucket <= to_timestamp($3::bigint / 1000.0) - INTERVAL '{step}'
  AND CASE WHEN $1::text IS NULL THEN array_position($2::text[], tenant) IS NULL ELSE tenant = $1 END
  AND NOT EXISTS (
      SELECT FROM stage_durations
      WHERE stage_durations.tenant = rollup.tenant
        AND signup_at >= rollup.bucket AND signup_at < rollup.bucket + INTERVAL '{step}'
        AND {written} >= to_timestamp($4::bigint / 1000.0))
