-- The score stands apart: json_object would write it with 15 digits only.
SELECT json_object(
    'record_id', record_id,
    'tenant', tenant,
    'journey', journey,
    'journey_version', journey_version,
    'user_id', user_id,
    'attempt', attempt,
    'generation', generation,
    'revision', revision,
    'status', status,
    'signup_at', signup_at,
    'completed_at', completed_at,
    'total_ms', total_ms,
    'stages', json(stages),
    'current_stage', current_stage,
    'efficiency_score', NULL,
    'breach_level', breach_level,
    'segments', json(segments),
    'experiments', json(experiments),
    'release', release,
    'cause_event_id', cause_event_id,
    'emitted_at', emitted_at
), efficiency_score
FROM journeys
WHERE tenant = ?1 AND user_id = ?2
ORDER BY journey, attempt
