-- What people and BI tools read: views, a role that may read them, and a comment on every column.

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
COMMENT ON VIEW v_user_journeys IS 'Where each attempt of each user stands now.';

CREATE VIEW v_stage_durations AS
SELECT
    tenant, journey, user_id, attempt, stage, ordinal, signup_at, from_at, to_at,
    duration_ms / 60000.0 AS duration_minutes, target_ms / 60000.0 AS target_minutes, met, anomaly,
    segments, experiments, release
FROM stage_durations;
COMMENT ON VIEW v_stage_durations IS 'How long each stage of each attempt took.';

CREATE VIEW v_funnel_daily AS
SELECT
    bucket AS day, tenant, journey, stage, ordinal,
    sum(started)::bigint AS started,
    sum(reached)::bigint AS reached,
    sum(completed)::bigint AS completed,
    sum(within_target)::bigint AS within_target,
    sum(completed) / nullif(sum(reached), 0) AS completed_share,
    sum(within_target) / nullif(sum(completed), 0) AS within_target_share,
    sum(duration_sum_ms) / nullif(sum(completed), 0) / 60000.0 AS mean_minutes
FROM stage_rollup_daily
GROUP BY bucket, tenant, journey, stage, ordinal;
COMMENT ON VIEW v_funnel_daily IS 'By day of signup (UTC) and stage: how many came how far. From the roll-ups.';

CREATE VIEW v_ttf_daily AS
SELECT
    date_trunc('day', signup_at, 'UTC') AS day, tenant, journey,
    count(*) AS signups,
    count(total_ms) AS completed,
    count(*) FILTER (WHERE status = 'abandoned') AS abandoned,
    count(breach_level) AS breached,
    count(total_ms)::numeric / count(*) AS completed_share,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY total_ms) / 60000 AS median_minutes,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY total_ms) / 60000 AS p90_minutes,
    avg(efficiency_score) AS mean_score
FROM journeys
GROUP BY date_trunc('day', signup_at, 'UTC'), tenant, journey;
COMMENT ON VIEW v_ttf_daily IS 'By day of signup (UTC): how many succeeded, and how fast. Times and scores are of completers only; for cohorts still on their way see the cohort figures.';

CREATE VIEW v_breaches_open AS
SELECT
    tenant, journey, user_id, attempt, kind, level, threshold_ms / 60000.0 AS threshold_minutes,
    signup_at, due_at, detected_at, extract(epoch FROM now() - due_at) / 60 AS overdue_minutes,
    late, current_stage, segments
FROM breach_status
WHERE status = 'firing';
COMMENT ON VIEW v_breaches_open IS 'Deadlines that are missed now.';

CREATE VIEW v_app_performance AS
SELECT
    date_trunc('hour', occurred_at, 'UTC') AS hour, tenant, properties ->> 'operation' AS operation,
    context ->> 'release' AS release,
    count(*) AS requests,
    count(*) FILTER (WHERE properties ->> 'status' = 'error') AS errors,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY (properties ->> 'duration_ms')::double precision) AS p50_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY (properties ->> 'duration_ms')::double precision) AS p95_ms,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY (properties ->> 'duration_ms')::double precision) AS p99_ms
FROM events
WHERE event_type = 'performance'
GROUP BY date_trunc('hour', occurred_at, 'UTC'), tenant, properties ->> 'operation', context ->> 'release';
COMMENT ON VIEW v_app_performance IS 'By hour: how fast the application answered, from performance events.';

CREATE VIEW v_app_errors AS
SELECT
    date_trunc('hour', occurred_at, 'UTC') AS hour, tenant, properties ->> 'error_type' AS error_type,
    properties ->> 'operation' AS operation, properties ->> 'severity' AS severity, context ->> 'release' AS release,
    count(*) AS errors,
    count(*) FILTER (WHERE properties ->> 'handled' = 'false') AS unhandled,
    count(DISTINCT coalesce(user_id, anonymous_id)) AS users,
    max(occurred_at) AS last_seen_at
FROM events
WHERE event_type = 'error'
GROUP BY date_trunc('hour', occurred_at, 'UTC'), tenant, properties ->> 'error_type', properties ->> 'operation',
    properties ->> 'severity', context ->> 'release';
COMMENT ON VIEW v_app_errors IS 'By hour: what went wrong in the application, from error events.';

CREATE VIEW v_pipeline_health AS
SELECT topic, partition, next_offset, owner, moved_at, extract(epoch FROM now() - moved_at) AS idle_seconds
FROM sink_offsets;
COMMENT ON VIEW v_pipeline_health IS 'How far the database has read each partition, and when it last moved.';

