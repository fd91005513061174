-- The caller puts in the table and its columns; both come from a closed list.
SELECT count(*) FILTER (WHERE {written} < to_timestamp($4::bigint / 1000.0)),
       count(*) FILTER (WHERE {written} >= to_timestamp($4::bigint / 1000.0)),
       round(extract(epoch FROM min({time}) FILTER (WHERE {written} < to_timestamp($4::bigint / 1000.0))) * 1000)::bigint
FROM {table}
WHERE {time} < to_timestamp($3::bigint / 1000.0)
  AND CASE WHEN $1::text IS NULL THEN array_position($2::text[], tenant) IS NULL ELSE tenant = $1 END
