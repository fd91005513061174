SELECT tenant, kind, subject_id, pseudonym
FROM user_pseudonyms
JOIN unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, kind, subject_id) USING (tenant, kind, subject_id)
