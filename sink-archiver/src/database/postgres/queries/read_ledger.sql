SELECT user_hash, round(extract(epoch FROM erased_at) * 1000)::bigint
FROM erasure_ledger
WHERE user_hash = ANY ($1::text[])
