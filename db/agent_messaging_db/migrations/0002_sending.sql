-- Storing messages, each batch one round trip: set-based, and plain enough to be read from top to bottom.
-- Locks are taken in one order everywhere: the silence's -> idempotency keys -> questions -> pairs (by low_id, high_id) ->
-- deliveries. A statement inside a function sees what was committed before it began, so a check after a lock is a check of
-- the truth.


-- Whoever writes holds this lock shared, from before the first row it locks until it has committed; whoever silences holds it
-- alone. So what is accepted after a silence has committed has seen it. Held for the length of a statement, never while waiting.
CREATE FUNCTION silence_lock() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 7305799023413287027';


-- Until when an agent is silenced, by itself or with its organization; null if it is not.
CREATE FUNCTION silenced_until(p_agent uuid) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT max(s.until) FROM agents a JOIN silences s ON s.subject_id = ANY (ARRAY[a.id, a.organization_id])
    WHERE a.id = p_agent AND s.until > clock_timestamp()
$$;


-- The same for a statement that is about to write, with the lock held.
CREATE FUNCTION silenced_at_last(p_agent uuid) RETURNS timestamptz
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(silence_lock());
    RETURN silenced_until(p_agent);
END $$;


-- Silence a subject until p_until, for p_seconds, or (both null) until it is lifted.
CREATE FUNCTION set_silence(p_subject uuid, p_until timestamptz, p_seconds double precision) RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    v_until timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(silence_lock());
    DELETE FROM silences WHERE until <= clock_timestamp();
    INSERT INTO silences AS s (subject_id, until)
    VALUES (p_subject, coalesce(p_until, clock_timestamp() + make_interval(secs => p_seconds), 'infinity'))
    ON CONFLICT (subject_id) DO UPDATE SET until = excluded.until, created_at = clock_timestamp()
    RETURNING s.until INTO v_until;
    RETURN v_until;
END $$;


-- The hop of what an agent writes that nobody's code runs, as far as can be told: one more than that of any question it was
-- shown and still owes an answer, and of what it was shown within the last p_heard_seconds.
CREATE FUNCTION hop_of(p_agent uuid, p_heard_seconds double precision) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT greatest(
        0,
        (SELECT a.heard_hop + 1 FROM agents a
         WHERE a.id = p_agent AND a.heard_at > clock_timestamp() - make_interval(secs => p_heard_seconds)),
        (SELECT max(m.hop) + 1 FROM questions q
         JOIN messages m ON m.id = q.id
         JOIN deliveries d ON d.message_id = q.id AND coalesce(d.shown_at, d.read_at) IS NOT NULL
         WHERE q.answerer_id = p_agent AND q.state = 'open' AND q.reply_by > clock_timestamp()))
$$;


-- Which operations of a batch their pairs have no budget left for: with whom, and until when. Their pairs are locked.
-- p_budget: messages since the last question of the pair; p_total_budget: of all kinds. Only those of the last p_window_seconds
-- count, and a question is refused by the second only.
CREATE FUNCTION spent(
    p_operation int[], p_kind text[], p_sender uuid[], p_recipient uuid[], p_skip int[],
    p_budget int, p_total_budget int, p_window_seconds double precision
) RETURNS TABLE (operation int, recipient uuid, until timestamptz)
LANGUAGE sql STABLE AS $$
    WITH counted AS (
        SELECT n.operation, n.recipient, p.id AS pair_id, p.last_seq,
               count(*) FILTER (WHERE n.kind = 'question') OVER pair AS questions,
               row_number() OVER pair AS place
        FROM unnest(p_operation, p_kind, p_sender, p_recipient) WITH ORDINALITY AS n (operation, kind, sender, recipient, ord)
        LEFT JOIN pairs p ON p.low_id = least(n.sender, n.recipient) AND p.high_id = greatest(n.sender, n.recipient)
        WHERE n.operation <> ALL (p_skip)
        WINDOW pair AS (PARTITION BY least(n.sender, n.recipient), greatest(n.sender, n.recipient) ORDER BY n.ord)
    )
    SELECT c.operation, c.recipient,
           greatest(CASE WHEN c.questions = 0 AND recent.used + c.place > p_budget
                         THEN coalesce(recent.since, clock_timestamp()) END,
                    total.since) + make_interval(secs => p_window_seconds)
    FROM counted c
    CROSS JOIN LATERAL (
        SELECT count(*) AS used, min(m.created_at) AS since
        FROM (SELECT m.created_at, count(*) FILTER (WHERE m.kind = 'question') OVER (ORDER BY m.seq DESC) AS questions
              FROM messages m WHERE m.pair_id = c.pair_id AND m.seq > c.last_seq - p_budget) m
        WHERE m.questions = 0 AND m.created_at > clock_timestamp() - make_interval(secs => p_window_seconds)
    ) recent
    LEFT JOIN LATERAL (
        SELECT m.created_at AS since FROM messages m
        WHERE m.pair_id = c.pair_id AND m.seq = c.last_seq + c.place - p_total_budget
          AND m.created_at > clock_timestamp() - make_interval(secs => p_window_seconds)
    ) total ON true
    WHERE c.questions = 0 AND recent.used + c.place > p_budget OR total.since IS NOT NULL
