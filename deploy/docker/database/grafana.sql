-- Grafana reads views as the role for readers, which the archive's schema grants what may be read.
\getenv password GRAFANA_DATABASE_PASSWORD
CREATE ROLE ttf_reader NOLOGIN;
CREATE ROLE grafana LOGIN PASSWORD :'password' IN ROLE ttf_reader;
ALTER ROLE grafana SET statement_timeout = '20s';
