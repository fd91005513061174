INSERT INTO breach_status AS stored (
    breach_id, tenant, journey, user_id, attempt, kind, level, threshold_ms, status, reason,
    signup_at, due_at, detected_at, late, current_stage, segments, record_revision
)
SELECT
    breach_id, tenant, journey, user_id, attempt, kind, level, threshold_ms, status, reason,
    to_timestamp(signup_at / 1000.0), to_timestamp(due_at / 1000.0),
    to_timestamp(detected_at / 1000.0), late, current_stage, segments::jsonb, record_revision
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[],
    $14::boolean[], $15::text[], $16::text[], $17::bigint[]
) AS new (
    breach_id, tenant, journey, user_id, attempt, kind, level, threshold_ms, status, reason,
    signup_at, due_at, detected_at, late, current_stage, segments, record_revision
)
ON CONFLICT (tenant, user_id, journey, attempt, kind, level) DO UPDATE SET
    breach_id = excluded.breach_id,
    threshold_ms = excluded.threshold_ms,
    status = excluded.status,
    reason = excluded.reason,
    signup_at = excluded.signup_at,
    due_at = excluded.due_at,
    detected_at = excluded.detected_at,
    late = excluded.late,
    current_stage = excluded.current_stage,
    segments = excluded.segments,
    record_revision = excluded.record_revision
WHERE (stored.detected_at, stored.record_revision, stored.status = 'resolved')
    < (excluded.detected_at, excluded.record_revision, excluded.status = 'resolved')
