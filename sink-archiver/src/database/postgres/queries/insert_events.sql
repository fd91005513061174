INSERT INTO events (
    tenant, source, event_id, event_name, event_type,
    occurred_at, original_timestamp, sent_at, received_at,
    user_id, anonymous_id, session_id, journey_id,
    properties, context, replay
)
SELECT
    tenant, source, event_id, event_name, event_type,
    to_timestamp(occurred_at / 1000.0), to_timestamp(original_timestamp / 1000.0),
    to_timestamp(sent_at / 1000.0), to_timestamp(received_at / 1000.0),
    user_id, anonymous_id, session_id, journey_id,
    properties::jsonb, context::jsonb, replay
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
    $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
    $10::text[], $11::text[], $12::text[], $13::text[],
    $14::text[], $15::text[], $16::boolean[]
) AS new (
    tenant, source, event_id, event_name, event_type,
    occurred_at, original_timestamp, sent_at, received_at,
    user_id, anonymous_id, session_id, journey_id,
    properties, context, replay
)
ON CONFLICT DO NOTHING
