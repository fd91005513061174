-- By their key, one kind after the other: with OR all of the tenant's are read. (Every statement takes all three parameters.)
DELETE FROM user_pseudonyms WHERE tenant = :tenant AND kind = 'u' AND subject_id = :user_id AND :erased_at <> '';
DELETE FROM user_pseudonyms
WHERE tenant = :tenant AND kind = 'a' AND subject_id IN (
    SELECT anonymous_id FROM events
    WHERE tenant = :tenant AND user_id = :user_id AND anonymous_id IS NOT NULL AND received_at < :erased_at);
DELETE FROM events WHERE tenant = :tenant AND user_id = :user_id AND received_at < :erased_at;
DELETE FROM ttf_records WHERE tenant = :tenant AND user_id = :user_id AND emitted_at < :erased_at;
DELETE FROM breaches WHERE tenant = :tenant AND user_id = :user_id AND detected_at < :erased_at;
DELETE FROM breach_status WHERE tenant = :tenant AND user_id = :user_id AND detected_at < :erased_at;
DELETE FROM stage_durations
WHERE (tenant, user_id, journey, attempt) IN (
    SELECT tenant, user_id, journey, attempt FROM journeys
    WHERE tenant = :tenant AND user_id = :user_id AND emitted_at < :erased_at);
DELETE FROM journeys WHERE tenant = :tenant AND user_id = :user_id AND emitted_at < :erased_at;
