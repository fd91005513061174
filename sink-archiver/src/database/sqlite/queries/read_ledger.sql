SELECT erased_at FROM erasure_ledger WHERE user_hash = ?1
