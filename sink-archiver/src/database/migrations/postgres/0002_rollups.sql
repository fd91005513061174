-- The big tables by time, and roll-ups of the stages. With TimescaleDB: compression and continuous aggregates. With
-- PostgreSQL alone: partitions and a table of roll-ups that is kept up to date. Both look the same from outside.

ALTER TABLE sink_offsets ADD COLUMN moved_at timestamptz NOT NULL DEFAULT now();

-- By signup alone, over all tenants: what the cohorts are evaluated from.
CREATE INDEX journeys_by_time ON journeys (signup_at);

-- Makes the partitions of this time and the next that are missing, and moves rows there that came before theirs. Rows of
-- other times are in the default partition of each table. Nothing to do with TimescaleDB. Returns how many it made.
CREATE FUNCTION ttf_make_partitions() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    big record;
    first timestamptz;
    part text;
    made integer := 0;
BEGIN
    FOR big IN
        SELECT * FROM (VALUES
            ('events', 'occurred_at', 'week', INTERVAL '1 week'),
            ('ttf_records', 'signup_at', 'month', INTERVAL '1 month'),
            ('stage_durations', 'signup_at', 'month', INTERVAL '1 month'),
            ('breaches', 'signup_at', 'month', INTERVAL '1 month')
        ) AS tables (name, at, unit, step)
        WHERE EXISTS (SELECT 1 FROM pg_class WHERE oid = to_regclass(tables.name) AND relkind = 'p')
          AND to_regclass(tables.name || '_default') IS NOT NULL
    LOOP
        FOR n IN -1..2 LOOP
            first := date_trunc(big.unit, now(), 'UTC') + n * big.step;
            part := big.name || '_' || to_char(first AT TIME ZONE 'UTC', 'YYYYMMDD');
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', big.name || '_default');
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS)', part, big.name);
            EXECUTE format(
                'WITH moved AS (DELETE FROM %I WHERE %I >= %L AND %I < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
                big.name || '_default', big.at, first, big.at, first + big.step, part);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                big.name, part, first, first + big.step);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION ttf_make_partitions IS 'Makes the partitions that are missing; called by the archiver. Nothing to do with TimescaleDB.';

DO $migration$
DECLARE
    big record;
    rollup CONSTANT text := $sql$
        count(*) AS started,
        count(from_at) AS reached,
        count(to_at) AS ended,
        count(duration_ms) AS completed,
        count(*) FILTER (WHERE met) AS within_target,
        sum(duration_ms) AS duration_sum_ms,
        min(duration_ms) AS duration_min_ms,
        max(duration_ms) AS duration_max_ms,
        count(*) FILTER (WHERE duration_ms * 4 <= target_ms) AS within_quarter,
        count(*) FILTER (WHERE duration_ms * 2 <= target_ms) AS within_half,
        count(*) FILTER (WHERE duration_ms <= target_ms * 2) AS within_double,
        count(*) FILTER (WHERE duration_ms <= target_ms * 3) AS within_triple,
        sum(extract(epoch FROM to_at - signup_at) * 1000) AS since_signup_sum_ms
    $sql$;
    rollup_of_rollups CONSTANT text := $sql$
        sum(started)::bigint AS started,
        sum(reached)::bigint AS reached,
        sum(ended)::bigint AS ended,
        sum(completed)::bigint AS completed,
        sum(within_target)::bigint AS within_target,
        sum(duration_sum_ms) AS duration_sum_ms,
        min(duration_min_ms) AS duration_min_ms,
        max(duration_max_ms) AS duration_max_ms,
        sum(within_quarter)::bigint AS within_quarter,
        sum(within_half)::bigint AS within_half,
        sum(within_double)::bigint AS within_double,
        sum(within_triple)::bigint AS within_triple,
        sum(since_signup_sum_ms) AS since_signup_sum_ms
    $sql$;
    keys CONSTANT text := 'tenant, journey, stage, ordinal, segments, experiments, release';
