-- A person is found in the primary key itself, not in an index beside the table: one descent instead of two.
CREATE TABLE user_pseudonyms_by_person (
    tenant     text NOT NULL,
    kind       text NOT NULL,
    subject_id text NOT NULL,
    pseudonym  text NOT NULL,
    PRIMARY KEY (tenant, kind, subject_id)
) STRICT, WITHOUT ROWID;
INSERT INTO user_pseudonyms_by_person (tenant, kind, subject_id, pseudonym)
SELECT tenant, kind, subject_id, pseudonym FROM user_pseudonyms ORDER BY tenant, kind, subject_id;
DROP TABLE user_pseudonyms;
ALTER TABLE user_pseudonyms_by_person RENAME TO user_pseudonyms;
CREATE INDEX user_pseudonyms_by_pseudonym ON user_pseudonyms (tenant, pseudonym);
