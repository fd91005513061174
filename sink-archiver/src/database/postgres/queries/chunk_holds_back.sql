-- Whether a stretch of a hypertable has a row that may not go: one of a tenant who keeps it longer, or one that is not
-- archived and verified.
SELECT EXISTS (
    SELECT FROM {table}
    WHERE {time} >= to_timestamp($5::bigint / 1000.0)
      AND {time} < to_timestamp($3::bigint / 1000.0)
      AND NOT (
          {written} < to_timestamp($4::bigint / 1000.0)
          AND CASE WHEN $1::text IS NULL THEN array_position($2::text[], tenant) IS NULL ELSE tenant = $1 END))
