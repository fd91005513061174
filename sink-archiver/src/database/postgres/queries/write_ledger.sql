INSERT INTO erasure_ledger AS stored (tenant, user_hash, erased_at, erasure_id)
VALUES ($1, $2, to_timestamp($3::bigint / 1000.0), $4)
ON CONFLICT (user_hash) DO UPDATE
SET erased_at = excluded.erased_at, erasure_id = excluded.erasure_id
WHERE stored.erased_at < excluded.erased_at
