SELECT pg_advisory_lock(7830261, 2)
