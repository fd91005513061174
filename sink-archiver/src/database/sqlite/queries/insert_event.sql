INSERT INTO events (
    tenant, source, event_id, event_name, event_type, occurred_at, original_timestamp, sent_at,
    received_at, user_id, anonymous_id, session_id, journey_id, properties, context, replay
)
VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16
)
ON CONFLICT DO NOTHING
