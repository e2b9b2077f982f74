-- Etiquette: what keeps agents from keeping each other busy for ever. How often two of them may write to each other, how many
-- messages may follow from one another, and whom an operator has silenced.

-- How many messages led to this one, each sent because of the one before; 0 where somebody began by itself.
ALTER TABLE messages ADD COLUMN hop integer NOT NULL DEFAULT 0;

-- What an agent that nobody's code runs was last shown: the greatest hop among it, and when.
ALTER TABLE agents ADD COLUMN heard_hop integer NOT NULL DEFAULT 0, ADD COLUMN heard_at timestamptz;

-- Agents and organizations that an operator has silenced. Nearly always empty, and so a look at it costs nearly nothing.
CREATE TABLE silences (
    subject_id uuid PRIMARY KEY,   -- of an agent, or of an organization
    until      timestamptz NOT NULL DEFAULT 'infinity',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);


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


-- `send_messages` of 0002, which stays for processes that run the code before this one, and etiquette. Says of an operation
-- that was refused, besides: 'silenced' (until when), 'too_far' (which hop), 'paused' (until when, and for whom).
-- p_hop: of each message; null where only the rows can tell. p_most_hops and p_budget: null for no limit.
-- Locks: the silence's -> idempotency keys -> questions -> pairs (by low_id, high_id) -> deliveries.
CREATE FUNCTION send_messages(
    p_operation int[], p_id uuid[], p_kind text[], p_sender uuid[], p_recipient uuid[], p_content text[], p_metadata text[],
    p_session uuid[], p_reply_seconds double precision[], p_awaited_by uuid[],
    p_key_operation int[], p_key_agent uuid[], p_key text[], p_key_hash bytea[], p_key_result text[],
    p_again boolean,
    p_hop int[], p_most_hops int, p_heard_seconds double precision,
    p_budget int, p_total_budget int, p_window_seconds double precision
) RETURNS TABLE (operation int, verdict text, result text, until timestamptz, agent_id uuid, hop int)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_skip int[] := '{}';
    v_refused int[] := '{}';
    v_hop int[] := p_hop;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(silence_lock());
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
    END IF;

    result := NULL;
    IF EXISTS (SELECT FROM silences WHERE silences.until > clock_timestamp()) THEN
        FOR operation, verdict, until IN
            SELECT s.operation, 'silenced', s.until
            FROM (SELECT DISTINCT n.operation, silenced_until(n.sender) AS until
                  FROM unnest(p_operation, p_sender) AS n (operation, sender)) s
            WHERE s.until IS NOT NULL AND s.operation <> ALL (v_skip)
        LOOP
            v_refused := v_refused || operation;
            RETURN NEXT;
        END LOOP;
        until := NULL;
    END IF;
    IF array_position(p_hop, NULL) IS NOT NULL THEN
        SELECT array_agg(coalesce(n.hop, hop_of(n.sender, p_heard_seconds)) ORDER BY n.ord) INTO v_hop
        FROM unnest(p_hop, p_sender) WITH ORDINALITY AS n (hop, sender, ord);
    END IF;
    IF p_most_hops IS NOT NULL THEN
        FOR operation, verdict, hop IN
            SELECT n.operation, 'too_far', max(n.hop)
            FROM unnest(p_operation, v_hop) AS n (operation, hop)
            WHERE n.hop > p_most_hops AND n.operation <> ALL (v_skip || v_refused)
            GROUP BY n.operation
        LOOP
            v_refused := v_refused || operation;
            RETURN NEXT;
        END LOOP;
    END IF;
    hop := NULL;
    IF p_budget IS NOT NULL THEN
        -- Also those that have never written to each other: who writes first at two processes counts once.
        INSERT INTO pairs AS p (low_id, high_id, last_seq, open_low, open_high)
        SELECT DISTINCT least(n.sender, n.recipient), greatest(n.sender, n.recipient), 0, 0, 0
        FROM unnest(p_operation, p_sender, p_recipient) AS n (operation, sender, recipient)
        WHERE n.operation <> ALL (v_skip || v_refused)
        ORDER BY 1, 2
        ON CONFLICT (low_id, high_id) DO UPDATE SET last_seq = p.last_seq WHERE false;   -- locked, not changed
        FOR operation, verdict, until, agent_id IN
            SELECT DISTINCT ON (s.operation) s.operation, 'paused', s.until, s.recipient
            FROM spent(p_operation, p_kind, p_sender, p_recipient, v_skip || v_refused,
                       p_budget, p_total_budget, p_window_seconds) AS s (operation, recipient, until)
            ORDER BY s.operation, s.until DESC
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

    INSERT INTO pairs AS p (low_id, high_id, last_seq, open_low, open_high)
    SELECT least(n.sender, n.recipient), greatest(n.sender, n.recipient), count(*),
           count(*) FILTER (WHERE n.kind = 'question' AND n.sender < n.recipient),
           count(*) FILTER (WHERE n.kind = 'question' AND n.sender > n.recipient)
    FROM unnest(p_operation, p_kind, p_sender, p_recipient) AS n (operation, kind, sender, recipient)
    WHERE n.operation <> ALL (v_skip)
    GROUP BY 1, 2
    ORDER BY 1, 2
    ON CONFLICT (low_id, high_id) DO UPDATE
        SET last_seq = p.last_seq + excluded.last_seq,
            open_low = p.open_low + excluded.open_low,
            open_high = p.open_high + excluded.open_high;

    INSERT INTO sessions (id, pair_id, low_id, high_id, type)
    SELECT DISTINCT ON (p.id, n.kind) n.session, p.id, p.low_id, p.high_id, CASE n.kind WHEN 'question' THEN 'sync' ELSE 'async' END
    FROM unnest(p_operation, p_kind, p_sender, p_recipient, p_session) AS n (operation, kind, sender, recipient, session)
    JOIN pairs p ON p.low_id = least(n.sender, n.recipient) AND p.high_id = greatest(n.sender, n.recipient)
    WHERE n.session IS NOT NULL AND n.operation <> ALL (v_skip)
      AND NOT EXISTS (SELECT FROM sessions s WHERE s.pair_id = p.id AND s.ended_at IS NULL
                      AND s.type = CASE n.kind WHEN 'question' THEN 'sync' ELSE 'async' END);

    WITH placed AS (
        SELECT n.*, p.id AS pair_id,
               p.last_seq + 1 - row_number() OVER (PARTITION BY p.id ORDER BY n.ord DESC) AS seq,
               s.id AS live_session
        FROM unnest(p_operation, p_id, p_kind, p_sender, p_recipient, p_content, p_metadata, p_session, p_reply_seconds,
                    p_awaited_by, v_hop)
             WITH ORDINALITY AS n (operation, id, kind, sender, recipient, content, metadata, session, reply_seconds,
                                   awaited_by, hop, ord)
        JOIN pairs p ON p.low_id = least(n.sender, n.recipient) AND p.high_id = greatest(n.sender, n.recipient)
        LEFT JOIN sessions s ON n.session IS NOT NULL AND s.pair_id = p.id AND s.ended_at IS NULL
                            AND s.type = CASE n.kind WHEN 'question' THEN 'sync' ELSE 'async' END
        WHERE n.operation <> ALL (v_skip)
    ), stored AS (
        INSERT INTO messages (id, pair_id, seq, session_id, sender_id, recipient_id, kind, content, metadata, created_at,
                              hop)
        SELECT id, pair_id, seq, live_session, sender, recipient, kind, content, metadata, clock_timestamp(), hop
        FROM placed
    ), asked AS (
        INSERT INTO questions (id, pair_id, session_id, asker_id, answerer_id, reply_by, awaited_by)
        SELECT id, pair_id, live_session, sender, recipient, clock_timestamp() + make_interval(secs => reply_seconds), awaited_by
        FROM placed WHERE kind = 'question'
        ORDER BY ord
    )
    INSERT INTO deliveries (message_id, recipient_id, sender_id, kind)
    SELECT id, recipient, sender, kind FROM placed ORDER BY ord;
