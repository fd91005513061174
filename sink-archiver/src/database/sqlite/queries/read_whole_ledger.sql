SELECT user_hash, erased_at FROM erasure_ledger
