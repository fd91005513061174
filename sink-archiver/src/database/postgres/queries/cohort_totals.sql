SELECT tenant, journey, journey_version, (extract(epoch FROM signup_at) * 1000)::bigint, total_ms, segments::text
FROM journeys
WHERE signup_at > to_timestamp($1::bigint / 1000.0) AND signup_at <= to_timestamp($2::bigint / 1000.0)
