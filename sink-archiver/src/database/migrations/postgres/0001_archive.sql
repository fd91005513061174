-- The archive: what came in, what was computed from it, and how far each topic has been read.

CREATE TABLE archive_settings (
    name  text PRIMARY KEY,
    value text NOT NULL
);
COMMENT ON TABLE archive_settings IS 'Facts about this archive as a whole, such as the key of the erasure ledger.';

CREATE TABLE sink_offsets (
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL,
    owner       text    NOT NULL,
    PRIMARY KEY (topic, partition)
);
COMMENT ON TABLE sink_offsets IS 'The next offset of each partition, moved in the same transaction as the rows.';

CREATE TABLE events (
    tenant             text        NOT NULL,
    source             text        NOT NULL,
    event_id           text        NOT NULL,
    event_name         text        NOT NULL,
    event_type         text        NOT NULL,
    occurred_at        timestamptz NOT NULL,
    original_timestamp timestamptz,
    sent_at            timestamptz,
    received_at        timestamptz NOT NULL,
    user_id            text,
    anonymous_id       text,
    session_id         text,
    journey_id         text,
    properties         jsonb       NOT NULL,
    context            jsonb       NOT NULL,
    replay             boolean     NOT NULL,
    PRIMARY KEY (tenant, source, event_id, occurred_at)
);
CREATE INDEX events_by_user ON events (tenant, user_id, occurred_at) WHERE user_id IS NOT NULL;
CREATE INDEX events_by_name ON events (tenant, event_name, occurred_at);
COMMENT ON TABLE events IS 'Every event, as accepted.';
COMMENT ON COLUMN events.occurred_at IS 'The event''s timestamp, after clock-skew correction.';

CREATE TABLE ttf_records (
    record_id        text        NOT NULL,
    tenant           text        NOT NULL,
    journey          text        NOT NULL,
    journey_version  integer     NOT NULL,
    user_id          text        NOT NULL,
    attempt          text        NOT NULL,
    generation       integer     NOT NULL,
    revision         bigint      NOT NULL,
    status           text        NOT NULL,
    signup_at        timestamptz NOT NULL,
    completed_at     timestamptz,
    total_ms         bigint,
    stages           jsonb       NOT NULL,
    current_stage    text,
    efficiency_score double precision,
    breach_level     text,
    segments         jsonb       NOT NULL,
    experiments      jsonb       NOT NULL,
    release          text,
    cause_event_id   text,
    emitted_at       timestamptz NOT NULL,
    PRIMARY KEY (record_id, signup_at)
);
CREATE INDEX ttf_records_by_user ON ttf_records (tenant, user_id, signup_at);
COMMENT ON TABLE ttf_records IS 'Every revision of every journey, as emitted.';

CREATE TABLE journeys (
    tenant           text        NOT NULL,
    journey          text        NOT NULL,
    user_id          text        NOT NULL,
    attempt          text        NOT NULL,
    record_id        text        NOT NULL,
    journey_version  integer     NOT NULL,
    generation       integer     NOT NULL,
    revision         bigint      NOT NULL,
    status           text        NOT NULL,
    signup_at        timestamptz NOT NULL,
    completed_at     timestamptz,
    total_ms         bigint,
    stages           jsonb       NOT NULL,
    current_stage    text,
    efficiency_score double precision,
    breach_level     text,
    segments         jsonb       NOT NULL,
    experiments      jsonb       NOT NULL,
    release          text,
    cause_event_id   text,
    emitted_at       timestamptz NOT NULL,
    PRIMARY KEY (tenant, user_id, journey, attempt)
);
CREATE INDEX journeys_by_signup ON journeys (tenant, journey, signup_at);
COMMENT ON TABLE journeys IS 'The newest revision of every attempt.';

