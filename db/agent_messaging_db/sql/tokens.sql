-- name: insert_token
-- Nothing comes back if the prefix is taken. Both times are of one reading of the clock.
INSERT INTO tokens (id, prefix, sha256, agent_id, name, created_at, expires_at)
SELECT $1, $2, $3, $4, $5, t.now, t.now + make_interval(secs => $6) FROM clock_timestamp() AS t (now)
ON CONFLICT (prefix) DO NOTHING RETURNING id;

-- name: get_token
SELECT t.id, t.prefix, t.sha256, a.external_id AS agent_external_id, o.external_id AS organization_external_id, t.name,
       t.created_at, t.expires_at, t.revoked_at,
       CASE WHEN t.revoked_at IS NOT NULL THEN 'revoked'
            WHEN t.expires_at <= clock_timestamp() THEN 'expired' ELSE 'valid' END AS state
FROM tokens t JOIN agents a ON a.id = t.agent_id JOIN organizations o ON o.id = a.organization_id
WHERE t.prefix = $1;

-- name: list_tokens
-- Of one agent, of one organization, or, where these are null, of all; $3: those that have ended too.
SELECT t.id, t.prefix, t.sha256, a.external_id AS agent_external_id, o.external_id AS organization_external_id, t.name,
       t.created_at, t.expires_at, t.revoked_at,
       CASE WHEN t.revoked_at IS NOT NULL THEN 'revoked'
            WHEN t.expires_at <= clock_timestamp() THEN 'expired' ELSE 'valid' END AS state
FROM tokens t JOIN agents a ON a.id = t.agent_id JOIN organizations o ON o.id = a.organization_id
WHERE ($1::uuid IS NULL OR t.agent_id = $1) AND ($2::uuid IS NULL OR a.organization_id = $2)
  AND ($3 OR (t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())))
ORDER BY o.external_id, a.external_id, t.created_at, t.id;

-- name: revoke_token
-- The first revocation counts.
UPDATE tokens SET revoked_at = clock_timestamp() WHERE prefix = $1 AND revoked_at IS NULL;

-- name: ended_tokens
-- Those of $1 that are revoked, expired or no longer there.
SELECT asked.id FROM unnest($1::uuid[]) AS asked (id)
WHERE NOT EXISTS (
    SELECT FROM tokens t
    WHERE t.id = asked.id AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp()));
