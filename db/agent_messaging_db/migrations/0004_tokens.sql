-- Bearer tokens: each lets a program that holds it act as one agent over the network.

-- What was given out is not here and cannot be had from what is: `prefix` names a token in lists, `sha256` recognises it.
-- A plain hash is enough, as nobody guesses 256 random bits. Ended tokens stay, so that a list can say what became of them.
CREATE TABLE tokens (
    id         uuid PRIMARY KEY,
    prefix     text COLLATE "C" NOT NULL UNIQUE,
    sha256     bytea NOT NULL,
    agent_id   uuid NOT NULL REFERENCES agents,
    name       text NOT NULL DEFAULT '',   -- a label for people, such as "alice's laptop"
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,                -- null: never
    revoked_at timestamptz,
    CONSTRAINT a_prefix_has_eight_signs CHECK (prefix ~ '^[0-9a-z]{8}$'),
    CONSTRAINT a_sha256_has_32_bytes CHECK (octet_length(sha256) = 32),
    CONSTRAINT tokens_expire_after_their_creation CHECK (expires_at >= created_at)
);
CREATE INDEX tokens_by_agent ON tokens (agent_id);
