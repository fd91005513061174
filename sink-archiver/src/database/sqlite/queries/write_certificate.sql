INSERT INTO erasure_certificates (erasure_id, tenant, user_hash, erased_at, requested_by, source_partition,
                                  source_offset, database_at, deleted)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, CAST(unixepoch('subsec') * 1000 AS INTEGER), ?8)
ON CONFLICT (erasure_id) DO NOTHING