COMMENT ON TABLE schema_migrations IS 'The schema changes this database has had.';
DO $$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'stage_rollup_hourly'::regclass) = 'r' THEN
        COMMENT ON TABLE stage_rollup_hourly IS 'Stages by hour of signup.';
    END IF;
END
$$;

-- A name means the same wherever it stands; what differs is said for the table.
DO $$
DECLARE
    it record;
BEGIN
    FOR it IN
        SELECT columns.relation, columns.name, coalesce(own.comment, general.comment) AS comment
        FROM (
            SELECT pg_class.relname::text AS relation, pg_attribute.attname::text AS name, pg_class.oid, pg_attribute.attnum
            FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
            WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition
        ) AS columns
        LEFT JOIN (VALUES
            ('tenant', 'Whose data it is.'),
            ('journey', 'Id of the journey.'),
            ('journey_version', 'Version of the journey''s definition it is judged by.'),
            ('user_id', 'Id of the user, as the product sent it.'),
            ('anonymous_id', 'Id of a visitor who is not known yet.'),
            ('attempt', 'The journey_id of its events; empty for the default attempt.'),
            ('stage', 'Id of the stage.'),
            ('ordinal', 'Place of the stage in its journey, from 0.'),
            ('signup_at', 'When the journey began.'),
            ('completed_at', 'When its last milestone was reached; null so far.'),
            ('total_ms', 'From signup to success, in milliseconds; null so far.'),
            ('total_minutes', 'From signup to success, in minutes; null so far.'),
            ('current_stage', 'Stage that begins at the furthest milestone reached; null when completed.'),
            ('efficiency_score', '100 up to the target, falling to 0 at three times the target; null so far.'),
            ('breach_level', 'Highest deadline missed; null when none.'),
            ('segments', 'Name and value of each segment, as JSON.'),
            ('experiments', 'Name and variant of each experiment, as JSON.'),
            ('release', 'Release of the product.'),
            ('record_id', 'Hash of whose journey it is, generation and revision.'),
            ('generation', 'Number of the state it came from; grows with each start anew.'),
            ('revision', 'Counts the changes of the journey within a generation.'),
            ('stages', 'Every stage with its times, as JSON in the form of the API.'),
            ('cause_event_id', 'The event of the milestone that happened last.'),
            ('emitted_at', 'When the processor wrote it.'),
            ('from_at', 'When the stage''s first milestone was reached; null so far.'),
            ('to_at', 'When the stage''s last milestone was reached; null so far.'),
            ('duration_ms', 'Time between the two, in milliseconds; null so far, or when a milestone is missing.'),
            ('duration_minutes', 'Time between the two, in minutes; null so far, or when a milestone is missing.'),
            ('target_ms', 'How long the stage should take at most, in milliseconds.'),
            ('target_minutes', 'How long the stage should take at most, in minutes.'),
            ('met', 'Whether the duration is within the target; null without a duration.'),
            ('anomaly', 'out_of_order or skipped; null when neither.'),
            ('kind', 'What was missed: deadline.'),
            ('level', 'warning, critical or escalation.'),
            ('threshold_ms', 'The deadline: time after signup, in milliseconds.'),
            ('threshold_minutes', 'The deadline: time after signup, in minutes.'),
            ('reason', 'Why it was resolved: completed, revised or erased; null while it fires.'),
            ('due_at', 'When the deadline passed.'),
            ('detected_at', 'When that was found.'),
            ('overdue_minutes', 'Minutes since the deadline.'),
            ('late', 'Found so late that nobody is notified.'),
            ('breach_id', 'Hash of whose breach it is and what it says.'),
            ('record_revision', 'Revision of the record it belongs to.'),
            ('breaches_open', 'Deadlines that are missed now.'),
            ('bucket', 'Beginning of the hour or day (UTC) of the signups.'),
            ('day', 'Day of the signups (UTC).'),
            ('hour', 'Beginning of the hour (UTC).'),
            ('started', 'Signups.'),
            ('reached', 'Of those, who reached the stage''s first milestone.'),
            ('ended', 'Of those, who reached the stage''s last milestone, also without the first. In the last stage: who succeeded.'),
            ('completed', 'Of those, who have a duration.'),
            ('within_target', 'Of those, who were within the target.'),
            ('duration_sum_ms', 'Sum of the durations, in milliseconds.'),
            ('duration_min_ms', 'Shortest duration, in milliseconds.'),
            ('duration_max_ms', 'Longest duration, in milliseconds.'),
            ('within_quarter', 'Durations of at most a quarter of the target.'),
            ('within_half', 'Durations of at most half the target.'),
            ('within_double', 'Durations of at most twice the target.'),
            ('within_triple', 'Durations of at most three times the target.'),
            ('since_signup_sum_ms', 'Sum of the times from signup to the stage''s last milestone, in milliseconds.'),
            ('signups', 'Signups of the day.'),
            ('abandoned', 'Signups labelled abandoned.'),
            ('breached', 'Signups that missed a deadline.'),
            ('completed_share', 'completed as a share of those who could, 0 to 1.'),
            ('within_target_share', 'within_target as a share of completed, 0 to 1.'),
            ('mean_minutes', 'Mean duration of completers, in minutes.'),
            ('median_minutes', 'Median of completers, in minutes.'),
            ('p90_minutes', '90th percentile of completers, in minutes.'),
            ('mean_score', 'Mean efficiency score of completers.'),
            ('source', 'Where the event came in: http, or a CloudEvents source.'),
            ('event_id', 'The event''s own id; with tenant and source its identity.'),
            ('event_name', 'What happened.'),
            ('event_type', 'track, ttf_milestone, identify, group, page, performance, error or test.'),
            ('occurred_at', 'The event''s timestamp, after clock-skew correction.'),
            ('original_timestamp', 'The timestamp as sent, where it was corrected.'),
            ('sent_at', 'When the sender says it sent the event.'),
            ('received_at', 'When the gateway received it.'),
            ('session_id', 'The sender''s session.'),
            ('journey_id', 'Names an attempt of a journey.'),
            ('properties', 'Properties, as JSON, after the privacy policy.'),
            ('context', 'Context, as JSON, after the privacy policy.'),
            ('replay', 'Whether the event was put through the pipe again.'),
            ('operation', 'The application''s operation.'),
            ('requests', 'Performance events.'),
            ('errors', 'Those with an error, or error events.'),
            ('p50_ms', 'Median duration, in milliseconds.'),
            ('p95_ms', '95th percentile of the durations, in milliseconds.'),
            ('p99_ms', '99th percentile of the durations, in milliseconds.'),
            ('error_type', 'What kind of error.'),
            ('severity', 'How bad it is, as sent.'),
            ('unhandled', 'Errors the application did not handle.'),
            ('users', 'Different users or visitors with such an error.'),
            ('last_seen_at', 'When it last happened.'),
            ('topic', 'Topic in the log.'),
            ('partition', 'Its partition.'),
            ('next_offset', 'The next offset to be read.'),
            ('owner', 'The process that writes this partition.'),
            ('moved_at', 'When the offset last moved.'),
            ('idle_seconds', 'Seconds since then.'),
            ('status', 'firing or resolved.'),
            ('pseudonym', 'Stands for the person in the object archive.'),
            ('subject_id', 'The user_id or anonymous_id.'),
            ('user_hash', 'Keyed hash of tenant and user.'),
            ('erased_at', 'What was received before is not kept.'),
            ('erasure_id', 'Id of the erasure.'),
            ('value', 'Its value.'),
            ('name', 'Its name.'),
            ('version', 'Number of the schema change.'),
            ('applied_at', 'When it was made.')
        ) AS general (name, comment) ON general.name = columns.name
        LEFT JOIN (VALUES
            ('journeys', 'status', 'in_progress, completed or abandoned.'),
            ('ttf_records', 'status', 'in_progress, completed, abandoned or erased.'),
            ('v_user_journeys', 'status', 'in_progress, completed or abandoned.'),
            ('user_pseudonyms', 'kind', 'u: subject_id is a user_id; a: an anonymous_id.')
        ) AS own (relation, name, comment) ON own.relation = columns.relation AND own.name = columns.name
        WHERE col_description(columns.oid, columns.attnum) IS NULL AND coalesce(own.comment, general.comment) IS NOT NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', it.relation, it.name, it.comment);
    END LOOP;
END
$$;

-- Who may look: nobody's pseudonym, no erasure, not the ledger's key. Several databases of a server share the role.
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'ttf_reader') THEN
        BEGIN
            CREATE ROLE ttf_reader NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE WARNING 'the role ttf_reader cannot be made by this user; make it and grant it SELECT on what is to be read';
                RETURN;
        END;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO ttf_reader', current_schema());
    GRANT SELECT ON events, ttf_records, journeys, stage_durations, breaches, breach_status,
        stage_rollup_hourly, stage_rollup_daily, v_user_journeys, v_stage_durations, v_funnel_daily, v_ttf_daily,
        v_breaches_open, v_app_performance, v_app_errors, v_pipeline_health TO ttf_reader;
END
$$;
