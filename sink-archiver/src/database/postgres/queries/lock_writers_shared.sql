-- Writers share this lock; an erasure takes it alone, so that no writer that has read the ledger before the erasure
-- can add rows after it.
SELECT pg_advisory_xact_lock_shared(7830261, 1)
