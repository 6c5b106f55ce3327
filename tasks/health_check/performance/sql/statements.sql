-- Statements whose mean time is above the threshold and that were not run just once or twice, the costliest first.
SELECT
    d.datname AS database,
    s.queryid::text AS id,
    min(left(s.query, 4000)) AS query,
    sum(s.calls)::bigint AS calls,
    sum(s.total_exec_time) / sum(s.calls) / 1000 AS mean_seconds,
    sum(s.total_exec_time) / 1000 AS total_seconds
FROM pg_stat_statements AS s
JOIN pg_database AS d ON d.oid = s.dbid
WHERE s.queryid IS NOT NULL AND s.toplevel
GROUP BY 1, 2
HAVING sum(s.calls) >= 3 AND sum(s.total_exec_time) / sum(s.calls) / 1000 > %(slow_s)s
ORDER BY total_seconds DESC
LIMIT 10
