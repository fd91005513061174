DELETE FROM ttf_records WHERE tenant = :tenant AND user_id = :user_id AND journey = :journey AND attempt = :attempt;
DELETE FROM journeys WHERE tenant = :tenant AND user_id = :user_id AND journey = :journey AND attempt = :attempt;
DELETE FROM stage_durations WHERE tenant = :tenant AND user_id = :user_id AND journey = :journey AND attempt = :attempt;
DELETE FROM breaches WHERE tenant = :tenant AND user_id = :user_id AND journey = :journey AND attempt = :attempt;
DELETE FROM breach_status WHERE tenant = :tenant AND user_id = :user_id AND journey = :journey AND attempt = :attempt;
