-- name: insert_organization
INSERT INTO organizations (id, external_id, name) VALUES ($1, $2, $3)
ON CONFLICT (external_id) DO NOTHING RETURNING id;

-- name: get_organization
SELECT id, external_id, name, created_at, updated_at FROM organizations WHERE external_id = $1;

-- name: list_organizations
-- All of them, with the number of their agents and the external ids of those that each allows.
SELECT o.id, o.external_id, o.name, o.created_at, o.updated_at,
       (SELECT count(*) FROM agents a WHERE a.organization_id = o.id) AS agent_count,
       ARRAY (SELECT f.external_id FROM organization_permissions p JOIN organizations f ON f.id = p.allows_id
              WHERE p.organization_id = o.id ORDER BY f.external_id) AS allows
FROM organizations o
ORDER BY o.external_id;

-- name: insert_agent
-- Nothing comes back if the name is taken.
INSERT INTO agents (id, external_id, organization_id, name) VALUES ($1, $2, $3, $4)
ON CONFLICT (external_id) DO NOTHING RETURNING id;

-- name: get_agents
-- Agents by external id, with their presence.
SELECT a.id, a.external_id, a.organization_id, o.external_id AS organization_external_id, a.name, a.created_at, a.updated_at,
       a.reads_inbox, p.has_handler,
       p.is_attached OR coalesce(a.last_call_at > clock_timestamp() - interval '60 seconds', false) AS online,
       a.last_seen_at, s.until IS NOT NULL AS silenced, nullif(s.until, 'infinity') AS silenced_until
FROM agents a
JOIN organizations o ON o.id = a.organization_id
CROSS JOIN LATERAL (
    SELECT count(*) > 0 AS is_attached, coalesce(bool_or(t.kind = 'handler'), false) AS has_handler
    FROM attachments t JOIN processes r ON r.id = t.process_id AND r.lease_until > clock_timestamp()
    WHERE t.agent_id = a.id
) p
CROSS JOIN LATERAL (
    SELECT max(s.until) AS until FROM silences s
    WHERE s.subject_id IN (a.id, a.organization_id) AND s.until > clock_timestamp()
) s
WHERE a.external_id = ANY ($1::text[]);

-- name: list_agents
-- Agents of one organization, or of all where $1 is null, with their presence.
SELECT a.id, a.external_id, a.organization_id, o.external_id AS organization_external_id, a.name, a.created_at, a.updated_at,
       a.reads_inbox, p.has_handler,
       p.is_attached OR coalesce(a.last_call_at > clock_timestamp() - interval '60 seconds', false) AS online,
       a.last_seen_at, s.until IS NOT NULL AS silenced, nullif(s.until, 'infinity') AS silenced_until
FROM agents a
JOIN organizations o ON o.id = a.organization_id
CROSS JOIN LATERAL (
    SELECT count(*) > 0 AS is_attached, coalesce(bool_or(t.kind = 'handler'), false) AS has_handler
    FROM attachments t JOIN processes r ON r.id = t.process_id AND r.lease_until > clock_timestamp()
    WHERE t.agent_id = a.id
) p
CROSS JOIN LATERAL (
    SELECT max(s.until) AS until FROM silences s
    WHERE s.subject_id IN (a.id, a.organization_id) AND s.until > clock_timestamp()
) s
WHERE $1::uuid IS NULL OR a.organization_id = $1
ORDER BY o.external_id, a.external_id
LIMIT $2;

-- name: get_identities
-- What never changes about agents, by id or by external id: for the caches of names.
SELECT id, external_id, organization_id, name FROM agents
WHERE external_id = ANY ($1::text[]) OR id = ANY ($2::uuid[]);

-- name: visible_agents
-- Agents of the organization, and of those with which it has a mutual permission; $2 filters by part of a name.
SELECT a.id, a.external_id, a.organization_id, o.external_id AS organization_external_id, a.name, a.created_at, a.updated_at,
       a.reads_inbox, p.has_handler,
       p.is_attached OR coalesce(a.last_call_at > clock_timestamp() - interval '60 seconds', false) AS online,
       a.last_seen_at, s.until IS NOT NULL AS silenced, nullif(s.until, 'infinity') AS silenced_until
FROM agents a
JOIN organizations o ON o.id = a.organization_id
CROSS JOIN LATERAL (
    SELECT count(*) > 0 AS is_attached, coalesce(bool_or(t.kind = 'handler'), false) AS has_handler
    FROM attachments t JOIN processes r ON r.id = t.process_id AND r.lease_until > clock_timestamp()
    WHERE t.agent_id = a.id
) p
CROSS JOIN LATERAL (
    SELECT max(s.until) AS until FROM silences s
    WHERE s.subject_id IN (a.id, a.organization_id) AND s.until > clock_timestamp()
) s
WHERE (a.organization_id = $1 OR a.organization_id IN (
          SELECT f.allows_id FROM organization_permissions f
          JOIN organization_permissions b ON b.organization_id = f.allows_id AND b.allows_id = f.organization_id
          WHERE f.organization_id = $1))
  AND ($2::text IS NULL OR strpos(lower(a.external_id), lower($2)) > 0 OR strpos(lower(a.name), lower($2)) > 0)
ORDER BY a.external_id
LIMIT $3;

-- name: mutually_allowed
SELECT f.allows_id FROM organization_permissions f
JOIN organization_permissions b ON b.organization_id = f.allows_id AND b.allows_id = f.organization_id
WHERE f.organization_id = $1;

-- name: set_permission
INSERT INTO organization_permissions (organization_id, allows_id) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: unset_permission
DELETE FROM organization_permissions WHERE organization_id = $1 AND allows_id = $2;
