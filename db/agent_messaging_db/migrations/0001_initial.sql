-- Tables, and the invariants of the protocol restated as constraints.
-- Hot tables (pairs, messages, questions, deliveries) carry no foreign keys: each would lock a parent row per message.
-- Where a hot table has many invariants, one constraint asks a function for all of them, which names the one that is broken: the
-- server reads each CHECK anew for every statement, which took as long as storing the row.

CREATE FUNCTION holds_of_message(p_kind text, p_pair bigint, p_seq bigint, p_content text, p_meeting uuid, p_reply_to uuid)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_broken text := CASE
        WHEN p_kind NOT IN ('one_way', 'async', 'question', 'answer', 'decline', 'invitation') THEN 'messages_kind_check'
        WHEN (p_kind = 'invitation') <> (p_pair IS NULL) THEN 'only_invitations_are_outside_a_pair'
        WHEN (p_pair IS NULL) <> (p_seq IS NULL) THEN 'numbered_within_its_pair'
        WHEN (p_kind = 'invitation') <> (p_content IS NULL) THEN 'only_invitations_are_empty'
        WHEN (p_kind = 'invitation') <> (p_meeting IS NOT NULL) THEN 'invitations_are_to_a_meeting'
        WHEN (p_kind IN ('answer', 'decline')) <> (p_reply_to IS NOT NULL) THEN 'answers_are_to_a_question' END;
BEGIN
    IF v_broken IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = v_broken, CONSTRAINT = v_broken;
    END IF;
    RETURN true;
END $$;

CREATE FUNCTION holds_of_question(p_state text, p_answer uuid, p_failure text, p_late boolean)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_broken text := CASE
        WHEN p_state NOT IN ('open', 'answered', 'declined', 'expired', 'cancelled') THEN 'questions_state_check'
        WHEN NOT CASE p_state WHEN 'answered' THEN p_answer IS NOT NULL
                              WHEN 'declined' THEN p_answer IS NOT NULL OR p_failure IS NOT NULL
                              ELSE p_answer IS NULL END THEN 'answered_exactly_when_there_is_an_answer'
        WHEN p_late AND p_state <> 'answered' THEN 'only_answers_are_late' END;
BEGIN
    IF v_broken IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = v_broken, CONSTRAINT = v_broken;
    END IF;
    RETURN true;
END $$;

CREATE FUNCTION holds_of_meeting(
    p_phase text, p_reason text, p_ended_at timestamptz, p_floor text, p_holder uuid, p_floor_deadline timestamptz,
    p_seen_seq bigint, p_turn int, p_max_turns int
) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_broken text := CASE
        WHEN p_phase NOT IN ('created', 'active', 'ended') THEN 'meetings_phase_check'
        WHEN p_reason NOT IN ('by_host', 'max_turns', 'deadline', 'all_passed', 'abandoned', 'no_quorum', 'cancelled')
            THEN 'meetings_reason_check'
        WHEN p_floor NOT IN ('none', 'offered', 'seen') THEN 'meetings_floor_check'
        WHEN (p_phase = 'active') <> (p_floor <> 'none') THEN 'active_exactly_when_there_is_a_floor'
        WHEN (p_floor = 'none') <> (p_holder IS NULL) THEN 'a_floor_has_a_holder'
        WHEN p_floor = 'offered' AND p_floor_deadline IS NULL THEN 'an_offer_has_a_deadline'
        WHEN (p_floor = 'seen') <> (p_seen_seq IS NOT NULL) THEN 'seen_says_what_was_seen'
        WHEN (p_phase = 'ended') <> (p_reason IS NOT NULL) OR (p_phase = 'ended') <> (p_ended_at IS NOT NULL)
            THEN 'ended_has_a_reason'
        WHEN p_turn > p_max_turns THEN 'turns_are_limited' END;
BEGIN
    IF v_broken IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = v_broken, CONSTRAINT = v_broken;
    END IF;
    RETURN true;
END $$;

CREATE TABLE organizations (
    id          uuid PRIMARY KEY,
    external_id text COLLATE "C" NOT NULL UNIQUE,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- "organization_id lets its agents be reached by those of allows_id"; reaching takes both directions.
CREATE TABLE organization_permissions (
    organization_id uuid NOT NULL REFERENCES organizations,
    allows_id       uuid NOT NULL REFERENCES organizations,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, allows_id)
);

