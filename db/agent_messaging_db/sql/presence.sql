-- name: renew_lease
-- $2: seconds. A lease that had run out comes back, but what was claimed under it may be elsewhere by now.
INSERT INTO processes (id, lease_until) VALUES ($1, clock_timestamp() + make_interval(secs => $2))
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until;

-- name: attach
INSERT INTO attachments (agent_id, kind, process_id)
SELECT a, $2, $3 FROM unnest($1::uuid[]) AS a ORDER BY a ON CONFLICT DO NOTHING;

-- name: detach
DELETE FROM attachments WHERE process_id = $3 AND kind = $2 AND agent_id = ANY ($1::uuid[]);

-- name: leave
-- A process that closes: its attachments go with it, its claims are free at once.
WITH gone AS (DELETE FROM processes WHERE id = $1)
UPDATE deliveries SET claimed_by = NULL, attempt = greatest(attempt - 1, 0)
WHERE claimed_by = $1 AND read_at IS NULL AND recipient_id = ANY ($2::uuid[]);

-- name: touch
-- The agents in $1 did something; those in $2 called over MCP.
UPDATE agents SET last_seen_at = clock_timestamp(),
                  last_call_at = CASE WHEN id = ANY ($2::uuid[]) THEN clock_timestamp() ELSE last_call_at END
WHERE id IN (SELECT id FROM agents WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED);

-- name: mark_readers
UPDATE agents SET reads_inbox = true
WHERE id IN (SELECT id FROM agents WHERE id = ANY ($1::uuid[]) AND NOT reads_inbox ORDER BY id FOR NO KEY UPDATE);

-- name: forget_processes
-- Processes whose lease ran out long ago.
DELETE FROM processes WHERE lease_until < clock_timestamp() - interval '10 minutes';

-- name: has_others
-- Is a process other than $1 alive?
SELECT EXISTS (SELECT FROM processes WHERE id <> $1 AND lease_until > clock_timestamp());
