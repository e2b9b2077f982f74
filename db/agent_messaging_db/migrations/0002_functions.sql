-- The hot writes, each one round trip for a whole batch: set-based, and plain enough to be read from top to bottom.
-- Locks are taken in one order everywhere: idempotency keys -> questions -> pairs (by low_id, high_id) -> deliveries.
-- A statement inside a function sees what was committed before it began, so a check after a lock is a check of the truth.


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


-- Store a batch of messages, numbered within their pairs, and deliver them. Rows of one operation share its number in
-- p_operation; p_session proposes the id of a session should the pair have none of that type (null: no session).
-- p_again: this batch was tried before and its outcome is unknown, so rows that are there already are not new.
CREATE FUNCTION send_messages(
    p_operation int[], p_id uuid[], p_kind text[], p_sender uuid[], p_recipient uuid[], p_content text[], p_metadata text[],
    p_session uuid[], p_reply_seconds double precision[], p_awaited_by uuid[],
    p_key_operation int[], p_key_agent uuid[], p_key text[], p_key_hash bytea[], p_key_result text[],
    p_again boolean
) RETURNS TABLE (operation int, verdict text, result text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_skip int[] := '{}';
BEGIN
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
                    p_awaited_by)
             WITH ORDINALITY AS n (operation, id, kind, sender, recipient, content, metadata, session, reply_seconds,
                                   awaited_by, ord)
        JOIN pairs p ON p.low_id = least(n.sender, n.recipient) AND p.high_id = greatest(n.sender, n.recipient)
        LEFT JOIN sessions s ON n.session IS NOT NULL AND s.pair_id = p.id AND s.ended_at IS NULL
                            AND s.type = CASE n.kind WHEN 'question' THEN 'sync' ELSE 'async' END
        WHERE n.operation <> ALL (v_skip)
    ), stored AS (
        INSERT INTO messages (id, pair_id, seq, session_id, sender_id, recipient_id, kind, content, metadata, created_at)
        SELECT id, pair_id, seq, live_session, sender, recipient, kind, content, metadata, clock_timestamp()
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


-- Answer or decline a batch of questions, at most once each, each by the one who was asked. Says for each row 'answered',
-- 'late', 'declined', or why nothing was stored: 'unknown', 'refused' (with the state), 'replayed', 'conflict'.
-- An answer is born claimed by the process that waits for it, and the question's own delivery is done with.
CREATE FUNCTION answer_questions(
    p_question uuid[], p_id uuid[], p_kind text[], p_sender uuid[], p_content text[], p_metadata text[],
    p_key_row int[], p_key_agent uuid[], p_key text[], p_key_hash bytea[], p_key_result text[],
    p_again boolean
) RETURNS TABLE (ord int, verdict text, result text, state text, asker_id uuid)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_skip int[] := '{}';
BEGIN
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
        WHERE j.verdict IN ('unknown', 'refused') AND k.agent_id = n.agent_id AND k.key = n.key
    )
    SELECT j.ord::int, j.verdict, NULL::text, CASE WHEN j.rank > 1 THEN 'answered' ELSE j.state END, j.asker_id FROM judged j;
END $$;


-- Expire open questions whose time has come, a batch at a time. Their deliveries stay: an expired question may be answered late.
CREATE FUNCTION expire_questions(p_limit int) RETURNS TABLE (id uuid, asker_id uuid)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_ids uuid[];
BEGIN
    SELECT array_agg(q.id) INTO v_ids
    FROM (SELECT id FROM questions WHERE state = 'open' AND reply_by <= clock_timestamp()
          ORDER BY reply_by LIMIT p_limit FOR UPDATE SKIP LOCKED) q;
    IF v_ids IS NULL THEN
        RETURN;
    END IF;
    PERFORM FROM pairs WHERE pairs.id IN (SELECT pair_id FROM questions WHERE questions.id = ANY (v_ids))
        ORDER BY low_id, high_id FOR UPDATE;
    UPDATE pairs p SET open_low = p.open_low - c.low, open_high = p.open_high - c.high
    FROM (SELECT q.pair_id, count(*) FILTER (WHERE q.asker_id < q.answerer_id) AS low,
                 count(*) FILTER (WHERE q.asker_id > q.answerer_id) AS high
          FROM questions q WHERE q.id = ANY (v_ids) GROUP BY 1) c
    WHERE p.id = c.pair_id;
    RETURN QUERY UPDATE questions q SET state = 'expired' WHERE q.id = ANY (v_ids) RETURNING q.id, q.asker_id;
