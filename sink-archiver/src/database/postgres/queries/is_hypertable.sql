SELECT to_regclass('timescaledb_information.chunks') IS NOT NULL
