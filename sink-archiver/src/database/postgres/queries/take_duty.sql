SELECT pg_try_advisory_lock(7830261, $1)