CREATE TABLE stage_durations (
    tenant      text        NOT NULL,
    journey     text        NOT NULL,
    user_id     text        NOT NULL,
    attempt     text        NOT NULL,
    stage       text        NOT NULL,
    ordinal     integer     NOT NULL,
    signup_at   timestamptz NOT NULL,
    from_at     timestamptz,
    to_at       timestamptz,
    duration_ms bigint,
    target_ms   bigint      NOT NULL,
    met         boolean,
    anomaly     text,
    segments    jsonb       NOT NULL,
    experiments jsonb       NOT NULL,
    release     text,
    PRIMARY KEY (tenant, user_id, journey, attempt, stage, signup_at)
);
-- The stage first: what clears a user's stages must not take this index for theirs.
CREATE INDEX stage_durations_by_stage ON stage_durations (stage, tenant, journey, signup_at);
COMMENT ON TABLE stage_durations IS 'One row per stage of the newest revision of every attempt.';

CREATE TABLE breaches (
    breach_id       text        NOT NULL,
    tenant          text        NOT NULL,
    journey         text        NOT NULL,
    user_id         text        NOT NULL,
    attempt         text        NOT NULL,
    kind            text        NOT NULL,
    level           text        NOT NULL,
    threshold_ms    bigint      NOT NULL,
    status          text        NOT NULL,
    reason          text,
    signup_at       timestamptz NOT NULL,
    due_at          timestamptz NOT NULL,
    detected_at     timestamptz NOT NULL,
    late            boolean     NOT NULL,
    current_stage   text,
    segments        jsonb       NOT NULL,
    record_revision bigint      NOT NULL,
    PRIMARY KEY (breach_id, signup_at)
);
CREATE INDEX breaches_by_user ON breaches (tenant, user_id, signup_at);
COMMENT ON TABLE breaches IS 'Every breach event: each firing and each resolution.';

CREATE TABLE breach_status (
    tenant          text        NOT NULL,
    journey         text        NOT NULL,
    user_id         text        NOT NULL,
    attempt         text        NOT NULL,
    kind            text        NOT NULL,
    level           text        NOT NULL,
    breach_id       text        NOT NULL,
    threshold_ms    bigint      NOT NULL,
    status          text        NOT NULL,
    reason          text,
    signup_at       timestamptz NOT NULL,
    due_at          timestamptz NOT NULL,
    detected_at     timestamptz NOT NULL,
    late            boolean     NOT NULL,
    current_stage   text,
    segments        jsonb       NOT NULL,
    record_revision bigint      NOT NULL,
    PRIMARY KEY (tenant, user_id, journey, attempt, kind, level)
);
CREATE INDEX breach_status_open ON breach_status (tenant, journey, level) WHERE status = 'firing';
COMMENT ON TABLE breach_status IS 'What each deadline of each attempt stands at now.';

CREATE TABLE user_pseudonyms (
    tenant     text NOT NULL,
    kind       text NOT NULL,
    subject_id text NOT NULL,
    pseudonym  text NOT NULL,
    PRIMARY KEY (tenant, kind, subject_id)
);
CREATE INDEX user_pseudonyms_by_pseudonym ON user_pseudonyms (tenant, pseudonym);
COMMENT ON TABLE user_pseudonyms IS 'Random pseudonyms that stand for people in the object archive; destroyed by erasure.';
COMMENT ON COLUMN user_pseudonyms.kind IS 'u: subject_id is a user_id; a: an anonymous_id.';

CREATE TABLE erasure_ledger (
    tenant     text        NOT NULL,
    user_hash  text        NOT NULL,
    erased_at  timestamptz NOT NULL,
    erasure_id text        NOT NULL,
    PRIMARY KEY (user_hash)
);
COMMENT ON TABLE erasure_ledger IS 'Who was erased when, as keyed hashes: what was received before is not written again.';

DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable('events', 'occurred_at', chunk_time_interval => INTERVAL '7 days');
        PERFORM create_hypertable('ttf_records', 'signup_at', chunk_time_interval => INTERVAL '30 days');
        PERFORM create_hypertable('stage_durations', 'signup_at', chunk_time_interval => INTERVAL '30 days');
        PERFORM create_hypertable('breaches', 'signup_at', chunk_time_interval => INTERVAL '30 days');
    END IF;
END
$$;
