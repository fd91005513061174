-- When each offset last moved. (Roll-ups and partitions are for larger databases.)
ALTER TABLE sink_offsets ADD COLUMN moved_at text NOT NULL DEFAULT '1970-01-01T00:00:00.000Z';
