-- name: set_silence
-- Silence an agent or an organization ($1) until $2, for $3 seconds, or, both null, until it is lifted; says until when.
SELECT nullif(set_silence($1, $2, $3), 'infinity');

-- name: lift_silence
DELETE FROM silences WHERE subject_id = $1 RETURNING until > clock_timestamp();

-- name: outdate_meetings
-- Whatever was decided for the meetings of an agent ($1) or of the agents of an organization ($2), and is not saved yet, has
-- to be decided again. A statement of its own, after the silence: it waits for who has locked one of them.
WITH theirs AS (
    SELECT g.id FROM meetings g
    WHERE g.phase <> 'ended'
      AND EXISTS (SELECT FROM meeting_members b JOIN agents a ON a.id = b.agent_id
                  WHERE b.meeting_id = g.id AND (a.id = $1 OR a.organization_id = $2))
    ORDER BY g.id FOR UPDATE OF g
)
UPDATE meetings g SET version = g.version + 1 FROM theirs WHERE theirs.id = g.id;

-- name: list_silences
-- What is in force, organizations first.
SELECT a.external_id AS agent_external_id, o.external_id AS organization_external_id, s.created_at AS since,
       nullif(s.until, 'infinity') AS until
FROM silences s
LEFT JOIN agents a ON a.id = s.subject_id
JOIN organizations o ON o.id = coalesce(a.organization_id, s.subject_id)
WHERE s.until > clock_timestamp()
ORDER BY o.external_id, a.external_id NULLS FIRST;

-- name: agents_of
SELECT id FROM agents WHERE organization_id = $1;

-- name: silenced_until
-- Whether an agent is silenced, and until when.
SELECT silenced_until($1) AS until;

-- name: hop_of
SELECT hop_of($1, $2);
