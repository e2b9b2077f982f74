-- name: insert_task
-- All times are of one reading of the clock. $4: seconds that it waits at most; $5: seconds that it can be asked after beyond.
INSERT INTO tasks (id, agent_id, resume, created_at, updated_at, ends_at, expires_at)
SELECT $1, $2, $3, t.now, t.now, t.now + make_interval(secs => $4), t.now + make_interval(secs => $4 + $5)
FROM clock_timestamp() AS t (now)
ON CONFLICT (id) DO NOTHING;

-- name: count_tasks
-- How many wait for this agent, counted no further than $2.
SELECT count(*) FROM (
    SELECT FROM tasks WHERE agent_id = $1 AND state = 'working' AND ends_at > clock_timestamp() LIMIT $2) t;

-- name: get_task
-- One of this agent's that can still be asked after.
SELECT id, resume, state, result, created_at, updated_at, ends_at <= clock_timestamp() AS is_due,
       extract(epoch FROM expires_at - created_at)::float8 AS kept_seconds,
       extract(epoch FROM clock_timestamp() - created_at)::float8 AS age_seconds
FROM tasks WHERE id = $1 AND agent_id = $2 AND expires_at > clock_timestamp();

-- name: settle_task
-- The first settlement counts.
UPDATE tasks SET state = $3, result = $4, updated_at = clock_timestamp()
WHERE id = $1 AND agent_id = $2 AND state = 'working' AND expires_at > clock_timestamp();
