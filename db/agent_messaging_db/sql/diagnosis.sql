-- name: server
-- The server as this role sees it. What a role may not know of others is counted without their names.
SELECT current_setting('server_version_num')::int / 10000 AS version,
       pg_is_in_recovery() AS is_standby,
       current_setting('default_transaction_read_only')::bool AS is_read_only,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_database() AS database,
       current_user AS role,
       current_schema() AS schema,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true), '0')::int AS connections,
       (SELECT sum(numbackends) FROM pg_stat_database)::int AS connections_used,
       nullif(r.rolconnlimit, -1) AS role_limit,
       (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid)::int AS role_used,
       nullif(d.datconnlimit, -1) AS database_limit,
       (SELECT numbackends FROM pg_stat_database s WHERE s.datid = d.oid) AS database_used
FROM pg_roles r, pg_database d
WHERE r.rolname = current_user AND d.datname = current_database();

-- name: forbidden
-- Of these tables, those that are there and what the role may not do with each.
SELECT t.name AS table_name, array_agg(p.privilege ORDER BY p.number) AS privileges
FROM unnest($1::text[]) AS t (name)
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS p (privilege, number)
WHERE NOT has_table_privilege(to_regclass(quote_ident(t.name)), p.privilege)
GROUP BY t.name ORDER BY t.name;

-- name: time
SELECT clock_timestamp();

-- name: backend
SELECT pg_backend_pid();

-- name: place
-- Which database of which server: NOTIFY goes no further.
SELECT (SELECT system_identifier FROM pg_control_system()) AS server, current_database() AS database;

-- name: notify
SELECT pg_notify($1, $2);

-- name: access
-- How many agents and tokens there are; of the agents without a valid token, and of the tokens that end within $1 seconds
-- while their agent has none that lasts longer, no more than $2.
WITH valid AS MATERIALIZED (
    SELECT t.prefix, t.agent_id, t.expires_at FROM tokens t
    WHERE t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())
), ending AS (
    SELECT agent_id, max(expires_at) AS expires_at FROM valid
    GROUP BY agent_id
    HAVING bool_and(coalesce(expires_at <= clock_timestamp() + make_interval(secs => $1), false))
), without AS MATERIALIZED (
    SELECT a.external_id FROM agents a WHERE NOT EXISTS (SELECT FROM valid v WHERE v.agent_id = a.id)
)
SELECT (SELECT count(*) FROM agents) AS agents,
       (SELECT count(*) FROM tokens) AS tokens,
       (SELECT count(*) FROM valid) AS valid,
       (SELECT count(*) FROM ending) AS ending,
       ARRAY(SELECT a.external_id FROM ending e JOIN agents a ON a.id = e.agent_id
             ORDER BY e.expires_at, a.external_id LIMIT $2) AS ending_agents,
       (SELECT count(*) FROM without) AS without,
       ARRAY(SELECT external_id FROM without ORDER BY external_id LIMIT $2) AS without_agents;
