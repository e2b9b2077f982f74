-- name: cutoff
-- The moment $1 seconds ago, by the database's clock.
SELECT clock_timestamp() - make_interval(secs => $1);

-- name: prune_messages
-- Walk the next $4 messages after the id $1, up to the id $2, and remove those that were sent, read and settled before $3:
-- never one that is unread, and a question with its answer or not at all. With $5, only count.
-- What another prune works on is skipped, so two never wait for each other. Locks: questions, then deliveries.
WITH walked AS MATERIALIZED (
    SELECT m.id, m.kind, m.created_at FROM messages m WHERE m.id > $1 AND m.id < $2 ORDER BY m.id LIMIT $4
), plain AS MATERIALIZED (
    SELECT m.id FROM walked w JOIN messages m ON m.id = w.id
    WHERE w.kind IN ('one_way', 'async') AND w.created_at < $3
      AND EXISTS (SELECT FROM deliveries d WHERE d.message_id = w.id AND d.read_at < $3)
    ORDER BY m.id FOR UPDATE OF m SKIP LOCKED
), settled AS MATERIALIZED (   -- seen as it stands under its lock: an answer that comes late keeps its question
    SELECT q.id, q.answer_id FROM walked w JOIN questions q ON q.id = w.id
    WHERE w.created_at < $3 AND q.reply_by < $3 AND q.state <> 'open'
      AND EXISTS (SELECT FROM deliveries d WHERE d.message_id = w.id AND d.read_at < $3)
      AND (q.answer_id IS NULL
           OR EXISTS (SELECT FROM messages a JOIN deliveries d ON d.message_id = a.id
                      WHERE a.id = q.answer_id AND a.created_at < $3 AND d.read_at < $3))
    ORDER BY q.id FOR UPDATE OF q SKIP LOCKED
), doomed AS MATERIALIZED (
    SELECT id FROM plain UNION ALL SELECT id FROM settled UNION ALL SELECT answer_id FROM settled WHERE answer_id IS NOT NULL
), questions_gone AS (
    DELETE FROM questions q USING settled WHERE q.id = settled.id AND NOT $5
), deliveries_gone AS (
    DELETE FROM deliveries d USING doomed WHERE d.message_id = doomed.id AND NOT $5
), messages_gone AS (
    DELETE FROM messages m USING doomed WHERE m.id = doomed.id AND NOT $5
)
SELECT (SELECT id FROM walked ORDER BY id DESC LIMIT 1) AS last, (SELECT count(*) FROM doomed) AS messages,
       (SELECT count(*) FROM settled) AS questions;

-- name: prune_meetings
-- Walk the next $3 meetings after the number $1 that ended before $2, and remove those with everything that was said in
-- them, their members and their invitations; one whose invitation was not read since stays. With $4, only count.
WITH walked AS MATERIALIZED (
    SELECT g.id, g.number FROM meetings g
    WHERE g.number > $1 AND g.phase = 'ended' AND g.ended_at < $2 ORDER BY g.number LIMIT $3
), over AS MATERIALIZED (
    SELECT g.id FROM walked w JOIN meetings g ON g.id = w.id
    WHERE NOT EXISTS (SELECT FROM meeting_members b JOIN deliveries d ON d.message_id = b.invitation_id
                      WHERE b.meeting_id = w.id AND (d.read_at IS NULL OR d.read_at >= $2))
    ORDER BY g.number FOR UPDATE OF g SKIP LOCKED
), invited AS MATERIALIZED (
    SELECT b.invitation_id AS id FROM meeting_members b JOIN over ON over.id = b.meeting_id
), said AS MATERIALIZED (
    SELECT count(*) AS events FROM meeting_events e JOIN over ON over.id = e.meeting_id
), events_gone AS (
    DELETE FROM meeting_events e USING over WHERE e.meeting_id = over.id AND NOT $4
), deliveries_gone AS (
    DELETE FROM deliveries d USING invited WHERE d.message_id = invited.id AND NOT $4
), messages_gone AS (
    DELETE FROM messages m USING invited WHERE m.id = invited.id AND NOT $4
), members_gone AS (
    DELETE FROM meeting_members b USING over WHERE b.meeting_id = over.id AND NOT $4
), meetings_gone AS (
    DELETE FROM meetings g USING over WHERE g.id = over.id AND NOT $4
)
SELECT (SELECT number FROM walked ORDER BY number DESC LIMIT 1) AS last, (SELECT count(*) FROM over) AS meetings,
       (SELECT events FROM said) AS events;

-- name: prune_sessions
-- Walk the next $3 sessions after the id $1 that ended before $2, and remove those that nothing of their pair is left of.
-- A pair's oldest message, found by its index, tells: numbers run on through all sessions of a pair.
WITH walked AS MATERIALIZED (
    SELECT s.id, s.pair_id, s.ended_at FROM sessions s WHERE s.id > $1 AND s.ended_at < $2 ORDER BY s.id LIMIT $3
), spent AS MATERIALIZED (
    SELECT s.id FROM walked w JOIN sessions s ON s.id = w.id
    WHERE NOT EXISTS (
        SELECT FROM (SELECT m.created_at FROM messages m WHERE m.pair_id = w.pair_id ORDER BY m.seq LIMIT 1) oldest
        WHERE oldest.created_at <= w.ended_at)
    ORDER BY s.id FOR UPDATE OF s SKIP LOCKED
), gone AS (
    DELETE FROM sessions s USING spent WHERE s.id = spent.id
)
SELECT (SELECT id FROM walked ORDER BY id DESC LIMIT 1) AS last, (SELECT count(*) FROM spent) AS sessions;
