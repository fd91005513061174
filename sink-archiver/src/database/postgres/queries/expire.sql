-- One day at a time, so that no statement takes long. Never `<> ALL`: on compressed chunks TimescaleDB deletes the rows of
-- those named there, too (https://github.com/timescale/timescaledb/issues/10129); it does not look into a function.
DELETE FROM {table}
WHERE {time} >= to_timestamp($5::bigint / 1000.0)
  AND {time} < to_timestamp($3::bigint / 1000.0)
  AND {written} < to_timestamp($4::bigint / 1000.0)
  AND CASE WHEN $1::text IS NULL THEN array_position($2::text[], tenant) IS NULL ELSE tenant = $1 END
