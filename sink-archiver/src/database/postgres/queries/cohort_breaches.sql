SELECT breach_status.tenant, breach_status.journey, journeys.current_stage,
    (extract(epoch FROM journeys.signup_at) * 1000)::bigint, journeys.segments::text
FROM breach_status
JOIN journeys USING (tenant, user_id, journey, attempt)
WHERE breach_status.status = 'firing'
  AND journeys.signup_at > to_timestamp($1::bigint / 1000.0)
  AND journeys.signup_at <= to_timestamp($2::bigint / 1000.0)
