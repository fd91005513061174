SELECT breach_status.tenant, breach_status.journey, journeys.current_stage, journeys.signup_at, journeys.segments
FROM breach_status
JOIN journeys USING (tenant, user_id, journey, attempt)
WHERE breach_status.status = 'firing' AND journeys.signup_at > ?1 AND journeys.signup_at <= ?2
