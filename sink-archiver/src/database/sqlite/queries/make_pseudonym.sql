INSERT INTO user_pseudonyms (tenant, kind, subject_id, pseudonym)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (tenant, kind, subject_id) DO NOTHING
