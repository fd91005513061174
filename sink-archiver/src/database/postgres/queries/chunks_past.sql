-- The chunks of a hypertable that lie wholly before an instant.
SELECT format('%I.%I', chunk_schema, chunk_name),
       round(extract(epoch FROM range_start) * 1000)::bigint,
       round(extract(epoch FROM range_end) * 1000)::bigint
FROM timescaledb_information.chunks
WHERE hypertable_schema = current_schema() AND hypertable_name = $1 AND range_end <= to_timestamp($2::bigint / 1000.0)
ORDER BY range_start
