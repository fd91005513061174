SELECT jsonb_build_object(
    'record_id', record_id,
    'tenant', tenant,
    'journey', journey,
    'journey_version', journey_version,
    'user_id', user_id,
    'attempt', attempt,
    'generation', generation,
    'revision', revision,
    'status', status,
    'signup_at', to_char(signup_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'completed_at', to_char(completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'total_ms', total_ms,
    'stages', stages,
    'current_stage', current_stage,
    'efficiency_score', efficiency_score,
    'breach_level', breach_level,
    'segments', segments,
    'experiments', experiments,
    'release', release,
    'cause_event_id', cause_event_id,
    'emitted_at', to_char(emitted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
)::text
FROM journeys
WHERE tenant = $1 AND user_id = $2
ORDER BY journey, attempt
