-- name: get_key
SELECT hash, result FROM idempotency_keys
WHERE agent_id = $1 AND key = $2 AND created_at > clock_timestamp() - interval '24 hours';

-- name: drop_old_key
DELETE FROM idempotency_keys WHERE agent_id = $1 AND key = $2 AND created_at <= clock_timestamp() - interval '24 hours';
