-- name: count_unread
-- How many unread messages each agent has, counted no further than $2.
SELECT a AS agent_id, (SELECT count(*) FROM (SELECT FROM deliveries d WHERE d.recipient_id = a AND d.read_at IS NULL LIMIT $2) c)
       AS unread
FROM unnest($1::uuid[]) AS a;

-- name: has_anything
-- Is anything unread, owed, or held by the agent? If not, `page`, `owed_questions` and `turns` need not be asked.
SELECT EXISTS (SELECT FROM deliveries d WHERE d.recipient_id = $1 AND d.read_at IS NULL)
    OR EXISTS (SELECT FROM questions q WHERE q.answerer_id = $1 AND q.state = 'open')
    OR EXISTS (SELECT FROM meetings g WHERE g.holder_id = $1 AND g.phase = 'active');

-- name: have_unread
-- Of these recipients and senders, those where `take` would find something.
SELECT n.recipient_id, n.sender_id FROM unnest($1::uuid[], $2::uuid[]) AS n (recipient_id, sender_id)
WHERE EXISTS (SELECT FROM deliveries d
              WHERE d.recipient_id = n.recipient_id AND d.sender_id = n.sender_id AND d.read_at IS NULL AND NOT d.poison
                AND d.kind = ANY ($3::text[])
                AND NOT EXISTS (SELECT FROM processes p WHERE p.id = d.claimed_by AND p.lease_until > clock_timestamp()));

-- name: page
-- Unread deliveries of an agent after position $4, oldest first, with their messages; what a live process has claimed is
-- left out.
SELECT m.id, m.sender_id, m.recipient_id, m.kind, m.content, m.metadata, m.seq, m.meeting_id, m.reply_to, m.late, m.hop, m.created_at,
       d.id AS position, d.read_at, d.shown_at, d.dead_at, d.attempt,
       q.id AS question_id, q.number AS question_number,
       CASE WHEN q.state = 'open' AND q.reply_by <= clock_timestamp() THEN 'expired' ELSE q.state END AS question_state,
       q.reply_by, g.number AS meeting_number, g.title AS meeting_title, g.phase AS meeting_phase,
       extract(epoch FROM q.reply_by - clock_timestamp())::float8 AS seconds_left
FROM deliveries d
JOIN messages m ON m.id = d.message_id
LEFT JOIN questions q ON q.id = coalesce(m.reply_to, m.id)
LEFT JOIN meetings g ON g.id = m.meeting_id
WHERE d.recipient_id = $1 AND d.read_at IS NULL AND ($2::uuid IS NULL OR d.sender_id = $2) AND d.id > $4
  AND NOT EXISTS (SELECT FROM processes p WHERE p.id = d.claimed_by AND p.lease_until > clock_timestamp())
ORDER BY d.id LIMIT $3;

-- name: count_page
-- How many rows `page` has in all, counted no further than $3.
SELECT count(*) FROM (
    SELECT FROM deliveries d
    WHERE d.recipient_id = $1 AND d.read_at IS NULL AND ($2::uuid IS NULL OR d.sender_id = $2)
      AND NOT EXISTS (SELECT FROM processes p WHERE p.id = d.claimed_by AND p.lease_until > clock_timestamp())
    LIMIT $3) c;

-- name: owed_questions
-- Open questions to an agent that it has acknowledged and not answered.
SELECT m.id, m.sender_id, m.recipient_id, m.kind, m.content, m.metadata, m.seq, m.meeting_id, m.reply_to, m.late, m.hop, m.created_at,
       d.id AS position, d.read_at, d.shown_at, d.dead_at, d.attempt,
       q.id AS question_id, q.number AS question_number, q.state AS question_state,
       q.reply_by, NULL::bigint AS meeting_number, NULL::text AS meeting_title, NULL::text AS meeting_phase,
       extract(epoch FROM q.reply_by - clock_timestamp())::float8 AS seconds_left
FROM questions q
JOIN messages m ON m.id = q.id
JOIN deliveries d ON d.message_id = q.id
WHERE q.answerer_id = $1 AND q.state = 'open' AND q.reply_by > clock_timestamp() AND d.read_at IS NOT NULL
  AND ($2::uuid IS NULL OR q.asker_id = $2)
ORDER BY q.number LIMIT $3;

-- name: turns
-- The turns an agent has, in every meeting.
SELECT g.id AS meeting_id, g.number AS meeting_number, g.title AS meeting_title, g.turn, g.floor_at, g.host_id,
       g.turn <= b.shown_turn AS shown, extract(epoch FROM g.floor_deadline - clock_timestamp())::float8 AS seconds_left
FROM meetings g JOIN meeting_members b ON b.meeting_id = g.id AND b.agent_id = g.holder_id
WHERE g.holder_id = $1 AND g.phase = 'active'
  AND g.deadline > clock_timestamp() AND (g.floor_deadline IS NULL OR g.floor_deadline > clock_timestamp())
ORDER BY g.floor_at;

