DELETE FROM breaches WHERE tenant = $1 AND user_id = $2 AND journey = $3 AND attempt = $4
