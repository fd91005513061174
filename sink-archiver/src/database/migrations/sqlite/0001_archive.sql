-- The archive: what came in, what was computed from it, and how far each topic has been read.
-- Times are RFC 3339 in UTC with milliseconds, so that they sort as text (in the erasure ledger: milliseconds since the
-- epoch); JSON is text.

CREATE TABLE archive_settings (
    name  text PRIMARY KEY,
    value text NOT NULL
) STRICT;

CREATE TABLE sink_offsets (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset integer NOT NULL,
    owner       text NOT NULL,
    PRIMARY KEY (topic, partition)
) STRICT;

CREATE TABLE events (
    tenant             text NOT NULL,
    source             text NOT NULL,
    event_id           text NOT NULL,
    event_name         text NOT NULL,
    event_type         text NOT NULL,
    occurred_at        text NOT NULL,
    original_timestamp text,
    sent_at            text,
    received_at        text NOT NULL,
    user_id            text,
    anonymous_id       text,
    session_id         text,
    journey_id         text,
    properties         text NOT NULL,
    context            text NOT NULL,
    replay             integer NOT NULL,
    PRIMARY KEY (tenant, source, event_id, occurred_at)
) STRICT;
CREATE INDEX events_by_user ON events (tenant, user_id, occurred_at) WHERE user_id IS NOT NULL;
CREATE INDEX events_by_name ON events (tenant, event_name, occurred_at);

CREATE TABLE ttf_records (
    record_id        text NOT NULL,
    tenant           text NOT NULL,
    journey          text NOT NULL,
    journey_version  integer NOT NULL,
    user_id          text NOT NULL,
    attempt          text NOT NULL,
    generation       integer NOT NULL,
    revision         integer NOT NULL,
    status           text NOT NULL,
    signup_at        text NOT NULL,
    completed_at     text,
    total_ms         integer,
    stages           text NOT NULL,
    current_stage    text,
    efficiency_score real,
    breach_level     text,
    segments         text NOT NULL,
    experiments      text NOT NULL,
    release          text,
    cause_event_id   text,
    emitted_at       text NOT NULL,
    PRIMARY KEY (record_id, signup_at)
) STRICT;
CREATE INDEX ttf_records_by_user ON ttf_records (tenant, user_id, signup_at);

CREATE TABLE journeys (
    tenant           text NOT NULL,
    journey          text NOT NULL,
    user_id          text NOT NULL,
    attempt          text NOT NULL,
    record_id        text NOT NULL,
    journey_version  integer NOT NULL,
    generation       integer NOT NULL,
    revision         integer NOT NULL,
    status           text NOT NULL,
    signup_at        text NOT NULL,
    completed_at     text,
    total_ms         integer,
    stages           text NOT NULL,
    current_stage    text,
    efficiency_score real,
    breach_level     text,
    segments         text NOT NULL,
    experiments      text NOT NULL,
    release          text,
    cause_event_id   text,
    emitted_at       text NOT NULL,
    PRIMARY KEY (tenant, user_id, journey, attempt)
) STRICT;
CREATE INDEX journeys_by_signup ON journeys (tenant, journey, signup_at);

CREATE TABLE stage_durations (
    tenant      text NOT NULL,
    journey     text NOT NULL,
    user_id     text NOT NULL,
    attempt     text NOT NULL,
    stage       text NOT NULL,
    ordinal     integer NOT NULL,
    signup_at   text NOT NULL,
    from_at     text,
    to_at       text,
    duration_ms integer,
    target_ms   integer NOT NULL,
    met         integer,
    anomaly     text,
    segments    text NOT NULL,
    experiments text NOT NULL,
    release     text,
    PRIMARY KEY (tenant, user_id, journey, attempt, stage, signup_at)
) STRICT;
-- The stage first: what clears a user's stages must not take this index for theirs.
CREATE INDEX stage_durations_by_stage ON stage_durations (stage, tenant, journey, signup_at);

CREATE TABLE breaches (
    breach_id       text NOT NULL,
    tenant          text NOT NULL,
    journey         text NOT NULL,
    user_id         text NOT NULL,
    attempt         text NOT NULL,
    kind            text NOT NULL,
    level           text NOT NULL,
    threshold_ms    integer NOT NULL,
    status          text NOT NULL,
    reason          text,
    signup_at       text NOT NULL,
    due_at          text NOT NULL,
    detected_at     text NOT NULL,
    late            integer NOT NULL,
    current_stage   text,
    segments        text NOT NULL,
    record_revision integer NOT NULL,
    PRIMARY KEY (breach_id, signup_at)
) STRICT;
CREATE INDEX breaches_by_user ON breaches (tenant, user_id, signup_at);

CREATE TABLE breach_status (
    tenant          text NOT NULL,
    journey         text NOT NULL,
    user_id         text NOT NULL,
    attempt         text NOT NULL,
    kind            text NOT NULL,
    level           text NOT NULL,
    breach_id       text NOT NULL,
    threshold_ms    integer NOT NULL,
    status          text NOT NULL,
    reason          text,
    signup_at       text NOT NULL,
    due_at          text NOT NULL,
    detected_at     text NOT NULL,
    late            integer NOT NULL,
    current_stage   text,
    segments        text NOT NULL,
    record_revision integer NOT NULL,
    PRIMARY KEY (tenant, user_id, journey, attempt, kind, level)
) STRICT;
CREATE INDEX breach_status_open ON breach_status (tenant, journey, level) WHERE status = 'firing';

CREATE TABLE user_pseudonyms (
    tenant     text NOT NULL,
    kind       text NOT NULL,
    subject_id text NOT NULL,
    pseudonym  text NOT NULL,
    PRIMARY KEY (tenant, kind, subject_id)
) STRICT;
CREATE INDEX user_pseudonyms_by_pseudonym ON user_pseudonyms (tenant, pseudonym);

CREATE TABLE erasure_ledger (
    tenant     text NOT NULL,
    user_hash  text NOT NULL,
    erased_at  integer NOT NULL,
    erasure_id text NOT NULL,
    PRIMARY KEY (user_hash)
) STRICT;
