SELECT count(*) FILTER (WHERE {written} < ?3),
       count(*) FILTER (WHERE {written} >= ?3),
       min({time}) FILTER (WHERE {written} < ?3)
FROM {table}
WHERE {time} < ?2
  AND CASE WHEN ?1 IS NULL THEN tenant NOT IN (SELECT value FROM json_each(?4)) ELSE tenant = ?1 END
