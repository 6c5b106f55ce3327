-- The databases that we may look at: how large they are, and how old the oldest transaction number in each is.
SELECT
    datname AS name,
    CASE WHEN has_database_privilege(datname, 'CONNECT') THEN pg_database_size(datname) END AS bytes,
    age(datfrozenxid) AS transaction_age
FROM pg_database
WHERE datallowconn AND NOT datistemplate
ORDER BY 1
