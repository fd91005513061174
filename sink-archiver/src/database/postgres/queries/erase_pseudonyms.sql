-- The anonymous ids the person was seen with lose their pseudonyms too. By their key: with OR all of the tenant's are read.
DELETE FROM user_pseudonyms
WHERE (tenant, kind, subject_id) IN (
    SELECT $1::text, 'u', $2::text
    UNION
    SELECT $1::text, 'a', anonymous_id FROM events
    WHERE tenant = $1 AND user_id = $2 AND anonymous_id IS NOT NULL
      AND received_at < to_timestamp($3::bigint / 1000.0))