END $$;


-- End every live session of a pair and cancel its open questions; says how many sessions ended and which questions.
CREATE FUNCTION end_sessions(p_one uuid, p_other uuid, OUT ended int, OUT cancelled uuid[])
LANGUAGE plpgsql AS $$
DECLARE
    v_pair pairs;
BEGIN
    cancelled := '{}';
    PERFORM FROM questions q JOIN pairs p ON p.id = q.pair_id
        WHERE p.low_id = least(p_one, p_other) AND p.high_id = greatest(p_one, p_other) AND q.state = 'open'
        ORDER BY q.id FOR UPDATE OF q;
    SELECT * INTO v_pair FROM pairs WHERE low_id = least(p_one, p_other) AND high_id = greatest(p_one, p_other) FOR UPDATE;
    UPDATE sessions SET ended_at = clock_timestamp() WHERE pair_id = v_pair.id AND ended_at IS NULL;
    GET DIAGNOSTICS ended = ROW_COUNT;
    IF ended = 0 THEN
        RETURN;
    END IF;
    WITH settled AS (   -- one that is past its time expires; it may be answered late all the same
        UPDATE questions SET state = CASE WHEN reply_by <= clock_timestamp() THEN 'expired' ELSE 'cancelled' END
        WHERE pair_id = v_pair.id AND state = 'open'
        RETURNING id, state
    ), finished AS (
        UPDATE deliveries d SET read_at = clock_timestamp(), claimed_by = NULL
        FROM settled s WHERE s.state = 'cancelled' AND d.message_id = s.id AND d.read_at IS NULL
    )
    SELECT coalesce(array_agg(id), '{}') INTO cancelled FROM settled;
    UPDATE pairs SET open_low = 0, open_high = 0 WHERE id = v_pair.id;
END $$;


-- Give up on deliveries: they stay unread, flagged, and the sender of a question is told instead of left in silence.
-- p_attempt fences whoever finishes late; null where nobody has a claim.
CREATE FUNCTION dead_letter(p_message uuid[], p_process uuid, p_attempt int[], p_error text[])
RETURNS TABLE (message_id uuid, recipient_id uuid, question_id uuid)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_ids uuid[];
BEGIN
    PERFORM FROM questions q WHERE q.id = ANY (p_message) ORDER BY q.id FOR UPDATE;
    PERFORM FROM pairs WHERE pairs.id IN (SELECT pair_id FROM questions WHERE questions.id = ANY (p_message))
        ORDER BY low_id, high_id FOR UPDATE;
    SELECT coalesce(array_agg(d.message_id), '{}') INTO v_ids
    FROM (SELECT d.message_id FROM deliveries d
          JOIN unnest(p_message, p_attempt) AS n (message_id, attempt) ON n.message_id = d.message_id
          WHERE d.read_at IS NULL AND d.dead_at IS NULL
            AND (n.attempt IS NULL OR (d.claimed_by = p_process AND d.attempt = n.attempt))
          ORDER BY d.message_id FOR UPDATE OF d) d;
    UPDATE pairs p SET open_low = p.open_low - c.low, open_high = p.open_high - c.high
    FROM (SELECT q.pair_id, count(*) FILTER (WHERE q.asker_id < q.answerer_id) AS low,
                 count(*) FILTER (WHERE q.asker_id > q.answerer_id) AS high
          FROM questions q WHERE q.id = ANY (v_ids) AND q.state = 'open' GROUP BY 1) c
    WHERE p.id = c.pair_id;
    RETURN QUERY
    WITH failed AS (
        UPDATE questions q SET state = 'declined', failure = n.error
        FROM unnest(p_message, p_error) AS n (message_id, error)
        WHERE q.id = n.message_id AND q.id = ANY (v_ids) AND q.state = 'open'
        RETURNING q.id
    )
    UPDATE deliveries d SET dead_at = clock_timestamp(), claimed_by = NULL, error = n.error
    FROM unnest(p_message, p_error) AS n (message_id, error)
    WHERE d.message_id = n.message_id AND d.message_id = ANY (v_ids)
    RETURNING d.message_id, d.recipient_id, (SELECT f.id FROM failed f WHERE f.id = d.message_id);
END $$;
