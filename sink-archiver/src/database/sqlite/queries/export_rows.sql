SELECT * FROM {table} WHERE tenant = ?1 AND user_id = ?2 ORDER BY {time}
