-- name: depths
-- How much is unread, open and under way. Counted up to $1 along the index that holds nothing else (the ORDER BY is its own,
-- so that no plan reads the table), and beyond that taken from the statistics of that index.
SELECT
    (SELECT CASE WHEN count(*) < $1::bigint THEN count(*)
                 ELSE greatest(count(*), (SELECT reltuples FROM pg_class WHERE oid = 'unread_deliveries'::regclass)::bigint) END
     FROM (SELECT FROM deliveries WHERE read_at IS NULL ORDER BY recipient_id, id LIMIT $1) c) AS unread_deliveries,
    (SELECT CASE WHEN count(*) < $1 THEN count(*)
                 ELSE greatest(count(*), (SELECT reltuples FROM pg_class WHERE oid = 'open_questions'::regclass)::bigint) END
     FROM (SELECT FROM questions WHERE state = 'open' ORDER BY answerer_id, asker_id, number LIMIT $1) c) AS open_questions,
    (SELECT CASE WHEN count(*) < $1 THEN count(*)
                 ELSE greatest(count(*), (SELECT reltuples FROM pg_class WHERE oid = 'due_meetings'::regclass)::bigint) END
     FROM (SELECT FROM meetings WHERE phase <> 'ended' ORDER BY next_due LIMIT $1) c) AS live_meetings;