-- name: take
-- Mark read up to $3 unread messages of an agent (from $2, if given) and give them: oldest first, each to one reader only.
-- Runs in a transaction that commits once the rows have arrived. $4: the kinds wanted.
WITH picked AS (
    SELECT d.message_id FROM deliveries d
    WHERE d.recipient_id = $1 AND d.read_at IS NULL AND ($2::uuid IS NULL OR d.sender_id = $2) AND NOT d.poison
      AND d.kind = ANY ($4::text[])
      AND NOT EXISTS (SELECT FROM processes p WHERE p.id = d.claimed_by AND p.lease_until > clock_timestamp())
    ORDER BY d.id LIMIT $3 FOR UPDATE OF d SKIP LOCKED
), marked AS (
    UPDATE deliveries d SET read_at = clock_timestamp(), claimed_by = NULL FROM picked WHERE d.message_id = picked.message_id
    RETURNING d.message_id, d.id
)
SELECT m.id, m.pair_id, m.seq, m.session_id, m.meeting_id, m.sender_id, m.recipient_id, m.kind, m.content, m.metadata,
       m.reply_to, m.late, m.hop, m.created_at, clock_timestamp() AS read_at
FROM marked JOIN messages m ON m.id = marked.message_id ORDER BY marked.id;

-- name: peek
-- The same messages, left unread.
SELECT m.id, m.pair_id, m.seq, m.session_id, m.meeting_id, m.sender_id, m.recipient_id, m.kind, m.content, m.metadata,
       m.reply_to, m.late, m.hop, m.created_at, d.read_at
FROM deliveries d JOIN messages m ON m.id = d.message_id
WHERE d.recipient_id = $1 AND d.read_at IS NULL AND ($2::uuid IS NULL OR d.sender_id = $2) AND NOT d.poison
  AND d.kind = ANY ($4::text[])
  AND NOT EXISTS (SELECT FROM processes p WHERE p.id = d.claimed_by AND p.lease_until > clock_timestamp())
ORDER BY d.id LIMIT $3;

-- name: mark_read
-- Acknowledge deliveries; $2 says whose each one must be. Only those that were unread come back.
UPDATE deliveries d SET read_at = clock_timestamp(), claimed_by = NULL
FROM (SELECT d.message_id FROM deliveries d JOIN unnest($1::uuid[], $2::uuid[]) AS n (message_id, recipient_id)
      ON n.message_id = d.message_id AND n.recipient_id = d.recipient_id
      WHERE d.read_at IS NULL ORDER BY d.message_id FOR UPDATE OF d) n
WHERE d.message_id = n.message_id
RETURNING d.message_id;

-- name: mark_taken
-- The same for answers that a wait has given to its caller. Not flushed to disk: one that a crash of the server loses is
-- in the inbox again. A deadlock with another that marks the same rows is retried like every other.
UPDATE deliveries d SET read_at = clock_timestamp(), claimed_by = NULL
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS not_flushed
WHERE d.message_id = ANY ($1::uuid[]) AND d.read_at IS NULL;

-- name: mark_unread
-- What was taken by a call that could not give it to its caller.
UPDATE deliveries SET read_at = NULL WHERE message_id = ANY ($1::uuid[]);

-- name: mark_poison
UPDATE deliveries SET read_at = NULL, poison = true, error = $2 WHERE message_id = ANY ($1::uuid[]);

-- name: mark_shown
-- What came unasked counts, from now on for a while, as the cause of what the agent sends.
WITH shown AS (
    UPDATE deliveries SET shown_at = clock_timestamp()
    WHERE recipient_id = $1 AND message_id = ANY ($2::uuid[]) AND shown_at IS NULL
    RETURNING message_id, kind
)
UPDATE agents a SET heard_hop = h.hop, heard_at = clock_timestamp()
FROM (SELECT max(m.hop) AS hop FROM shown JOIN messages m ON m.id = shown.message_id
      WHERE shown.kind NOT IN ('answer', 'decline')) h
WHERE a.id = $1 AND h.hop IS NOT NULL;

-- name: mark_turns_shown
-- $3: since when the agent has the floor of each meeting, so that a later turn is not taken for the one that was shown.
UPDATE meeting_members b SET shown_turn = g.turn
FROM meetings g JOIN unnest($2::uuid[], $3::timestamptz[]) AS n (meeting_id, floor_at)
     ON n.meeting_id = g.id AND n.floor_at = g.floor_at
WHERE b.agent_id = $1 AND b.meeting_id = g.id AND g.holder_id = $1 AND b.shown_turn < g.turn;

-- name: unshown_need
-- Does an open question to the agent, an answer to it or a turn of it exist that no result has shown it?
-- $2 and $3: the question and the meeting that the asking wait is about itself.
SELECT EXISTS (
    SELECT FROM deliveries d LEFT JOIN messages m ON m.id = d.message_id AND d.kind IN ('answer', 'decline')
    WHERE d.recipient_id = $1 AND d.read_at IS NULL AND d.shown_at IS NULL
      AND (d.kind IN ('answer', 'decline') AND m.reply_to IS DISTINCT FROM $2
           OR d.kind = 'question' AND EXISTS (SELECT FROM questions q WHERE q.id = d.message_id AND q.state = 'open'
                                              AND q.reply_by > clock_timestamp()))
      AND NOT EXISTS (SELECT FROM processes p WHERE p.id = d.claimed_by AND p.lease_until > clock_timestamp())
) OR EXISTS (
    SELECT FROM meetings g JOIN meeting_members b ON b.meeting_id = g.id AND b.agent_id = g.holder_id
    WHERE g.holder_id = $1 AND g.phase = 'active' AND g.turn > b.shown_turn AND g.floor = 'offered'
      AND g.id IS DISTINCT FROM $3 AND g.floor_deadline > clock_timestamp() AND g.deadline > clock_timestamp()
);

-- name: insert_cursor
INSERT INTO inbox_cursors (agent_id, message_ids) VALUES ($1, $2) RETURNING number;

-- name: get_cursor
SELECT message_ids FROM inbox_cursors WHERE number = $1 AND agent_id = $2;