$$;


-- Claim idempotency keys. Says for each operation: 'new', 'replayed' (same payload: `result` is what the first call gave)
-- or 'conflict' (another payload). A key of an operation that is still in flight elsewhere is waited for. Keys live for 24 h.
CREATE FUNCTION claim_keys(p_operation int[], p_agent uuid[], p_key text[], p_hash bytea[], p_result text[])
RETURNS TABLE (operation int, verdict text, result text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO idempotency_keys AS k (agent_id, key, hash, result)
    SELECT n.agent_id, n.key, n.hash, n.result
    FROM unnest(p_agent, p_key, p_hash, p_result) AS n (agent_id, key, hash, result)
    ORDER BY n.agent_id, n.key
    ON CONFLICT (agent_id, key) DO UPDATE
        SET hash = excluded.hash, result = excluded.result, created_at = clock_timestamp()
        WHERE k.created_at < clock_timestamp() - interval '24 hours';

    RETURN QUERY
    SELECT n.operation,
           CASE WHEN k.result = n.result THEN 'new' WHEN k.hash = n.hash THEN 'replayed' ELSE 'conflict' END,
           k.result
    FROM unnest(p_operation, p_agent, p_key, p_hash, p_result) AS n (operation, agent_id, key, hash, result)
    JOIN idempotency_keys k ON k.agent_id = n.agent_id AND k.key = n.key;
END $$;


-- Which operations of a batch etiquette refuses: 'silenced' (until when), 'too_far' (which hop), 'paused' (until when, and for
-- whom). p_skip: those that are not new. p_most_hops and p_budget: null for no limit.
CREATE FUNCTION refused_operations(
    p_operation int[], p_kind text[], p_sender uuid[], p_recipient uuid[], p_hop int[], p_skip int[],
    p_most_hops int, p_budget int, p_total_budget int, p_window_seconds double precision
) RETURNS TABLE (operation int, verdict text, until timestamptz, agent_id uuid, hop int)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_skip int[] := p_skip;
BEGIN
    FOR operation, verdict, until IN
        SELECT s.operation, 'silenced', s.until
        FROM (SELECT DISTINCT n.operation, silenced_until(n.sender) AS until
              FROM unnest(p_operation, p_sender) AS n (operation, sender)) s
        WHERE s.until IS NOT NULL AND s.operation <> ALL (v_skip)
    LOOP
        v_skip := v_skip || operation;
        RETURN NEXT;
    END LOOP;
    until := NULL;
    IF p_most_hops IS NOT NULL THEN
        FOR operation, verdict, hop IN
            SELECT n.operation, 'too_far', max(n.hop)
            FROM unnest(p_operation, p_hop) AS n (operation, hop)
            WHERE n.hop > p_most_hops AND n.operation <> ALL (v_skip)
            GROUP BY n.operation
        LOOP
            v_skip := v_skip || operation;
            RETURN NEXT;
        END LOOP;
    END IF;
    hop := NULL;
    IF p_budget IS NOT NULL THEN
        -- Also those that have never written to each other: who writes first at two processes counts once.
        INSERT INTO pairs AS p (low_id, high_id, last_seq)
        SELECT DISTINCT least(n.sender, n.recipient), greatest(n.sender, n.recipient), 0
        FROM unnest(p_operation, p_sender, p_recipient) AS n (operation, sender, recipient)
        WHERE n.operation <> ALL (v_skip)
        ORDER BY 1, 2
        ON CONFLICT (low_id, high_id) DO UPDATE SET last_seq = p.last_seq WHERE false;   -- locked, not changed
        RETURN QUERY
        SELECT DISTINCT ON (s.operation) s.operation, 'paused', s.until, s.recipient, NULL::int
        FROM spent(p_operation, p_kind, p_sender, p_recipient, v_skip, p_budget, p_total_budget, p_window_seconds)
             AS s (operation, recipient, until)
        ORDER BY s.operation, s.until DESC;
    END IF;
END $$;


-- Does anything wait for an agent's handler that nobody has claimed?
CREATE FUNCTION has_claimable(p_agent uuid) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM deliveries d
        WHERE d.recipient_id = p_agent AND d.read_at IS NULL AND d.dead_at IS NULL AND d.claimed_by IS NULL
          AND d.kind IN ('one_way', 'async', 'question', 'invitation'))
