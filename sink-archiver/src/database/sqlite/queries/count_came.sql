SELECT count(*) FROM {table} WHERE tenant = ?1 AND {written} >= ?2 AND {written} < ?3 AND {time} >= ?4
