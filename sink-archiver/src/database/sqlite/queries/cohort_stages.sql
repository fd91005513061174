SELECT tenant, journey, stage, signup_at, from_at, duration_ms, target_ms, anomaly IS 'skipped', segments
FROM stage_durations
WHERE signup_at > ?1 AND signup_at <= ?2
