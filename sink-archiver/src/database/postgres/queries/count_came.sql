-- The caller puts in the table and its columns; both come from a closed list.
SELECT count(*)
FROM {table}
WHERE tenant = $1
  AND {written} >= to_timestamp($2::bigint / 1000.0) AND {written} < to_timestamp($3::bigint / 1000.0)
  AND {time} >= to_timestamp($4::bigint / 1000.0)
