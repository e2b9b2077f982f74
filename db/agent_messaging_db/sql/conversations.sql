-- name: send_messages
SELECT * FROM send_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                            $19, $20, $21, $22, $23);

-- name: answer_questions
SELECT * FROM answer_questions($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: open_questions
-- What two agents have asked each other and is not settled.
SELECT q.id FROM questions q JOIN pairs p ON p.id = q.pair_id
WHERE p.low_id = least($1::uuid, $2::uuid) AND p.high_id = greatest($1::uuid, $2::uuid) AND q.state = 'open';

-- name: end_sessions
SELECT ended, cancelled FROM end_sessions($1, $2);

-- name: expire_questions
SELECT id, asker_id FROM expire_questions($1);

-- name: get_outcomes
-- How questions stand, with what is due applied, and the answer of those that have one.
SELECT q.id, q.number, q.session_id, q.asker_id, q.answerer_id,
       CASE WHEN q.state = 'open' AND q.reply_by <= clock_timestamp() THEN 'expired' ELSE q.state END AS state,
       q.reply_by, q.awaited_by, q.answer_id, q.failure, q.late,
       m.content, m.metadata, m.created_at AS answered_at
FROM questions q LEFT JOIN messages m ON m.id = q.answer_id
WHERE q.id = ANY ($1::uuid[]);

-- name: await_question
-- A wait begins on a question that exists; its answer, if it comes, is for the wait.
UPDATE questions SET awaited_by = $2 WHERE id = $1 AND state = 'open';

-- name: release_questions
-- Waits of process $2 have ended: what is answered from here on is the inbox's.
UPDATE questions SET awaited_by = NULL
WHERE id IN (SELECT id FROM questions WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE) AND awaited_by = $2;

-- name: release_answers
-- And so is what was answered before and nobody took. A statement of its own, after the other: it must see an answer for
-- whose commit that one has waited. Says to whom.
UPDATE deliveries d SET claimed_by = NULL
FROM (SELECT d.message_id FROM deliveries d JOIN questions q ON q.answer_id = d.message_id
      WHERE q.id = ANY ($1::uuid[]) AND d.claimed_by = $2 AND d.read_at IS NULL
      ORDER BY d.message_id FOR UPDATE OF d) n
WHERE d.message_id = n.message_id
RETURNING d.recipient_id;

-- name: find_question_to_answer
-- The oldest open question that $2 put to $1, or else the latest expired and unanswered one.
(SELECT id, number, 0 AS rank FROM questions
 WHERE answerer_id = $1 AND asker_id = $2 AND state = 'open' AND reply_by > clock_timestamp() ORDER BY number LIMIT 1)
UNION ALL
(SELECT id, number, 1 FROM questions
 WHERE answerer_id = $1 AND asker_id = $2 AND (state = 'expired' OR (state = 'open' AND reply_by <= clock_timestamp()))
 ORDER BY number DESC LIMIT 1)
ORDER BY rank LIMIT 1;

-- name: find_identical_question
-- An open question of $1 to $2 with the content $3 on which no live process waits.
SELECT q.id, q.number FROM questions q JOIN messages m ON m.id = q.id
WHERE q.answerer_id = $2 AND q.asker_id = $1 AND q.state = 'open' AND q.reply_by > clock_timestamp() AND m.content = $3
  AND (q.awaited_by IS NULL
       OR NOT EXISTS (SELECT FROM processes p WHERE p.id = q.awaited_by AND p.lease_until > clock_timestamp()))
ORDER BY q.number LIMIT 1;

-- name: question_by_number
SELECT id, asker_id, answerer_id FROM questions WHERE number = $1;

-- name: question_parties
SELECT id, number, asker_id, answerer_id FROM questions WHERE id = $1;

-- name: live_sessions
-- The newest session of each type between two agents, with who waits in it, as long as its process lives.
SELECT DISTINCT ON (s.type) s.id, s.low_id, s.high_id, s.type, s.created_at, s.ended_at,
       (SELECT q.asker_id FROM questions q
        WHERE q.session_id = s.id AND q.pair_id = s.pair_id AND q.state = 'open' AND q.reply_by > clock_timestamp()
          AND EXISTS (SELECT FROM processes p WHERE p.id = q.awaited_by AND p.lease_until > clock_timestamp())
        ORDER BY q.number LIMIT 1) AS waiting_id
FROM sessions s JOIN pairs p ON p.id = s.pair_id
WHERE p.low_id = least($1::uuid, $2::uuid) AND p.high_id = greatest($1::uuid, $2::uuid)
ORDER BY s.type, s.created_at DESC;

-- name: conversation_after
SELECT m.id, m.pair_id, m.seq, m.session_id, m.meeting_id, m.sender_id, m.recipient_id, m.kind, m.content, m.metadata,
       m.reply_to, m.late, m.hop, m.created_at, d.read_at
FROM messages m JOIN pairs p ON p.id = m.pair_id LEFT JOIN deliveries d ON d.message_id = m.id
WHERE p.low_id = least($1::uuid, $2::uuid) AND p.high_id = greatest($1::uuid, $2::uuid) AND m.seq > $3
ORDER BY m.seq LIMIT $4;

-- name: conversation_latest
SELECT m.id, m.pair_id, m.seq, m.session_id, m.meeting_id, m.sender_id, m.recipient_id, m.kind, m.content, m.metadata,
       m.reply_to, m.late, m.hop, m.created_at, d.read_at
FROM messages m JOIN pairs p ON p.id = m.pair_id LEFT JOIN deliveries d ON d.message_id = m.id
WHERE p.low_id = least($1::uuid, $2::uuid) AND p.high_id = greatest($1::uuid, $2::uuid)
ORDER BY m.seq DESC LIMIT $3;

-- name: last_seq
SELECT last_seq FROM pairs WHERE low_id = least($1::uuid, $2::uuid) AND high_id = greatest($1::uuid, $2::uuid);