BEGIN
    IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'timescaledb') THEN
        IF current_setting('timescaledb.license', true) IS DISTINCT FROM 'timescale' THEN
            RAISE EXCEPTION 'TimescaleDB runs with the licence %, which has neither compression nor continuous aggregates', current_setting('timescaledb.license', true)
                USING HINT = 'Set timescaledb.license = timescale, or use a database without the extension.';
        END IF;
        ALTER TABLE events SET (timescaledb.compress, timescaledb.compress_segmentby = 'tenant, source',
            timescaledb.compress_orderby = 'occurred_at DESC, event_id');
        ALTER TABLE ttf_records SET (timescaledb.compress, timescaledb.compress_segmentby = 'tenant, journey',
            timescaledb.compress_orderby = 'signup_at DESC, record_id');
        ALTER TABLE stage_durations SET (timescaledb.compress, timescaledb.compress_segmentby = 'tenant, journey',
            timescaledb.compress_orderby = 'user_id, attempt, stage, signup_at');
        ALTER TABLE breaches SET (timescaledb.compress, timescaledb.compress_segmentby = 'tenant, journey',
            timescaledb.compress_orderby = 'signup_at DESC, breach_id');
        PERFORM add_compression_policy('events', INTERVAL '7 days');
        PERFORM add_compression_policy('ttf_records', INTERVAL '30 days');
        PERFORM add_compression_policy('stage_durations', INTERVAL '30 days');
        PERFORM add_compression_policy('breaches', INTERVAL '30 days');
        EXECUTE format(
            'CREATE MATERIALIZED VIEW stage_rollup_hourly WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
             SELECT time_bucket(INTERVAL ''1 hour'', signup_at) AS bucket, %s, %s FROM stage_durations
             GROUP BY time_bucket(INTERVAL ''1 hour'', signup_at), %s WITH NO DATA', keys, rollup, keys);
        EXECUTE format(
            'CREATE MATERIALIZED VIEW stage_rollup_daily WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
             SELECT time_bucket(INTERVAL ''1 day'', bucket) AS bucket, %s, %s FROM stage_rollup_hourly
             GROUP BY time_bucket(INTERVAL ''1 day'', bucket), %s WITH NO DATA', keys, rollup_of_rollups, keys);
        -- Only what changed is worked out again. Not further back than rows are kept at least.
        PERFORM add_continuous_aggregate_policy('stage_rollup_hourly', start_offset => INTERVAL '350 days',
            end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '10 minutes');
        PERFORM add_continuous_aggregate_policy('stage_rollup_daily', start_offset => INTERVAL '350 days',
            end_offset => INTERVAL '1 day', schedule_interval => INTERVAL '1 hour');
        CREATE FUNCTION ttf_refresh_rollups() RETURNS integer LANGUAGE sql AS 'SELECT 0';
        RETURN;
    END IF;

    -- What is there becomes the default partition: no row is copied.
    FOR big IN
        SELECT * FROM (VALUES
            ('events', 'occurred_at', 'tenant, source, event_id, occurred_at'),
            ('ttf_records', 'signup_at', 'record_id, signup_at'),
            ('stage_durations', 'signup_at', 'tenant, user_id, journey, attempt, stage, signup_at'),
            ('breaches', 'signup_at', 'breach_id, signup_at')
        ) AS tables (name, at, key)
    LOOP
        EXECUTE format('ALTER TABLE %I RENAME TO %I', big.name, big.name || '_default');
        EXECUTE format('ALTER INDEX %I RENAME TO %I', big.name || '_pkey', big.name || '_default_pkey');
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING COMMENTS) PARTITION BY RANGE (%I)',
            big.name, big.name || '_default', big.at);
        EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (%s)', big.name, big.key);
    END LOOP;
    ALTER INDEX events_by_user RENAME TO events_default_by_user;
    ALTER INDEX events_by_name RENAME TO events_default_by_name;
    ALTER INDEX ttf_records_by_user RENAME TO ttf_records_default_by_user;
    ALTER INDEX stage_durations_by_stage RENAME TO stage_durations_default_by_stage;
    ALTER INDEX breaches_by_user RENAME TO breaches_default_by_user;
    CREATE INDEX events_by_user ON events (tenant, user_id, occurred_at) WHERE user_id IS NOT NULL;
    CREATE INDEX events_by_name ON events (tenant, event_name, occurred_at);
    CREATE INDEX ttf_records_by_user ON ttf_records (tenant, user_id, signup_at);
    CREATE INDEX stage_durations_by_stage ON stage_durations (stage, tenant, journey, signup_at);
    CREATE INDEX breaches_by_user ON breaches (tenant, user_id, signup_at);
    CREATE INDEX stage_durations_by_time ON stage_durations USING brin (signup_at);
    ALTER TABLE events ATTACH PARTITION events_default DEFAULT;
    ALTER TABLE ttf_records ATTACH PARTITION ttf_records_default DEFAULT;
    ALTER TABLE stage_durations ATTACH PARTITION stage_durations_default DEFAULT;
    ALTER TABLE breaches ATTACH PARTITION breaches_default DEFAULT;
    COMMENT ON TABLE events IS 'Every event, as accepted.';
    COMMENT ON TABLE ttf_records IS 'Every revision of every journey, as emitted.';
    COMMENT ON TABLE stage_durations IS 'One row per stage of the newest revision of every attempt.';
    COMMENT ON TABLE breaches IS 'Every breach event: each firing and each resolution.';
    PERFORM ttf_make_partitions();

    EXECUTE format('CREATE TABLE stage_rollup_hourly AS
        SELECT date_trunc(''hour'', signup_at, ''UTC'') AS bucket, %s, %s FROM stage_durations
        GROUP BY date_trunc(''hour'', signup_at, ''UTC''), %s', keys, rollup, keys);
    CREATE INDEX stage_rollup_hourly_by_bucket ON stage_rollup_hourly (bucket);
    EXECUTE format('CREATE VIEW stage_rollup_daily AS
        SELECT date_trunc(''day'', bucket, ''UTC'') AS bucket, %s, %s FROM stage_rollup_hourly
        GROUP BY date_trunc(''day'', bucket, ''UTC''), %s', keys, rollup_of_rollups, keys);

    -- The hours to be rolled up again. Rows are only added here: writers never wait for each other.
    CREATE TABLE stage_rollup_changes (bucket timestamptz NOT NULL);
    COMMENT ON TABLE stage_rollup_changes IS 'Hours of signups whose stages changed since they were rolled up.';
    CREATE FUNCTION ttf_note_changes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO stage_rollup_changes SELECT DISTINCT date_trunc('hour', signup_at, 'UTC') FROM changed;
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER note_added AFTER INSERT ON stage_durations REFERENCING NEW TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION ttf_note_changes();
    CREATE TRIGGER note_removed AFTER DELETE ON stage_durations REFERENCING OLD TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION ttf_note_changes();
    EXECUTE format('CREATE FUNCTION ttf_refresh_rollups() RETURNS integer LANGUAGE plpgsql AS $$
        DECLARE hours timestamptz[];
        BEGIN
            WITH taken AS (DELETE FROM stage_rollup_changes RETURNING bucket)
            SELECT array_agg(DISTINCT bucket) INTO hours FROM taken;
            -- A later statement, which sees at least what those who noted the hours have written.
            DELETE FROM stage_rollup_hourly WHERE bucket = ANY (hours);
            INSERT INTO stage_rollup_hourly
            SELECT hour, %s, %s FROM unnest(hours) AS hour
            JOIN stage_durations ON signup_at >= hour AND signup_at < hour + INTERVAL ''1 hour''
            GROUP BY hour, %s;
            RETURN coalesce(cardinality(hours), 0);
        END $$', keys, rollup, keys);
END
$migration$;
COMMENT ON FUNCTION ttf_refresh_rollups IS 'Brings the roll-ups up to date; called by the archiver. With TimescaleDB its own policies do. Returns the hours worked out again.';
