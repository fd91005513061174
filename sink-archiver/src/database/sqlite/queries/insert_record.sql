INSERT INTO ttf_records (
    record_id, tenant, journey, journey_version, user_id, attempt, generation, revision, status,
    signup_at, completed_at, total_ms, stages, current_stage, efficiency_score, breach_level,
    segments, experiments, release, cause_event_id, emitted_at
)
VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21
)
ON CONFLICT DO NOTHING
