SELECT erasure_id, tenant, user_hash, round(extract(epoch FROM erased_at) * 1000)::bigint, requested_by,
       source_partition, source_offset, round(extract(epoch FROM database_at) * 1000)::bigint, deleted::text,
       round(extract(epoch FROM live_view_at) * 1000)::bigint, round(extract(epoch FROM processor_at) * 1000)::bigint,
       round(extract(epoch FROM complete_at) * 1000)::bigint
FROM erasure_certificates
WHERE CASE WHEN $1::text IS NULL THEN complete_at IS NULL ELSE erasure_id = $1 END
ORDER BY database_at
LIMIT 1000
