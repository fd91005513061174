SELECT erasure_id, tenant, user_hash, erased_at, requested_by, source_partition, source_offset, database_at, deleted,
       live_view_at, processor_at, complete_at
FROM erasure_certificates
WHERE CASE WHEN ?1 IS NULL THEN complete_at IS NULL ELSE erasure_id = ?1 END
ORDER BY database_at
LIMIT 1000
