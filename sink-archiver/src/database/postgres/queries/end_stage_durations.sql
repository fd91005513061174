DELETE FROM stage_durations AS stage
USING journeys
WHERE journeys.tenant = $1 AND journeys.user_id = $2 AND journeys.journey = $3 AND journeys.attempt = $4
  AND journeys.emitted_at <= to_timestamp($5::bigint / 1000.0)
  AND stage.tenant = journeys.tenant AND stage.user_id = journeys.user_id
  AND stage.journey = journeys.journey AND stage.attempt = journeys.attempt
