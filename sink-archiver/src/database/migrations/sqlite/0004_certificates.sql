-- What was erased where and when, without saying whom.
CREATE TABLE erasure_certificates (
    erasure_id       TEXT    PRIMARY KEY,
    tenant           TEXT    NOT NULL,
    user_hash        TEXT    NOT NULL,
    erased_at        INTEGER NOT NULL,
    requested_by     TEXT    NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    database_at      INTEGER NOT NULL,
    deleted          TEXT    NOT NULL,
    live_view_at     INTEGER,
    processor_at     INTEGER,
    complete_at      INTEGER
);
