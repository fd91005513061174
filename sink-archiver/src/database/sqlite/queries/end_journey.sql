DELETE FROM ttf_records
WHERE tenant = :tenant AND user_id = :user_id AND journey = :journey AND attempt = :attempt AND emitted_at <= :until;
DELETE FROM stage_durations
WHERE (tenant, user_id, journey, attempt) IN (
    SELECT tenant, user_id, journey, attempt FROM journeys
    WHERE tenant = :tenant AND user_id = :user_id AND journey = :journey AND attempt = :attempt AND emitted_at <= :until);
DELETE FROM journeys
WHERE tenant = :tenant AND user_id = :user_id AND journey = :journey AND attempt = :attempt AND emitted_at <= :until;