CREATE TABLE agents (
    id              uuid PRIMARY KEY,
    external_id     text COLLATE "C" NOT NULL UNIQUE,
    organization_id uuid NOT NULL REFERENCES organizations,
    name            text NOT NULL,
    reads_inbox     boolean NOT NULL DEFAULT false,
    last_seen_at    timestamptz,
    last_call_at    timestamptz,  -- the last call over MCP
    heard_hop       integer NOT NULL DEFAULT 0,   -- what it was last shown, if nobody's code runs it: the greatest hop among it,
    heard_at        timestamptz,                  -- and when
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
CREATE INDEX agents_by_organization ON agents (organization_id, external_id);

-- One row per open SDK object. Silent past lease_until, it has lost its claims and attachments.
CREATE TABLE processes (
    id          uuid PRIMARY KEY,
    lease_until timestamptz NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

CREATE TABLE attachments (
    agent_id   uuid NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('handler', 'connection', 'wait')),
    process_id uuid NOT NULL REFERENCES processes ON DELETE CASCADE,
    PRIMARY KEY (agent_id, kind, process_id)
);
CREATE INDEX attachments_by_process ON attachments (process_id);

-- The two agents of an unordered pair; the row lock under which their messages are numbered.
CREATE TABLE pairs (
    low_id    uuid NOT NULL,
    high_id   uuid NOT NULL,
    id        bigint GENERATED ALWAYS AS IDENTITY,
    last_seq  bigint NOT NULL,
    open_low  integer NOT NULL DEFAULT 0,   -- open questions that low_id asked
    open_high integer NOT NULL DEFAULT 0,
    sync_session  uuid,                     -- the live session of each type, as in `sessions`: found with the lock, not looked for
    async_session uuid,
    PRIMARY KEY (low_id, high_id),
    CONSTRAINT pair_is_two_agents CHECK (low_id < high_id),
    CONSTRAINT at_most_eight_open_questions CHECK (open_low BETWEEN 0 AND 8 AND open_high BETWEEN 0 AND 8)
) WITH (fillfactor = 50);

CREATE TABLE sessions (
    id         uuid PRIMARY KEY,        -- the id of its first message
    pair_id    bigint NOT NULL,
    low_id     uuid NOT NULL,
    high_id    uuid NOT NULL,
    type       text NOT NULL CHECK (type IN ('sync', 'async')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz
);
CREATE UNIQUE INDEX one_live_session_per_pair_and_type ON sessions (pair_id, type) WHERE ended_at IS NULL;

CREATE TABLE messages (
    id           uuid PRIMARY KEY,   -- UUIDv7, made by the sender's process
    pair_id      bigint,
    seq          bigint,
    session_id   uuid,
    meeting_id   uuid,
    sender_id    uuid NOT NULL,
    recipient_id uuid NOT NULL,
    kind         text NOT NULL,
    content      text,               -- JSON as it was sent: jsonb would not give every value back equal
    metadata     text,
    reply_to     uuid,
    late         boolean NOT NULL DEFAULT false,
    hop          integer NOT NULL DEFAULT 0,   -- how many messages led to it, each sent because of the one before
    created_at   timestamptz NOT NULL,
    CONSTRAINT message_holds CHECK (holds_of_message(kind, pair_id, seq, content, meeting_id, reply_to))
);
CREATE UNIQUE INDEX messages_by_pair ON messages (pair_id, seq) WHERE pair_id IS NOT NULL;

CREATE TABLE questions (
    id          uuid PRIMARY KEY,    -- the id of its message
    number      bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    pair_id     bigint NOT NULL,
    session_id  uuid NOT NULL,
    asker_id    uuid NOT NULL,
    answerer_id uuid NOT NULL,
    state       text NOT NULL DEFAULT 'open',
    reply_by    timestamptz NOT NULL,
    awaited_by  uuid,                -- the process that has a wait on it
    answer_id   uuid,
    failure     text,                -- why its handler gave up
    late        boolean NOT NULL DEFAULT false,
    CONSTRAINT question_holds CHECK (holds_of_question(state, answer_id, failure, late))
) WITH (fillfactor = 70);
CREATE INDEX open_questions ON questions (answerer_id, asker_id, number) WHERE state = 'open';
CREATE INDEX open_questions_by_pair ON questions (pair_id) WHERE state = 'open';
CREATE INDEX expired_questions ON questions (answerer_id, asker_id, number) WHERE state = 'expired';
CREATE INDEX question_deadlines ON questions (reply_by) WHERE state = 'open';

-- One row per message and recipient: the inbox. Unread while read_at is null; a claim holds while its process's lease does.
-- `id` is given out under the pair's lock, so it keeps the order of one sender to one recipient.
CREATE TABLE deliveries (
    message_id   uuid PRIMARY KEY,
    id           bigint GENERATED ALWAYS AS IDENTITY,
    recipient_id uuid NOT NULL,
    sender_id    uuid NOT NULL,
    kind         text NOT NULL,
    read_at      timestamptz,
    shown_at     timestamptz,        -- a result has shown it (a hint)
    claimed_by   uuid,
    attempt      integer NOT NULL DEFAULT 0,
    retry_at     timestamptz,
    dead_at      timestamptz,        -- its handler gave up on it
    error        text,
    poison       boolean NOT NULL DEFAULT false   -- not of its reader's message type: left out of calls that return bare messages
) WITH (fillfactor = 80);
CREATE INDEX unread_deliveries ON deliveries (recipient_id, id) WHERE read_at IS NULL;

CREATE TABLE idempotency_keys (
    agent_id   uuid NOT NULL,
    key        text COLLATE "C" NOT NULL,
    hash       bytea NOT NULL,
    result     text NOT NULL,             -- the ids that the first call gave, separated by commas
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (agent_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- What a result of check_inbox named, so that a later call can acknowledge exactly that.
CREATE TABLE inbox_cursors (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id    uuid NOT NULL,
    message_ids uuid[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX inbox_cursors_by_age ON inbox_cursors (created_at);

CREATE TABLE meetings (
    id             uuid PRIMARY KEY,
    number         bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    host_id        uuid NOT NULL REFERENCES agents,
    title          text,
    agenda         text,
    phase          text NOT NULL DEFAULT 'created',
    reason         text,
    outcome        text,
    turn_duration  double precision CHECK (turn_duration > 0),
    offer_timeout  double precision NOT NULL CHECK (offer_timeout > 0),
    quorum         integer CHECK (quorum >= 2),
    start_by       timestamptz,
    deadline       timestamptz NOT NULL,
    max_turns      integer NOT NULL CHECK (max_turns > 0),
    turn           integer NOT NULL DEFAULT 0,
    floor          text NOT NULL DEFAULT 'none',
    holder_id      uuid,
    floor_at       timestamptz,
    floor_deadline timestamptz,
    seen_seq       bigint,
    last_seq       bigint NOT NULL DEFAULT 0,
    version        bigint NOT NULL DEFAULT 1,
    next_due       timestamptz GENERATED ALWAYS AS (   -- when the next deadline is to be applied
                       CASE phase WHEN 'created' THEN least(start_by, deadline)
                                  WHEN 'active' THEN least(floor_deadline, deadline) END) STORED,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at     timestamptz,
    ended_at       timestamptz,
    CONSTRAINT meeting_holds CHECK (holds_of_meeting(phase, reason, ended_at, floor, holder_id, floor_deadline, seen_seq, turn,
                                                     max_turns))
) WITH (fillfactor = 50);
CREATE INDEX due_meetings ON meetings (next_due) WHERE phase <> 'ended';
CREATE INDEX meetings_by_holder ON meetings (holder_id) WHERE phase = 'active';
CREATE INDEX meetings_by_change ON meetings (updated_at);

CREATE TABLE meeting_members (
    meeting_id    uuid NOT NULL REFERENCES meetings,
    agent_id      uuid NOT NULL REFERENCES agents,
    invitation_id uuid NOT NULL,                -- the message that invited it
    position      integer NOT NULL,
    status        text NOT NULL DEFAULT 'invited' CHECK (status IN ('invited', 'attending', 'away', 'left', 'declined')),
    last_grant    integer NOT NULL DEFAULT 0,
    present_since integer NOT NULL DEFAULT 0,
    joined_seq    bigint NOT NULL DEFAULT 0,
    quiet         text CHECK (quiet IN ('passed', 'skipped')),
    skips         integer NOT NULL DEFAULT 0,
    cursor        bigint NOT NULL DEFAULT 0,
    shown_turn    integer NOT NULL DEFAULT 0,   -- the last turn of its own that a result has shown it (a hint)
    joined_at     timestamptz,
    left_at       timestamptz,
    PRIMARY KEY (meeting_id, agent_id),
    UNIQUE (meeting_id, position) DEFERRABLE INITIALLY DEFERRED
) WITH (fillfactor = 50);
CREATE INDEX meetings_of_agent ON meeting_members (agent_id, meeting_id);

-- The history of a meeting and the log of its transitions are one table.
CREATE TABLE meeting_events (
    meeting_id uuid NOT NULL,
    seq        bigint NOT NULL,
    event      text NOT NULL CHECK (event IN ('agent_joined', 'agent_spoke', 'turn_passed', 'agent_timed_out',
                                             'agent_left', 'host_changed', 'meeting_started', 'meeting_ended')),
    agent_id   uuid,
    turn       integer NOT NULL,
    message_id uuid UNIQUE,
    content    text,
    metadata   text,
    data       text NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (meeting_id, seq),
    CONSTRAINT a_speech_has_words CHECK ((event = 'agent_spoke') = (content IS NOT NULL))
);

-- Agents and organizations that an operator has silenced. Nearly always empty, and so a look at it costs nearly nothing.
CREATE TABLE silences (
    subject_id uuid PRIMARY KEY,   -- of an agent, or of an organization
    until      timestamptz NOT NULL DEFAULT 'infinity',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
