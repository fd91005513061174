INSERT INTO erasure_ledger (tenant, user_hash, erased_at, erasure_id)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (user_hash) DO UPDATE
SET erased_at = excluded.erased_at, erasure_id = excluded.erasure_id
WHERE erased_at < excluded.erased_at