END $$;


-- `answer_questions` of 0002, which says 'silenced' besides, with until when as result. No budget and no hop refuses an answer:
-- who was asked may answer. An answer is no hop either: it goes back.
CREATE OR REPLACE FUNCTION answer_questions(
    p_question uuid[], p_id uuid[], p_kind text[], p_sender uuid[], p_content text[], p_metadata text[],
    p_key_row int[], p_key_agent uuid[], p_key text[], p_key_hash bytea[], p_key_result text[],
    p_again boolean
) RETURNS TABLE (ord int, verdict text, result text, state text, asker_id uuid)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_skip int[] := '{}';
    v_silence boolean;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(silence_lock());
    IF p_again THEN
        FOR ord, verdict, asker_id IN
            SELECT n.ord::int, CASE WHEN m.late THEN 'late' WHEN m.kind = 'decline' THEN 'declined' ELSE 'answered' END, m.recipient_id
            FROM unnest(p_id) WITH ORDINALITY AS n (id, ord) JOIN messages m ON m.id = n.id
        LOOP
            v_skip := v_skip || ord;
            RETURN NEXT;
        END LOOP;
    END IF;
    IF cardinality(p_key) > 0 THEN
        FOR ord, verdict, result IN SELECT * FROM claim_keys(p_key_row, p_key_agent, p_key, p_key_hash, p_key_result)
        LOOP
            IF verdict <> 'new' AND ord <> ALL (v_skip) THEN
                v_skip := v_skip || ord;
                RETURN NEXT;
            END IF;
        END LOOP;
    END IF;

    v_silence := EXISTS (SELECT FROM silences s WHERE s.until > clock_timestamp());
    PERFORM FROM questions q WHERE q.id = ANY (p_question) ORDER BY q.id FOR UPDATE;

    RETURN QUERY
    WITH read AS (   -- the questions as they stand under the lock, what is due applied
        SELECT n.ord, n.question, n.id, n.kind, n.sender, n.content, n.metadata,
               q.pair_id, q.session_id, q.asker_id, q.answerer_id, q.awaited_by, q.state = 'open' AS was_open,
               CASE WHEN q.state = 'open' AND q.reply_by <= clock_timestamp() THEN 'expired' ELSE q.state END AS state,
               row_number() OVER (PARTITION BY n.question ORDER BY n.ord) AS rank
        FROM unnest(p_question, p_id, p_kind, p_sender, p_content, p_metadata)
             WITH ORDINALITY AS n (question, id, kind, sender, content, metadata, ord)
        LEFT JOIN questions q ON q.id = n.question AND q.answerer_id = n.sender
        WHERE n.ord <> ALL (v_skip)
    ), judged AS (
        SELECT r.*, CASE WHEN r.state IS NULL THEN 'unknown'
                         WHEN v_silence AND silenced_until(r.sender) IS NOT NULL THEN 'silenced'
                         WHEN r.rank > 1 THEN 'refused'
                         WHEN r.state = 'open' AND r.kind = 'answer' THEN 'answered'
                         WHEN r.state = 'open' THEN 'declined'
                         WHEN r.state = 'expired' AND r.kind = 'answer' THEN 'late'
                         ELSE 'refused' END AS verdict
        FROM read r
    ), accepted AS (
        SELECT * FROM judged WHERE verdict IN ('answered', 'declined', 'late')
    ), counted AS (
        INSERT INTO pairs AS p (low_id, high_id, last_seq, open_low, open_high)
        SELECT least(a.sender, a.asker_id), greatest(a.sender, a.asker_id), count(*),
               count(*) FILTER (WHERE a.was_open AND a.asker_id < a.sender),
               count(*) FILTER (WHERE a.was_open AND a.asker_id > a.sender)
        FROM accepted a GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (low_id, high_id) DO UPDATE
            SET last_seq = p.last_seq + excluded.last_seq,
                open_low = p.open_low - excluded.open_low,
                open_high = p.open_high - excluded.open_high
        RETURNING p.id, p.last_seq
    ), stored AS (
        INSERT INTO messages (id, pair_id, seq, session_id, sender_id, recipient_id, kind, content, metadata, reply_to, late,
                              created_at)
        SELECT a.id, a.pair_id, c.last_seq + 1 - row_number() OVER (PARTITION BY a.pair_id ORDER BY a.ord DESC), a.session_id,
               a.sender, a.asker_id, a.kind, a.content, a.metadata, a.question, a.verdict = 'late', clock_timestamp()
        FROM accepted a JOIN counted c ON c.id = a.pair_id
    ), settled AS (
        UPDATE questions q
        SET state = CASE a.verdict WHEN 'declined' THEN 'declined' ELSE 'answered' END, answer_id = a.id, late = a.verdict = 'late'
        FROM accepted a WHERE q.id = a.question
    ), finished AS (
        UPDATE deliveries d SET read_at = clock_timestamp(), claimed_by = NULL
        FROM accepted a WHERE d.message_id = a.question AND d.read_at IS NULL
    ), delivered AS (
        INSERT INTO deliveries (message_id, recipient_id, sender_id, kind, claimed_by)
        SELECT a.id, a.asker_id, a.sender, a.kind, a.awaited_by FROM accepted a ORDER BY a.ord
    ), forgotten AS (   -- a refusal is not remembered: its key would say next time that something was stored
        DELETE FROM idempotency_keys k
        USING judged j JOIN unnest(p_key_row, p_key_agent, p_key) AS n (ord, agent_id, key) ON n.ord = j.ord
        WHERE j.verdict IN ('unknown', 'refused', 'silenced') AND k.agent_id = n.agent_id AND k.key = n.key
    )
    SELECT j.ord::int, j.verdict, CASE j.verdict WHEN 'silenced' THEN to_json(silenced_until(j.sender)) #>> '{}' END, CASE WHEN j.rank > 1 THEN 'answered' ELSE j.state END, j.asker_id FROM judged j;
END $$;
