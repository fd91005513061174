-- What people read: the views of PostgreSQL that need no percentiles.

CREATE VIEW v_user_journeys AS
SELECT
    tenant, journey, journey_version, user_id, attempt, status, signup_at, completed_at,
    total_ms / 60000.0 AS total_minutes, current_stage, efficiency_score, breach_level,
    (SELECT count(*) FROM breach_status
     WHERE (breach_status.tenant, breach_status.user_id, breach_status.journey, breach_status.attempt)
         = (journeys.tenant, journeys.user_id, journeys.journey, journeys.attempt)
       AND breach_status.status = 'firing') AS breaches_open,
    segments, experiments, release, emitted_at
FROM journeys;

CREATE VIEW v_stage_durations AS
SELECT
    tenant, journey, user_id, attempt, stage, ordinal, signup_at, from_at, to_at,
    duration_ms / 60000.0 AS duration_minutes, target_ms / 60000.0 AS target_minutes, met, anomaly,
    segments, experiments, release
FROM stage_durations;

CREATE VIEW v_funnel_daily AS
SELECT
    substr(signup_at, 1, 10) AS day, tenant, journey, stage, ordinal,
    count(*) AS started, count(from_at) AS reached, count(duration_ms) AS completed,
    count(*) FILTER (WHERE met) AS within_target,
    count(duration_ms) * 1.0 / nullif(count(from_at), 0) AS completed_share,
    count(*) FILTER (WHERE met) * 1.0 / nullif(count(duration_ms), 0) AS within_target_share,
    avg(duration_ms) / 60000.0 AS mean_minutes
FROM stage_durations
GROUP BY 1, tenant, journey, stage, ordinal;

CREATE VIEW v_breaches_open AS
SELECT
    tenant, journey, user_id, attempt, kind, level, threshold_ms / 60000.0 AS threshold_minutes,
    signup_at, due_at, detected_at, (julianday('now') - julianday(due_at)) * 1440 AS overdue_minutes,
    late, current_stage, segments
FROM breach_status
WHERE status = 'firing';

CREATE VIEW v_pipeline_health AS
SELECT topic, partition, next_offset, owner, moved_at, (julianday('now') - julianday(moved_at)) * 86400 AS idle_seconds
FROM sink_offsets;
