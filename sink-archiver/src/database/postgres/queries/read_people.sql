SELECT pseudonym, kind, subject_id
FROM user_pseudonyms
WHERE tenant = $1 AND pseudonym = ANY ($2::text[])
