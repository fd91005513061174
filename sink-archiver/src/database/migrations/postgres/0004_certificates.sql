-- What was erased where and when, without saying whom.
CREATE TABLE erasure_certificates (
    erasure_id       text        PRIMARY KEY,
    tenant           text        NOT NULL,
    user_hash        text        NOT NULL,
    erased_at        timestamptz NOT NULL,
    requested_by     text        NOT NULL,
    source_partition integer     NOT NULL,
    source_offset    bigint      NOT NULL,
    database_at      timestamptz NOT NULL,
    deleted          jsonb       NOT NULL,
    live_view_at     timestamptz,
    processor_at     timestamptz,
    complete_at      timestamptz
);
CREATE INDEX erasure_certificates_open ON erasure_certificates (database_at) WHERE complete_at IS NULL;
COMMENT ON TABLE erasure_certificates IS 'What was erased where and when, for each erasure; names nobody.';
COMMENT ON COLUMN erasure_certificates.erasure_id IS 'The id the request was answered with.';
COMMENT ON COLUMN erasure_certificates.tenant IS 'Whose user it was.';
COMMENT ON COLUMN erasure_certificates.user_hash IS 'The user, as a keyed hash; that of erasure_ledger.';
COMMENT ON COLUMN erasure_certificates.erased_at IS 'What was received before this instant is erased.';
COMMENT ON COLUMN erasure_certificates.requested_by IS 'Name of the key the request came with.';
COMMENT ON COLUMN erasure_certificates.source_partition IS 'Partition of telemetry.privacy.erasures.v1 the request is in.';
COMMENT ON COLUMN erasure_certificates.source_offset IS 'Offset of the request in that partition.';
COMMENT ON COLUMN erasure_certificates.database_at IS 'When the rows and pseudonyms were deleted here.';
COMMENT ON COLUMN erasure_certificates.deleted IS 'Rows deleted, by table.';
COMMENT ON COLUMN erasure_certificates.live_view_at IS 'When the live view forgot the user.';
COMMENT ON COLUMN erasure_certificates.processor_at IS 'When the processor was seen to have dropped the user''s journeys.';
COMMENT ON COLUMN erasure_certificates.complete_at IS 'When everything above was done.';
