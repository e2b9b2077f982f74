-- What becomes of questions: answered, expired, ended with their conversation, given up. The locks are those of 0002.


-- What becomes of an answer (p_kind 'answer') or decline to a question in this state (null: there is none).
CREATE FUNCTION verdict_of(p_state text, p_kind text, p_is_silenced boolean) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_state IS NULL THEN 'unknown'
                WHEN p_is_silenced THEN 'silenced'
                WHEN p_state = 'open' AND p_kind = 'answer' THEN 'answered'
                WHEN p_state = 'open' THEN 'declined'
                WHEN p_state = 'expired' AND p_kind = 'answer' THEN 'late'
                ELSE 'refused' END
$$;


-- How a batch of answers is to be judged, by the questions as they stand with what is due applied: 'answered', 'late',
-- 'declined', or why nothing is to be stored. Whoever asks holds the lock of the questions. p_skip: rows that are not new.
-- Of several rows that could each settle a question, the first does.
CREATE FUNCTION judged_answers(
    p_question uuid[], p_id uuid[], p_kind text[], p_sender uuid[], p_content text[], p_metadata text[],
    p_skip int[], p_silence boolean, p_now timestamptz
) RETURNS TABLE (ord bigint, question uuid, id uuid, kind text, sender uuid, content text, metadata text, verdict text,
                 state text, was_open boolean, number bigint, session_id uuid, asker_id uuid, reply_by timestamptz,
                 awaited_by uuid)
LANGUAGE sql STABLE AS $$
    SELECT t.ord, t.question, t.id, t.kind, t.sender, t.content, t.metadata,
           CASE WHEN t.settles AND t.place > 1 THEN 'refused' ELSE t.verdict END,
           CASE WHEN t.settles AND t.place > 1 THEN CASE t.first WHEN 'declined' THEN 'declined' ELSE 'answered' END
                ELSE t.state END,
           t.was_open, t.number, t.session_id, t.asker_id, t.reply_by, t.awaited_by
    FROM (
        SELECT v.*, v.verdict IN ('answered', 'declined', 'late') AS settles,
               row_number() OVER same AS place, first_value(v.verdict) OVER same AS first
        FROM (
            SELECT r.*, verdict_of(r.state, r.kind, p_silence AND silenced_until(r.sender) IS NOT NULL) AS verdict
            FROM (
                SELECT n.*, q.number, q.session_id, q.asker_id, q.reply_by, q.awaited_by, q.state = 'open' AS was_open,
                       CASE WHEN q.state = 'open' AND q.reply_by <= p_now THEN 'expired' ELSE q.state END AS state
                FROM unnest(p_question, p_id, p_kind, p_sender, p_content, p_metadata)
                     WITH ORDINALITY AS n (question, id, kind, sender, content, metadata, ord)
                LEFT JOIN questions q ON q.id = n.question AND q.answerer_id = n.sender
                WHERE n.ord <> ALL (p_skip)
            ) r
        ) v
        WINDOW same AS (PARTITION BY v.question, v.verdict IN ('answered', 'declined', 'late') ORDER BY v.ord)
    ) t
$$;


