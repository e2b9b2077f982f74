-- name: settled_questions
-- Of these questions, those that are no longer open.
SELECT id FROM questions WHERE id = ANY ($1::uuid[]) AND (state <> 'open' OR reply_by <= clock_timestamp());

-- name: inbox_states
-- How the inboxes of these agents stand: how much is unread (counted no further than $2), the newest of it, and their turns.
SELECT a AS agent_id, d.unread, d.newest, g.turns, g.since
FROM unnest($1::uuid[]) AS a
CROSS JOIN LATERAL (
    SELECT count(*) AS unread, max(c.id) AS newest
    FROM (SELECT d.id FROM deliveries d WHERE d.recipient_id = a AND d.read_at IS NULL ORDER BY d.id DESC LIMIT $2) c
) d
CROSS JOIN LATERAL (
    SELECT count(*) AS turns, max(g.floor_at) AS since FROM meetings g WHERE g.holder_id = a AND g.phase = 'active'
) g;

-- name: meeting_states
SELECT id, version, phase = 'ended' AS ended FROM meetings WHERE id = ANY ($1::uuid[]);

-- name: due_meetings
SELECT id FROM meetings WHERE phase <> 'ended' AND next_due <= clock_timestamp() ORDER BY next_due LIMIT $1;

-- name: forget
-- What has served its time: keys after a day, cursors after a week, tasks when they say.
WITH expired AS (
    DELETE FROM tasks WHERE id IN (
        SELECT id FROM tasks WHERE expires_at <= clock_timestamp() LIMIT 1000 FOR UPDATE SKIP LOCKED)
), keys AS (
    DELETE FROM idempotency_keys WHERE (agent_id, key) IN (
        SELECT agent_id, key FROM idempotency_keys WHERE created_at < clock_timestamp() - interval '24 hours'
        ORDER BY agent_id, key LIMIT 1000 FOR UPDATE SKIP LOCKED)
)
DELETE FROM inbox_cursors WHERE number IN (
    SELECT number FROM inbox_cursors WHERE created_at < clock_timestamp() - interval '7 days' LIMIT 1000 FOR UPDATE SKIP LOCKED);
