-- Where the roll-ups by hour and by day are: what TimescaleDB materialised, else the table (days are a view on it).
SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name),
       CASE view_name WHEN 'stage_rollup_daily' THEN '24 hours' ELSE '1 hour' END
FROM timescaledb_information.continuous_aggregates
WHERE view_schema = current_schema() AND view_name IN ('stage_rollup_hourly', 'stage_rollup_daily')
