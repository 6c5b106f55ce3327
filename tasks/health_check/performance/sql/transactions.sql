-- Sessions that hold a transaction open for long, or that wait for another session's lock for long.
SELECT
    coalesce(datname, '') AS database,
    coalesce(nullif(application_name, ''), 'unnamed') AS application,
    coalesce(state, 'unknown') AS state,
    extract(epoch FROM now() - xact_start)::float8 AS seconds,
    coalesce(wait_event_type = 'Lock', false)
        AND extract(epoch FROM now() - coalesce(state_change, xact_start)) > %(blocked_s)s AS blocked
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
    AND (
        now() - xact_start > make_interval(secs => %(long_s)s)
        OR (wait_event_type = 'Lock' AND now() - coalesce(state_change, xact_start) > make_interval(secs => %(blocked_s)s))
    )
ORDER BY seconds DESC
LIMIT 50
