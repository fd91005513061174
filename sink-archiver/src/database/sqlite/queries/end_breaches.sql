DELETE FROM breaches
WHERE tenant = :tenant AND user_id = :user_id AND journey = :journey AND attempt = :attempt AND detected_at <= :until;
DELETE FROM breach_status
WHERE tenant = :tenant AND user_id = :user_id AND journey = :journey AND attempt = :attempt AND detected_at <= :until;
