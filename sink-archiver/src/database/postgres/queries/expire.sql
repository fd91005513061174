-- One day at a time, so that no statement takes long.
DELETE FROM {table}
WHERE {time} >= to_timestamp($5::bigint / 1000.0)
  AND {time} < to_timestamp($3::bigint / 1000.0)
  AND {written} < to_timestamp($4::bigint / 1000.0)
  AND CASE WHEN $1::text IS NULL THEN tenant <> ALL ($2::text[]) ELSE tenant = $1 END
