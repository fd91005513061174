INSERT INTO stage_durations (
    tenant, journey, user_id, attempt, stage, ordinal, signup_at, from_at, to_at, duration_ms,
    target_ms, met, anomaly, segments, experiments, release
)
VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16
)
ON CONFLICT DO NOTHING
