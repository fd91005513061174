-- Stretches of time: indexes by the columns that retention and the counts of a day ask for, and views that read the days
-- (hours) they are asked for, not the whole table.

CREATE INDEX events_of_application ON events (event_type, occurred_at) WHERE event_type IN ('performance', 'error');
-- Rows come nearly in the order of these: a few pages tell which blocks can have any.
CREATE INDEX events_by_receipt ON events USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX ttf_records_by_emission ON ttf_records USING brin (emitted_at) WITH (autosummarize = on);
CREATE INDEX breaches_by_detection ON breaches USING brin (detected_at) WITH (autosummarize = on);
CREATE INDEX breach_status_by_time ON breach_status (signup_at);

DO $$
BEGIN
    -- Hypertables have an index by their time.
    IF NOT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'timescaledb') THEN
        CREATE INDEX events_by_time ON events USING brin (occurred_at) WITH (autosummarize = on);
        CREATE INDEX ttf_records_by_time ON ttf_records USING brin (signup_at) WITH (autosummarize = on);
        CREATE INDEX breaches_by_time ON breaches USING brin (signup_at) WITH (autosummarize = on);
    END IF;
END
$$;

-- A condition on the day becomes one on signup_at for each of these days, which the index answers.
CREATE OR REPLACE VIEW v_ttf_daily AS
SELECT
    days.day, tenant, journey,
    count(*) AS signups,
    count(total_ms) AS completed,
    count(*) FILTER (WHERE status = 'abandoned') AS abandoned,
    count(breach_level) AS breached,
    count(total_ms)::numeric / count(*) AS completed_share,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY total_ms) / 60000 AS median_minutes,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY total_ms) / 60000 AS p90_minutes,
    avg(efficiency_score) AS mean_score
FROM (SELECT min(signup_at) AS first, max(signup_at) AS last FROM journeys) AS span,
    LATERAL generate_series(date_trunc('day', first, 'UTC'), last, INTERVAL '24 hours') AS days (day)
JOIN journeys ON signup_at >= days.day AND signup_at < days.day + INTERVAL '24 hours'
GROUP BY days.day, tenant, journey;

CREATE OR REPLACE VIEW v_app_performance AS
SELECT
    hours.hour, tenant, properties ->> 'operation' AS operation,
    context ->> 'release' AS release,
    count(*) AS requests,
    count(*) FILTER (WHERE properties ->> 'status' = 'error') AS errors,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY (properties ->> 'duration_ms')::double precision) AS p50_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY (properties ->> 'duration_ms')::double precision) AS p95_ms,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY (properties ->> 'duration_ms')::double precision) AS p99_ms
FROM (SELECT min(occurred_at) AS first, max(occurred_at) AS last FROM events WHERE event_type = 'performance') AS span,
    LATERAL generate_series(date_trunc('hour', first, 'UTC'), last, INTERVAL '1 hour') AS hours (hour)
JOIN events ON event_type = 'performance' AND occurred_at >= hours.hour AND occurred_at < hours.hour + INTERVAL '1 hour'
GROUP BY hours.hour, tenant, properties ->> 'operation', context ->> 'release';

CREATE OR REPLACE VIEW v_app_errors AS
SELECT
    hours.hour, tenant, properties ->> 'error_type' AS error_type,
    properties ->> 'operation' AS operation, properties ->> 'severity' AS severity, context ->> 'release' AS release,
    count(*) AS errors,
    count(*) FILTER (WHERE properties ->> 'handled' = 'false') AS unhandled,
    count(DISTINCT coalesce(user_id, anonymous_id)) AS users,
    max(occurred_at) AS last_seen_at
FROM (SELECT min(occurred_at) AS first, max(occurred_at) AS last FROM events WHERE event_type = 'error') AS span,
    LATERAL generate_series(date_trunc('hour', first, 'UTC'), last, INTERVAL '1 hour') AS hours (hour)
JOIN events ON event_type = 'error' AND occurred_at >= hours.hour AND occurred_at < hours.hour + INTERVAL '1 hour'
GROUP BY hours.hour, tenant, properties ->> 'error_type', properties ->> 'operation', properties ->> 'severity',
    context ->> 'release';
