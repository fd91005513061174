INSERT INTO stage_durations (
    tenant, journey, user_id, attempt, stage, ordinal, signup_at, from_at, to_at, duration_ms,
    target_ms, met, anomaly, segments, experiments, release
)
SELECT
    tenant, journey, user_id, attempt, stage, ordinal, to_timestamp(signup_at / 1000.0),
    to_timestamp(from_at / 1000.0), to_timestamp(to_at / 1000.0), duration_ms, target_ms, met,
    anomaly, segments::jsonb, experiments::jsonb, release
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::boolean[], $13::text[],
    $14::text[], $15::text[], $16::text[]
) AS new (
    tenant, journey, user_id, attempt, stage, ordinal, signup_at, from_at, to_at, duration_ms,
    target_ms, met, anomaly, segments, experiments, release
)
ON CONFLICT DO NOTHING
