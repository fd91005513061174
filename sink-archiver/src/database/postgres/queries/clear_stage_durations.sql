DELETE FROM stage_durations AS stage
USING unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS changed (tenant, user_id, journey, attempt)
WHERE stage.tenant = changed.tenant AND stage.user_id = changed.user_id
  AND stage.journey = changed.journey AND stage.attempt = changed.attempt