$$;


-- Store one message that is new: what send_messages does with many, in statements that a server begins in a third of the time.
-- Says what a message that is taken has become of.
CREATE FUNCTION store_message(
    p_id uuid, p_kind text, p_sender uuid, p_recipient uuid, p_content text, p_metadata text, p_reply_seconds double precision,
    p_awaited_by uuid, p_hop int, p_takes boolean, p_process uuid,
    OUT is_taken boolean, OUT session_id uuid, OUT reply_by timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
    v_low uuid := least(p_sender, p_recipient);
    v_high uuid := greatest(p_sender, p_recipient);
    v_pair bigint;
    v_seq bigint;
BEGIN
    INSERT INTO pairs AS p (low_id, high_id, last_seq, open_low, open_high, sync_session, async_session)
    VALUES (v_low, v_high, 1, (p_kind = 'question' AND p_sender = v_low)::int, (p_kind = 'question' AND p_sender = v_high)::int,
            CASE p_kind WHEN 'question' THEN p_id END, CASE p_kind WHEN 'async' THEN p_id END)
    ON CONFLICT (low_id, high_id) DO UPDATE
        SET last_seq = p.last_seq + 1,
            open_low = p.open_low + excluded.open_low,
            open_high = p.open_high + excluded.open_high,
            sync_session = coalesce(p.sync_session, excluded.sync_session),
            async_session = coalesce(p.async_session, excluded.async_session)
    RETURNING p.id, p.last_seq, CASE p_kind WHEN 'question' THEN p.sync_session WHEN 'async' THEN p.async_session END
    INTO v_pair, v_seq, session_id;
    IF session_id = p_id THEN
        INSERT INTO sessions (id, pair_id, low_id, high_id, type)
        VALUES (p_id, v_pair, v_low, v_high, CASE p_kind WHEN 'question' THEN 'sync' ELSE 'async' END);
    END IF;
    is_taken := p_takes AND NOT has_claimable(p_recipient);
    INSERT INTO messages (id, pair_id, seq, session_id, sender_id, recipient_id, kind, content, metadata, hop, created_at)
    VALUES (p_id, v_pair, v_seq, session_id, p_sender, p_recipient, p_kind, p_content, p_metadata, p_hop, clock_timestamp());
    IF p_kind = 'question' THEN
        INSERT INTO questions AS q (id, pair_id, session_id, asker_id, answerer_id, reply_by, awaited_by)
        VALUES (p_id, v_pair, session_id, p_sender, p_recipient, clock_timestamp() + make_interval(secs => p_reply_seconds),
                p_awaited_by)
        RETURNING q.reply_by INTO reply_by;
    END IF;
    INSERT INTO deliveries (message_id, recipient_id, sender_id, kind, claimed_by, attempt)
    VALUES (p_id, p_recipient, p_sender, p_kind, CASE WHEN is_taken THEN p_process END, CASE WHEN is_taken THEN 1 ELSE 0 END);
END $$;


-- Store a batch of messages, numbered within their pairs, and deliver them. Rows of one operation share its number in
-- p_operation and are stored together or not at all. Says of each operation that was not stored why: 'replayed' or 'conflict'
-- of its key, or what refused_operations says.
-- A column in which every row is null may be left empty. p_hop: of each message (empty: 0); null where only the rows can tell.
-- p_again: this batch was tried before and its outcome is unknown, so rows that are there already are not new.
-- p_taken: p_process has a handler with room for it. Where nothing older waits for that handler, the message is born claimed,
-- and comes back as 'taken' with what only the rows know.
CREATE FUNCTION send_messages(
    p_operation int[], p_id uuid[], p_kind text[], p_sender uuid[], p_recipient uuid[], p_content text[], p_metadata text[],
    p_reply_seconds double precision[], p_awaited_by uuid[], p_hop int[], p_taken boolean[], p_process uuid,
    p_key_operation int[], p_key_agent uuid[], p_key text[], p_key_hash bytea[], p_key_result text[],
    p_again boolean,
    p_most_hops int, p_heard_seconds double precision, p_budget int, p_total_budget int, p_window_seconds double precision
) RETURNS TABLE (operation int, verdict text, result text, until timestamptz, agent_id uuid, hop int,
                 message_id uuid, session_id uuid, reply_by timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_skip int[] := '{}';
    v_refused int[] := '{}';
    v_hop int[] := p_hop;
    v_silence boolean;
    v_takes boolean;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(silence_lock());
    v_silence := EXISTS (SELECT FROM silences s WHERE s.until > clock_timestamp());
    IF p_again THEN
        SELECT coalesce(array_agg(DISTINCT n.operation), '{}') INTO v_skip
        FROM unnest(p_operation, p_id) AS n (operation, id) JOIN messages m ON m.id = n.id;
    END IF;
    IF cardinality(p_key) > 0 THEN
        FOR operation, verdict, result IN SELECT * FROM claim_keys(p_key_operation, p_key_agent, p_key, p_key_hash, p_key_result)
        LOOP
            IF verdict <> 'new' THEN
                v_skip := v_skip || operation;
                RETURN NEXT;
            END IF;
        END LOOP;
        result := NULL;
    END IF;
    IF array_position(p_hop, NULL) IS NOT NULL THEN
        SELECT array_agg(coalesce(n.hop, hop_of(n.sender, p_heard_seconds)) ORDER BY n.ord) INTO v_hop
        FROM unnest(p_hop, p_sender) WITH ORDINALITY AS n (hop, sender, ord);
    END IF;
    IF v_silence OR p_budget IS NOT NULL OR (p_most_hops IS NOT NULL AND cardinality(v_hop) > 0) THEN
        FOR operation, verdict, until, agent_id, hop IN
            SELECT * FROM refused_operations(p_operation, p_kind, p_sender, p_recipient, v_hop, v_skip,
                                             p_most_hops, p_budget, p_total_budget, p_window_seconds)
        LOOP
            v_refused := v_refused || operation;
            RETURN NEXT;
        END LOOP;
    END IF;
    IF cardinality(v_refused) > 0 THEN   -- a refusal is not remembered: its key would say next time that something was sent
        DELETE FROM idempotency_keys k
        USING unnest(p_key_operation, p_key_agent, p_key) AS n (operation, agent_id, key)
        WHERE n.operation = ANY (v_refused) AND k.agent_id = n.agent_id AND k.key = n.key;
        v_skip := v_skip || v_refused;
    END IF;
    -- The handler of an agent that is silenced rests; and without a lease, others could claim it as well.
    v_takes := cardinality(p_taken) > 0 AND NOT v_silence
               AND EXISTS (SELECT FROM processes p WHERE p.id = p_process AND p.lease_until > clock_timestamp());

    IF cardinality(p_id) = 1 AND cardinality(v_skip) = 0 THEN
        SELECT s.session_id, s.reply_by INTO session_id, reply_by
        FROM store_message(p_id[1], p_kind[1], p_sender[1], p_recipient[1], p_content[1], p_metadata[1], p_reply_seconds[1],
                           p_awaited_by[1], coalesce(v_hop[1], 0), v_takes, p_process) s
        WHERE s.is_taken;
        IF FOUND THEN
            operation := p_operation[1];
            verdict := 'taken';
            hop := coalesce(v_hop[1], 0);
            message_id := p_id[1];
            RETURN NEXT;
        END IF;
        RETURN;
    END IF;

    INSERT INTO pairs AS p (low_id, high_id, last_seq, open_low, open_high, sync_session, async_session)
    SELECT least(n.sender, n.recipient), greatest(n.sender, n.recipient), count(*),
           count(*) FILTER (WHERE n.kind = 'question' AND n.sender < n.recipient),
           count(*) FILTER (WHERE n.kind = 'question' AND n.sender > n.recipient),
           (array_agg(n.id) FILTER (WHERE n.kind = 'question'))[1], (array_agg(n.id) FILTER (WHERE n.kind = 'async'))[1]
    FROM unnest(p_operation, p_id, p_kind, p_sender, p_recipient) AS n (operation, id, kind, sender, recipient)
    WHERE n.operation <> ALL (v_skip)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (low_id, high_id) DO UPDATE
        SET last_seq = p.last_seq + excluded.last_seq,
            open_low = p.open_low + excluded.open_low,
            open_high = p.open_high + excluded.open_high,
            sync_session = coalesce(p.sync_session, excluded.sync_session),
            async_session = coalesce(p.async_session, excluded.async_session);

    RETURN QUERY
    WITH placed AS MATERIALIZED (
        SELECT n.*, p.id AS pair_id, p.low_id, p.high_id,
               p.last_seq + 1 - row_number() OVER (PARTITION BY p.id ORDER BY n.ord DESC) AS seq,
               CASE n.kind WHEN 'question' THEN p.sync_session WHEN 'async' THEN p.async_session END AS session_id,
               v_takes AND coalesce(n.taken, false) AND NOT has_claimable(n.recipient) AS is_taken
        FROM unnest(p_operation, p_id, p_kind, p_sender, p_recipient, p_content, p_metadata, p_reply_seconds, p_awaited_by,
                    v_hop, p_taken)
             WITH ORDINALITY AS n (operation, id, kind, sender, recipient, content, metadata, reply_seconds, awaited_by,
                                   hop, taken, ord)
        JOIN pairs p ON p.low_id = least(n.sender, n.recipient) AND p.high_id = greatest(n.sender, n.recipient)
        WHERE n.operation <> ALL (v_skip)
    ), opened AS (
        INSERT INTO sessions (id, pair_id, low_id, high_id, type)
        SELECT p.id, p.pair_id, p.low_id, p.high_id, CASE p.kind WHEN 'question' THEN 'sync' ELSE 'async' END
        FROM placed p WHERE p.session_id = p.id
    ), stored AS (
        INSERT INTO messages (id, pair_id, seq, session_id, sender_id, recipient_id, kind, content, metadata, hop, created_at)
        SELECT p.id, p.pair_id, p.seq, p.session_id, p.sender, p.recipient, p.kind, p.content, p.metadata, coalesce(p.hop, 0),
               clock_timestamp()
        FROM placed p
    ), asked AS (
        INSERT INTO questions AS q (id, pair_id, session_id, asker_id, answerer_id, reply_by, awaited_by)
        SELECT p.id, p.pair_id, p.session_id, p.sender, p.recipient,
               clock_timestamp() + make_interval(secs => p.reply_seconds), p.awaited_by
        FROM placed p WHERE p.kind = 'question' ORDER BY p.ord
        RETURNING q.id, q.reply_by
    ), delivered AS (
        INSERT INTO deliveries (message_id, recipient_id, sender_id, kind, claimed_by, attempt)
        SELECT p.id, p.recipient, p.sender, p.kind, CASE WHEN p.is_taken THEN p_process END, CASE WHEN p.is_taken THEN 1 ELSE 0 END
        FROM placed p ORDER BY p.ord
    )
    SELECT p.operation, 'taken', NULL, NULL::timestamptz, NULL::uuid, coalesce(p.hop, 0), p.id, p.session_id, q.reply_by
    FROM placed p LEFT JOIN asked q ON q.id = p.id
    WHERE p.is_taken ORDER BY p.ord;
END $$;
