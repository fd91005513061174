DELETE FROM {table}
WHERE {time} < ?2 AND {written} < ?3
  AND CASE WHEN ?1 IS NULL THEN tenant NOT IN (SELECT value FROM json_each(?4)) ELSE tenant = ?1 END
