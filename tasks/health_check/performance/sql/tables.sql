-- Tables of this database in which dead rows take more than their share; small ones do not matter.
-- The size is what the last VACUUM or ANALYZE saw: asking for it now would wait for whoever has locked the table.
SELECT
    current_database() AS database,
    t.schemaname || '.' || t.relname AS name,
    t.n_live_tup AS live,
    t.n_dead_tup AS dead,
    c.relpages::bigint * current_setting('block_size')::bigint AS bytes
FROM pg_stat_user_tables AS t
JOIN pg_class AS c ON c.oid = t.relid
WHERE n_dead_tup >= %(least)s AND n_dead_tup > %(ratio)s * (n_live_tup + n_dead_tup)
ORDER BY n_dead_tup DESC
LIMIT 20
