SELECT
    current_setting('server_version_num')::integer                                   AS version,
    current_setting('server_version')                                                AS version_text,
    (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')              AS timescaledb,
    (extract(epoch FROM clock_timestamp()) * 1000)::bigint                           AS now_ms,
    pg_is_in_recovery()                                                              AS read_only,
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)                AS may_create,
    to_regclass('schema_migrations') IS NOT NULL                                     AS has_schema,
    coalesce((
        SELECT string_agg(c.relname, ', ' ORDER BY c.relname)
        FROM pg_class AS c
        WHERE c.relnamespace = to_regnamespace(current_schema())::oid
          AND c.relname IN ('events', 'ttf_records', 'breaches', 'journeys')
          -- A list of privileges would ask for any of them.
          AND NOT (
              has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
              AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
          )
    ), '')                                                                           AS not_writable,
    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)      AS tls,
    current_setting('max_connections')::integer                                      AS max_connections,
    (SELECT count(*) FROM pg_stat_activity)::bigint                                  AS connections,
    pg_database_size(current_database())                                             AS bytes
