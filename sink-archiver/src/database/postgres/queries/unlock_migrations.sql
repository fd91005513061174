SELECT pg_advisory_unlock(7830261, 2)
