SELECT pg_advisory_xact_lock(7830261, 1)
