DELETE FROM journeys
WHERE tenant = $1 AND user_id = $2 AND journey = $3 AND attempt = $4
  AND emitted_at <= to_timestamp($5::bigint / 1000.0)
