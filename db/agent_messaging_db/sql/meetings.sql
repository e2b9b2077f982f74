-- name: insert_meeting
-- A meeting, its members in order, and an invitation to each of them. Deadlines are seconds from now. Nothing is created for
-- a host that is silenced.
WITH meeting AS (
    INSERT INTO meetings (id, host_id, title, agenda, turn_duration, offer_timeout, quorum, start_by, deadline, max_turns, created_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, t.now + make_interval(secs => $8), t.now + make_interval(secs => $9), $10, t.now
    FROM (SELECT clock_timestamp() AS now) t, silenced_at_last($2) AS silenced_until
    WHERE silenced_until IS NULL
    RETURNING id, host_id, number, created_at
), members AS (
    INSERT INTO meeting_members (meeting_id, agent_id, invitation_id, position)
    SELECT meeting.id, a.agent_id, a.invitation_id, a.position - 1
    FROM meeting, unnest($11::uuid[], $12::uuid[]) WITH ORDINALITY AS a (agent_id, invitation_id, position)
), invitations AS (
    INSERT INTO messages (id, meeting_id, sender_id, recipient_id, kind, metadata, created_at, hop)
    SELECT i.id, meeting.id, meeting.host_id, i.agent_id, 'invitation', $13, meeting.created_at, $16
    FROM meeting, unnest($12::uuid[], $11::uuid[]) AS i (id, agent_id)
), delivered AS (
    INSERT INTO deliveries (message_id, recipient_id, sender_id, kind)
    SELECT i.id, i.agent_id, meeting.host_id, 'invitation'
    FROM meeting, unnest($12::uuid[], $11::uuid[]) AS i (id, agent_id)
), keyed AS (
    INSERT INTO idempotency_keys (agent_id, key, hash, result)
    SELECT meeting.host_id, $14, $15, meeting.id::text FROM meeting WHERE $14::text IS NOT NULL
)
SELECT number FROM meeting;

-- name: get_meeting
-- A meeting, its members and which of them are silenced, as of one moment of the database's clock.
SELECT g.id, g.number, g.host_id, g.title, g.agenda, g.phase, g.reason, g.outcome, g.turn_duration, g.offer_timeout, g.quorum,
       g.start_by, g.deadline, g.max_turns, g.turn, g.floor, g.holder_id, g.floor_at, g.floor_deadline, g.seen_seq, g.last_seq,
       g.version, g.created_at, g.started_at, g.ended_at, clock_timestamp() AS now,
       ARRAY(SELECT b FROM meeting_members b WHERE b.meeting_id = g.id ORDER BY b.position) AS members,
       CASE WHEN EXISTS (SELECT FROM silences WHERE until > clock_timestamp())
            THEN ARRAY(SELECT b.agent_id FROM meeting_members b
                       WHERE b.meeting_id = g.id AND silenced_until(b.agent_id) IS NOT NULL) END AS silenced
FROM meetings g WHERE g.id = $1;

-- name: lock_meeting
SELECT FROM meetings WHERE id = $1 FOR UPDATE;

-- name: save_meeting
-- One transition: the meeting, the members that changed, and its events, if the meeting is still at version $2 and (with $3)
-- nothing has come due since it was read. Clocks that the transition starts run from now.
WITH moved AS (
    UPDATE meetings SET
        host_id = $4, phase = $5, reason = $6, outcome = $7, turn = $8, floor = $9, holder_id = $10,
        floor_at = CASE WHEN $11 THEN clock_timestamp() ELSE floor_at END,
        floor_deadline = CASE WHEN $12 THEN clock_timestamp() + make_interval(secs => $13) ELSE floor_deadline END,
        seen_seq = $14, last_seq = $15, version = version + 1, updated_at = clock_timestamp(),
        started_at = CASE WHEN $16 THEN clock_timestamp() ELSE started_at END,
        ended_at = CASE WHEN $17 THEN clock_timestamp() ELSE ended_at END
    WHERE id = $1 AND version = $2 AND (NOT $3 OR next_due IS NULL OR next_due > clock_timestamp())
    RETURNING id, floor_deadline, clock_timestamp() AS now
), members AS (
    UPDATE meeting_members b SET
        position = n.position, status = n.status, last_grant = n.last_grant, present_since = n.present_since,
        joined_seq = n.joined_seq, quiet = n.quiet, skips = n.skips, cursor = n.cursor, joined_at = n.joined_at, left_at = n.left_at
    FROM moved, unnest($18::uuid[], $19::int[], $20::text[], $21::int[], $22::int[], $23::bigint[], $24::text[], $25::int[],
                       $26::bigint[], $27::timestamptz[], $28::timestamptz[])
         AS n (agent_id, position, status, last_grant, present_since, joined_seq, quiet, skips, cursor, joined_at, left_at)
    WHERE b.meeting_id = moved.id AND b.agent_id = n.agent_id
), invitations AS (   -- who came or declined has had its invitation; one that a handler works on is the handler's to finish
    UPDATE deliveries d SET read_at = clock_timestamp()
    FROM moved JOIN meeting_members b ON b.meeting_id = moved.id AND (b.agent_id = ANY ($40::uuid[]) OR $17)
    WHERE d.message_id = b.invitation_id AND d.read_at IS NULL AND d.claimed_by IS NULL
), events AS (
    INSERT INTO meeting_events (meeting_id, seq, event, agent_id, turn, message_id, content, metadata, data)
    SELECT moved.id, n.seq, n.event, n.agent_id, n.turn, n.message_id, n.content, n.metadata, n.data
    FROM moved, unnest($29::bigint[], $30::text[], $31::uuid[], $32::int[], $33::uuid[], $34::text[], $35::text[], $36::text[])
         AS n (seq, event, agent_id, turn, message_id, content, metadata, data)
), keyed AS (
    INSERT INTO idempotency_keys (agent_id, key, hash, result)
    SELECT $37, $38, $39, moved.id::text FROM moved WHERE $38::text IS NOT NULL
)
SELECT floor_deadline, now FROM moved;

-- name: see_turn
-- The transition in which nothing but the floor changes, from offered to seen, under the conditions of save_meeting, and what
-- has happened after seq $8: it is what a hand-over waits for. Not flushed to disk: that a speaker has seen its turn is nobody's
-- word; where a crash of the server loses it, the turn is offered still.
WITH seen AS (
    UPDATE meetings SET
        floor = 'seen', seen_seq = $4, version = version + 1, updated_at = clock_timestamp(),
        floor_deadline = CASE WHEN $5 THEN clock_timestamp() + make_interval(secs => $6) ELSE floor_deadline END
    WHERE id = $1 AND version = $2 AND holder_id = $7 AND (NOT $3 OR next_due IS NULL OR next_due > clock_timestamp())
    RETURNING id, floor_deadline, clock_timestamp() AS now
)
SELECT s.floor_deadline, s.now, e.meeting_id, e.seq, e.event, e.agent_id, e.turn, e.message_id, e.content, e.metadata, e.data,
       e.created_at
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS not_flushed
CROSS JOIN seen s LEFT JOIN meeting_events e ON e.meeting_id = s.id AND e.seq > $8
ORDER BY e.seq;

-- name: events_after
SELECT meeting_id, seq, event, agent_id, turn, message_id, content, metadata, data, created_at
FROM meeting_events WHERE meeting_id = $1 AND seq > $2 ORDER BY seq LIMIT $3;

-- name: latest_events
SELECT meeting_id, seq, event, agent_id, turn, message_id, content, metadata, data, created_at
FROM meeting_events WHERE meeting_id = $1 ORDER BY seq DESC LIMIT $2;

-- name: words_said
-- A speech or pass by its id ($3), or else by the turn on which the agent made it.
SELECT meeting_id, seq, event, agent_id, turn, message_id, content, metadata, data, created_at
FROM meeting_events
WHERE meeting_id = $1 AND agent_id = $2 AND event IN ('agent_spoke', 'turn_passed') AND (message_id = $3 OR turn = $4)
ORDER BY message_id = $3 DESC, seq LIMIT 1;

-- name: last_of_turn
-- How a turn went by.
SELECT meeting_id, seq, event, agent_id, turn, message_id, content, metadata, data, created_at
FROM meeting_events WHERE meeting_id = $1 AND turn = $2
  AND event IN ('agent_spoke', 'turn_passed', 'agent_timed_out', 'agent_left', 'meeting_ended')
ORDER BY seq DESC LIMIT 1;

-- name: meeting_by_number
SELECT id FROM meetings WHERE number = $1;

-- name: is_member
SELECT EXISTS (SELECT FROM meeting_members WHERE meeting_id = $1 AND agent_id = $2);

-- name: meetings_of_agent
-- The ids of an agent's meetings, newest first.
SELECT g.id FROM meeting_members b JOIN meetings g ON g.id = b.meeting_id
WHERE b.agent_id = $1 ORDER BY g.number DESC LIMIT $2;

-- name: followed_from
-- Where every meeting that is not over stands: events from here on are new.
SELECT id, last_seq FROM meetings WHERE phase <> 'ended';

-- name: changed_since
-- Meetings that changed after a moment of the database's clock, and that clock.
SELECT id, last_seq FROM meetings WHERE updated_at > $1;

-- name: database_time
SELECT clock_timestamp();
