-- The caller puts in the table and its time column; both come from a closed list.
SELECT to_jsonb(stored)::text FROM {table} AS stored WHERE tenant = $1 AND user_id = $2 ORDER BY {time}
