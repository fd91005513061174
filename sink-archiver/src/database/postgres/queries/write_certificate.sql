INSERT INTO erasure_certificates (erasure_id, tenant, user_hash, erased_at, requested_by, source_partition,
                                  source_offset, database_at, deleted)
VALUES ($1, $2, $3, to_timestamp($4::bigint / 1000.0), $5, $6, $7, now(), $8::text::jsonb)
ON CONFLICT (erasure_id) DO NOTHING
