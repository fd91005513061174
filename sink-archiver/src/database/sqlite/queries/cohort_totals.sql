SELECT tenant, journey, journey_version, signup_at, total_ms, segments
FROM journeys
WHERE signup_at > ?1 AND signup_at <= ?2
