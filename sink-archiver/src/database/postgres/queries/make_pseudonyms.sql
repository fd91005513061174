INSERT INTO user_pseudonyms (tenant, kind, subject_id, pseudonym)
SELECT tenant, kind, subject_id, pseudonym
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (tenant, kind, subject_id, pseudonym)
ORDER BY tenant, kind, subject_id
ON CONFLICT (tenant, kind, subject_id) DO NOTHING
