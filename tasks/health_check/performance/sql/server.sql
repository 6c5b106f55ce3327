-- The server as a whole: connections against what it can take, and how often it found what it needed in memory.
SELECT
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int AS connection_limit,
    coalesce(sum(blks_hit), 0)::bigint AS hits,
    coalesce(sum(blks_read), 0)::bigint AS reads,
    coalesce(sum(deadlocks), 0)::bigint AS deadlocks,
    EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements') AS has_statements
FROM pg_stat_database
WHERE datname IS NOT NULL
