-- name: claim
-- For each agent in $1, claim up to $2 deliveries that nobody is handling: oldest first. Answers are for whoever waits or reads.
-- Without a lease of its own ($3), a process claims nothing: others could claim it as well.
-- The handler of an agent that is silenced rests: nothing is claimed for it.
-- $4: how many attempts a delivery gets; one that has had them all comes back with exhausted = true, to be given up.
-- Not flushed to disk: a claim that a crash of the server loses is a delivery that is given again.
WITH wanted AS (
    SELECT picked.message_id
    FROM unnest($1::uuid[], $2::int[]) AS w (agent_id, free)
    CROSS JOIN LATERAL (
        SELECT d.message_id FROM deliveries d
        WHERE d.recipient_id = w.agent_id AND d.read_at IS NULL AND d.dead_at IS NULL
          AND d.kind IN ('one_way', 'async', 'question', 'invitation')
          AND (d.retry_at IS NULL OR d.retry_at <= clock_timestamp())
          AND NOT EXISTS (SELECT FROM processes p WHERE p.id = d.claimed_by AND p.lease_until > clock_timestamp())
        ORDER BY d.id LIMIT w.free FOR UPDATE OF d SKIP LOCKED
    ) picked
    WHERE EXISTS (SELECT FROM processes p WHERE p.id = $3 AND p.lease_until > clock_timestamp())
      AND NOT EXISTS (SELECT FROM silences s WHERE s.until > clock_timestamp()
                      AND s.subject_id IN (w.agent_id, (SELECT a.organization_id FROM agents a WHERE a.id = w.agent_id)))
), claimed AS (
    UPDATE deliveries d SET claimed_by = $3, attempt = d.attempt + 1 FROM wanted WHERE d.message_id = wanted.message_id
    RETURNING d.message_id, d.id, d.attempt
)
SELECT m.id, m.sender_id, m.recipient_id, m.kind, m.content, m.metadata, m.session_id, m.meeting_id, m.hop,
       c.attempt, c.attempt > $4 AS exhausted, q.reply_by
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS not_flushed CROSS JOIN claimed c JOIN messages m ON m.id = c.message_id LEFT JOIN questions q ON q.id = m.id
ORDER BY c.id;

-- name: finish
-- Handled: read. The attempt fences whoever finishes late. Not flushed to disk: one that a crash of the server loses is
-- handled again.
UPDATE deliveries d SET read_at = clock_timestamp(), claimed_by = NULL
FROM (SELECT d.message_id FROM (SELECT set_config('synchronous_commit', 'off', true)) AS not_flushed
      CROSS JOIN unnest($1::uuid[], $2::int[]) AS n (message_id, attempt)
      JOIN deliveries d ON n.message_id = d.message_id AND n.attempt = d.attempt
      WHERE d.claimed_by = $3 AND d.read_at IS NULL ORDER BY d.message_id FOR UPDATE OF d) n
WHERE d.message_id = n.message_id;

-- name: retry_later
-- Failed: free again after $3 seconds, for whichever process has the handler. Never past a question's reply_by.
UPDATE deliveries d
SET claimed_by = NULL, error = $4,
    retry_at = least(clock_timestamp() + make_interval(secs => $3),
                     (SELECT greatest(q.reply_by - interval '50 milliseconds', clock_timestamp()) FROM questions q
                      WHERE q.id = d.message_id AND q.state = 'open'))
WHERE d.message_id = $1 AND d.claimed_by = $5 AND d.attempt = $2 AND d.read_at IS NULL
RETURNING greatest(extract(epoch FROM d.retry_at - clock_timestamp()), 0)::float8;

-- name: give_back
-- Claimed, and not handled after all. An invitation to a meeting that has ended meanwhile needs nobody any more.
UPDATE deliveries d
SET claimed_by = NULL, attempt = greatest(d.attempt - 1, 0),
    read_at = (SELECT clock_timestamp() FROM messages m JOIN meetings g ON g.id = m.meeting_id
               WHERE m.id = d.message_id AND g.phase = 'ended')
WHERE d.message_id = ANY ($1::uuid[]) AND d.claimed_by = $2 AND d.read_at IS NULL;

-- name: claims
-- What process $2 has claimed for the handlers of the agents in $1.
SELECT d.message_id, d.attempt FROM deliveries d
WHERE d.recipient_id = ANY ($1::uuid[]) AND d.read_at IS NULL AND d.claimed_by = $2
  AND d.kind IN ('one_way', 'async', 'question', 'invitation');

-- name: let_go
-- Claimed by a process that does not know of it any more.
UPDATE deliveries d SET claimed_by = NULL
FROM (SELECT d.message_id FROM deliveries d JOIN unnest($1::uuid[], $2::int[]) AS n (message_id, attempt)
      ON n.message_id = d.message_id AND n.attempt = d.attempt
      WHERE d.claimed_by = $3 AND d.read_at IS NULL ORDER BY d.message_id FOR UPDATE OF d) n
WHERE d.message_id = n.message_id;

-- name: dead_letter
SELECT message_id, recipient_id, question_id FROM dead_letter($1, $2, $3, $4);

-- name: agents_with_work
-- Of these agents, those with a delivery that a handler could take now.
SELECT w.agent_id FROM unnest($1::uuid[]) AS w (agent_id)
WHERE NOT EXISTS (SELECT FROM silences s WHERE s.until > clock_timestamp()
                  AND s.subject_id IN (w.agent_id, (SELECT a.organization_id FROM agents a WHERE a.id = w.agent_id)))
  AND EXISTS (
    SELECT FROM deliveries d
    WHERE d.recipient_id = w.agent_id AND d.read_at IS NULL AND d.dead_at IS NULL
      AND d.kind IN ('one_way', 'async', 'question', 'invitation')
      AND (d.retry_at IS NULL OR d.retry_at <= clock_timestamp())
      AND NOT EXISTS (SELECT FROM processes p WHERE p.id = d.claimed_by AND p.lease_until > clock_timestamp()));
