SELECT tenant, journey, stage,
    (extract(epoch FROM signup_at) * 1000)::bigint,
    (extract(epoch FROM from_at) * 1000)::bigint,
    duration_ms, target_ms, anomaly IS NOT DISTINCT FROM 'skipped', segments::text
FROM stage_durations
WHERE signup_at > to_timestamp($1::bigint / 1000.0) AND signup_at <= to_timestamp($2::bigint / 1000.0)