-- Store the answer or decline of one question: what answer_questions does with many, in statements that a server begins in a
-- third of the time. p_late: the question had expired; p_counted: it was open.
CREATE FUNCTION store_answer(
    p_question uuid, p_id uuid, p_kind text, p_sender uuid, p_content text, p_metadata text,
    p_late boolean, p_counted boolean, p_session uuid, p_asker uuid, p_awaited_by uuid, p_now timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_pair bigint;
    v_seq bigint;
BEGIN
    UPDATE pairs p
    SET last_seq = p.last_seq + 1,
        open_low = p.open_low - (p_counted AND p_asker < p_sender)::int,
        open_high = p.open_high - (p_counted AND p_asker > p_sender)::int
    WHERE p.low_id = least(p_sender, p_asker) AND p.high_id = greatest(p_sender, p_asker)
    RETURNING p.id, p.last_seq INTO v_pair, v_seq;
    INSERT INTO messages (id, pair_id, seq, session_id, sender_id, recipient_id, kind, content, metadata, reply_to, late,
                          created_at)
    VALUES (p_id, v_pair, v_seq, p_session, p_sender, p_asker, p_kind, p_content, p_metadata, p_question, p_late, p_now);
    UPDATE questions SET state = CASE p_kind WHEN 'decline' THEN 'declined' ELSE 'answered' END, answer_id = p_id, late = p_late
    WHERE id = p_question;
    UPDATE deliveries SET read_at = p_now, claimed_by = NULL WHERE message_id = p_question AND read_at IS NULL;
    INSERT INTO deliveries (message_id, recipient_id, sender_id, kind, claimed_by)
    VALUES (p_id, p_asker, p_sender, p_kind, p_awaited_by);
END $$;


-- Answer or decline a batch of questions, at most once each, each by the one who was asked. Says for each row 'answered',
-- 'late', 'declined', or why nothing was stored: 'unknown', 'refused' (with the state), 'replayed', 'conflict', 'silenced' (with
-- until when as result). Of what was stored it says besides what a wait on the question wants to know.
-- No budget and no hop refuses an answer: who was asked may answer. An answer is no hop either: it goes back.
-- An answer is born claimed by the process that waits for it, and the question's own delivery is done with.
CREATE FUNCTION answer_questions(
    p_question uuid[], p_id uuid[], p_kind text[], p_sender uuid[], p_content text[], p_metadata text[],
    p_key_row int[], p_key_agent uuid[], p_key text[], p_key_hash bytea[], p_key_result text[],
    p_again boolean
) RETURNS TABLE (ord int, verdict text, result text, state text, asker_id uuid,
                 number bigint, session_id uuid, reply_by timestamptz, awaited_by uuid, answered_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_skip int[] := '{}';
    v_silence boolean;
    v_now timestamptz;
    v_state text;
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
    IF cardinality(p_question) = 1 AND cardinality(p_key) = 0 AND cardinality(v_skip) = 0 THEN
        SELECT q.number, q.session_id, q.asker_id, q.reply_by, q.awaited_by, q.state
        INTO number, session_id, asker_id, reply_by, awaited_by, v_state
        FROM questions q WHERE q.id = p_question[1] AND q.answerer_id = p_sender[1] FOR UPDATE;
        answered_at := clock_timestamp();
        ord := 1;
        state := CASE WHEN v_state = 'open' AND reply_by <= answered_at THEN 'expired' ELSE v_state END;
        verdict := verdict_of(state, p_kind[1], v_silence AND silenced_until(p_sender[1]) IS NOT NULL);
        IF verdict IN ('answered', 'declined', 'late') THEN
            PERFORM store_answer(p_question[1], p_id[1], p_kind[1], p_sender[1], p_content[1], p_metadata[1], verdict = 'late',
                                 v_state = 'open', session_id, asker_id, awaited_by, answered_at);
        ELSIF verdict = 'silenced' THEN
            result := to_json(silenced_until(p_sender[1])) #>> '{}';
        END IF;
        RETURN NEXT;
        RETURN;
    END IF;

    PERFORM FROM questions q WHERE q.id = ANY (p_question) ORDER BY q.id FOR UPDATE;
    v_now := clock_timestamp();
    INSERT INTO pairs AS p (low_id, high_id, last_seq, open_low, open_high)
    SELECT least(j.sender, j.asker_id), greatest(j.sender, j.asker_id), count(*),
           count(*) FILTER (WHERE j.was_open AND j.asker_id < j.sender),
           count(*) FILTER (WHERE j.was_open AND j.asker_id > j.sender)
    FROM judged_answers(p_question, p_id, p_kind, p_sender, p_content, p_metadata, v_skip, v_silence, v_now) j
    WHERE j.verdict IN ('answered', 'declined', 'late')
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (low_id, high_id) DO UPDATE
        SET last_seq = p.last_seq + excluded.last_seq,
            open_low = p.open_low - excluded.open_low,
            open_high = p.open_high - excluded.open_high;

    RETURN QUERY
    WITH judged AS MATERIALIZED (
        SELECT * FROM judged_answers(p_question, p_id, p_kind, p_sender, p_content, p_metadata, v_skip, v_silence, v_now)
    ), accepted AS MATERIALIZED (
        SELECT * FROM judged j WHERE j.verdict IN ('answered', 'declined', 'late')
    ), stored AS (
        INSERT INTO messages (id, pair_id, seq, session_id, sender_id, recipient_id, kind, content, metadata, reply_to, late,
                              created_at)
        SELECT a.id, p.id, p.last_seq + 1 - row_number() OVER (PARTITION BY p.id ORDER BY a.ord DESC), a.session_id,
               a.sender, a.asker_id, a.kind, a.content, a.metadata, a.question, a.verdict = 'late', v_now
        FROM accepted a JOIN pairs p ON p.low_id = least(a.sender, a.asker_id) AND p.high_id = greatest(a.sender, a.asker_id)
    ), settled AS (
        UPDATE questions q
        SET state = CASE a.verdict WHEN 'declined' THEN 'declined' ELSE 'answered' END, answer_id = a.id, late = a.verdict = 'late'
        FROM accepted a WHERE q.id = a.question
    ), finished AS (
        UPDATE deliveries d SET read_at = v_now, claimed_by = NULL
        FROM accepted a WHERE d.message_id = a.question AND d.read_at IS NULL
    ), delivered AS (
        INSERT INTO deliveries (message_id, recipient_id, sender_id, kind, claimed_by)
        SELECT a.id, a.asker_id, a.sender, a.kind, a.awaited_by FROM accepted a ORDER BY a.ord
    ), forgotten AS (   -- a refusal is not remembered: its key would say next time that something was stored
        DELETE FROM idempotency_keys k
        USING judged j JOIN unnest(p_key_row, p_key_agent, p_key) AS n (ord, agent_id, key) ON n.ord = j.ord
        WHERE j.verdict IN ('unknown', 'refused', 'silenced') AND k.agent_id = n.agent_id AND k.key = n.key
    )
    SELECT j.ord::int, j.verdict, CASE j.verdict WHEN 'silenced' THEN to_json(silenced_until(j.sender)) #>> '{}' END,
           j.state, j.asker_id, j.number, j.session_id, j.reply_by, j.awaited_by, v_now
    FROM judged j;
END $$;


-- Questions that are open, and are about to be settled without an answer, count no longer against the eight of their pairs,
-- which are locked by this.
CREATE FUNCTION uncount_questions(p_question uuid[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO pairs AS p (low_id, high_id, last_seq, open_low, open_high)
    SELECT least(q.asker_id, q.answerer_id), greatest(q.asker_id, q.answerer_id), 0,
           count(*) FILTER (WHERE q.asker_id < q.answerer_id), count(*) FILTER (WHERE q.asker_id > q.answerer_id)
    FROM questions q WHERE q.id = ANY (p_question) AND q.state = 'open'
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (low_id, high_id) DO UPDATE
        SET open_low = p.open_low - excluded.open_low,
            open_high = p.open_high - excluded.open_high
$$;


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
    PERFORM uncount_questions(v_ids);
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
    UPDATE pairs SET open_low = 0, open_high = 0, sync_session = NULL, async_session = NULL WHERE id = v_pair.id;
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
    PERFORM FROM questions q
        JOIN pairs p ON p.low_id = least(q.asker_id, q.answerer_id) AND p.high_id = greatest(q.asker_id, q.answerer_id)
        WHERE q.id = ANY (p_message) ORDER BY p.low_id, p.high_id FOR UPDATE OF p;
    SELECT coalesce(array_agg(d.message_id), '{}') INTO v_ids
    FROM (SELECT d.message_id FROM deliveries d
          JOIN unnest(p_message, p_attempt) AS n (message_id, attempt) ON n.message_id = d.message_id
          WHERE d.read_at IS NULL AND d.dead_at IS NULL
            AND (n.attempt IS NULL OR (d.claimed_by = p_process AND d.attempt = n.attempt))
          ORDER BY d.message_id FOR UPDATE OF d) d;
    PERFORM uncount_questions(v_ids);
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
