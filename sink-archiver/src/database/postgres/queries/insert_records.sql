INSERT INTO ttf_records (
    record_id, tenant, journey, journey_version, user_id, attempt, generation, revision, status,
    signup_at, completed_at, total_ms, stages, current_stage, efficiency_score, breach_level,
    segments, experiments, release, cause_event_id, emitted_at
)
SELECT
    record_id, tenant, journey, journey_version, user_id, attempt, generation, revision, status,
    to_timestamp(signup_at / 1000.0), to_timestamp(completed_at / 1000.0), total_ms, stages::jsonb,
    current_stage, efficiency_score, breach_level, segments::jsonb, experiments::jsonb, release,
    cause_event_id, to_timestamp(emitted_at / 1000.0)
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::integer[],
    $8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[],
    $14::text[], $15::double precision[], $16::text[], $17::text[], $18::text[], $19::text[],
    $20::text[], $21::bigint[]
) AS new (
    record_id, tenant, journey, journey_version, user_id, attempt, generation, revision, status,
    signup_at, completed_at, total_ms, stages, current_stage, efficiency_score, breach_level,
    segments, experiments, release, cause_event_id, emitted_at
)
ON CONFLICT DO NOTHING
