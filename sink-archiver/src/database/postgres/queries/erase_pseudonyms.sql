-- The anonymous ids the person was seen with lose their pseudonyms too.
DELETE FROM user_pseudonyms
WHERE tenant = $1
  AND ((kind = 'u' AND subject_id = $2)
    OR (kind = 'a' AND subject_id IN (
        SELECT anonymous_id FROM events
        WHERE tenant = $1 AND user_id = $2 AND anonymous_id IS NOT NULL
          AND received_at < to_timestamp($3::bigint / 1000.0))))
