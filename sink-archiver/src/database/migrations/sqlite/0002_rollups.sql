-- When each offset last moved. (Roll-ups and partitions are for larger databases.)
CREATE INDEX journeys_by_time ON journeys (signup_at);
CREATE INDEX stage_durations_by_time ON stage_durations (signup_at);
ALTER TABLE sink_offsets ADD COLUMN moved_at text NOT NULL DEFAULT '1970-01-01T00:00:00.000Z';
