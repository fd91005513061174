INSERT INTO journeys (
    record_id, tenant, journey, journey_version, user_id, attempt, generation, revision, status,
    signup_at, completed_at, total_ms, stages, current_stage, efficiency_score, breach_level,
    segments, experiments, release, cause_event_id, emitted_at
)
VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21
)
ON CONFLICT (tenant, user_id, journey, attempt) DO UPDATE SET
    record_id = excluded.record_id,
    journey_version = excluded.journey_version,
    generation = excluded.generation,
    revision = excluded.revision,
    status = excluded.status,
    signup_at = excluded.signup_at,
    completed_at = excluded.completed_at,
    total_ms = excluded.total_ms,
    stages = excluded.stages,
    current_stage = excluded.current_stage,
    efficiency_score = excluded.efficiency_score,
    breach_level = excluded.breach_level,
    segments = excluded.segments,
    experiments = excluded.experiments,
    release = excluded.release,
    cause_event_id = excluded.cause_event_id,
    emitted_at = excluded.emitted_at
WHERE (generation, revision) < (excluded.generation, excluded.revision)
