INSERT INTO archive_settings AS stored (name, value) VALUES ('log_cluster', $1)
ON CONFLICT (name) DO UPDATE SET value = CASE
    WHEN EXISTS (SELECT 1 FROM sink_offsets WHERE next_offset > 0) THEN stored.value
    ELSE excluded.value
END
RETURNING value
