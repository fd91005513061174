INSERT INTO breach_status (
    breach_id, tenant, journey, user_id, attempt, kind, level, threshold_ms, status, reason,
    signup_at, due_at, detected_at, late, current_stage, segments, record_revision
)
VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17
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
WHERE (detected_at, record_revision, status = 'resolved')
    < (excluded.detected_at, excluded.record_revision, excluded.status = 'resolved')
