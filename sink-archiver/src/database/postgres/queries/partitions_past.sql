-- The partitions of a table that lie wholly before an instant; never the default one, which has no bounds.
WITH parts AS (
    SELECT c.oid, pg_get_expr(c.relpartbound, c.oid) AS bounds
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass($1::text))
SELECT oid::regclass::text, start_ms, end_ms
FROM parts, LATERAL (
    SELECT round(extract(epoch FROM substring(bounds FROM $re$FROM \('([^']+)'\)$re$)::timestamptz) * 1000)::bigint AS start_ms,
           round(extract(epoch FROM substring(bounds FROM $re$TO \('([^']+)'\)$re$)::timestamptz) * 1000)::bigint AS end_ms) AS ends
WHERE bounds <> 'DEFAULT' AND end_ms <= $2::bigint
ORDER BY start_ms
