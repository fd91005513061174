INSERT INTO breaches (
    breach_id, tenant, journey, user_id, attempt, kind, level, threshold_ms, status, reason,
    signup_at, due_at, detected_at, late, current_stage, segments, record_revision
)
VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17
)
ON CONFLICT DO NOTHING
