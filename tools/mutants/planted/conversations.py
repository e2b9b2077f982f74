"""Bugs by which something that was acknowledged is lost: R1."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_SENDING = "db/agent_messaging_db/migrations/0002_sending.sql"
_SETTLING = "db/agent_messaging_db/migrations/0003_settling.sql"
_INBOX = "db/agent_messaging_db/sql/inbox.sql"

MUTANTS = (
    Mutant(
        name="sent-although-nothing-was-stored",
        promise="R1",
        sentence="While the database is away a message is acknowledged, and is nowhere.",
        file="protocol/agent_messaging/outbox.py",
        old="            verdicts = await self._database.run(send)\n",
        new="""\
            verdicts = await self._database.run(send)
        except Exception:
            verdicts = [Verdict("sent")] * len(batch)
""",
        caught_by=(
            "tests/protocol/test_acknowledged.py::"
            "test_nothing_is_acknowledged_while_the_database_is_away_though_everything_else_is_known",
        ),
    ),
    Mutant(
        name="late-answer-undelivered",
        promise="R1",
        sentence="An answer that comes late is taken from the one who answers and given to nobody.",
        file=_SETTLING,
        old="SELECT a.id, a.asker_id, a.sender, a.kind, a.awaited_by FROM accepted a ORDER BY a.ord\n",
        new="SELECT a.id, a.asker_id, a.sender, a.kind, a.awaited_by FROM accepted a "
        "WHERE a.verdict <> 'late' ORDER BY a.ord\n",
        caught_by=("tests/db/test_batches.py::test_what_is_stored_alone_is_stored_as_in_a_batch",),
    ),
    Mutant(
        name="late-answer-alone-undelivered",
        promise="R1",
        sentence="An answer that comes late and alone is taken from the one who answers and given to nobody.",
        file=_SETTLING,
        old="    VALUES (p_id, p_asker, p_sender, p_kind, p_awaited_by);\n",
        new="    SELECT p_id, p_asker, p_sender, p_kind, p_awaited_by WHERE NOT p_late;\n",
        caught_by=(
            "tests/protocol/test_sync_conversation.py::"
            "test_a_late_reply_is_flagged_and_delivered_to_the_inbox_of_the_asker",
        ),
    ),
    Mutant(
        name="answer-hidden-behind-a-dead-process",
        promise="R1",
        sentence="An answer for a process that was killed stays claimed by it, and is in no inbox.",
        file=_INBOX,
        old="""\
WHERE d.recipient_id = $1 AND d.read_at IS NULL AND ($2::uuid IS NULL OR d.sender_id = $2) AND d.id > $4
  AND NOT EXISTS (SELECT FROM processes p WHERE p.id = d.claimed_by AND p.lease_until > clock_timestamp())
ORDER BY d.id LIMIT $3;
""",
        new="""\
WHERE d.recipient_id = $1 AND d.read_at IS NULL AND ($2::uuid IS NULL OR d.sender_id = $2) AND d.id > $4
  AND d.claimed_by IS NULL
ORDER BY d.id LIMIT $3;
""",
        caught_by=(
            "tests/protocol/test_dead_processes.py::test_what_a_dead_process_had_claimed_is_in_every_view_of_the_inbox",
        ),
    ),
    Mutant(
        name="read-before-it-is-handled",
        promise="R1",
        sentence="A message is marked read as a handler takes it: if its process is killed, nobody handles it.",
        file="db/agent_messaging_db/sql/deliveries.sql",
        old="UPDATE deliveries d SET claimed_by = $3, attempt = d.attempt + 1 FROM wanted",
        new="UPDATE deliveries d SET claimed_by = $3, attempt = d.attempt + 1, read_at = clock_timestamp() FROM wanted",
        caught_by=("tests/protocol/test_processes.py::test_when_the_handlers_process_is_killed_another_one_answers",),
    ),
    Mutant(
        name="claims-outlast-their-process",
        promise="R1",
        sentence="What a handler had taken when its process was killed is kept from every other handler.",
        file="db/agent_messaging_db/sql/deliveries.sql",
        old="""\
          AND NOT EXISTS (SELECT FROM processes p WHERE p.id = d.claimed_by AND p.lease_until > clock_timestamp())
        ORDER BY d.id LIMIT w.free FOR UPDATE OF d SKIP LOCKED
""",
        new="          AND d.claimed_by IS NULL\n        ORDER BY d.id LIMIT w.free FOR UPDATE OF d SKIP LOCKED\n",
        caught_by=("tests/protocol/test_processes.py::test_when_the_handlers_process_is_killed_another_one_answers",),
    ),
    Mutant(
        name="order-lost-in-a-batch",
        promise="R1",
        sentence="Messages that are sent at once are numbered the wrong way round.",
        file=_SENDING,
        old="               p.last_seq + 1 - row_number() OVER (PARTITION BY p.id ORDER BY n.ord DESC) AS seq,\n",
        new="               p.last_seq + 1 - row_number() OVER (PARTITION BY p.id ORDER BY n.ord) AS seq,\n",
        caught_by=(
            "tests/db/test_batches.py::test_messages_that_go_out_together_keep_their_order_in_conversation_and_inbox",
        ),
    ),
    Mutant(
        name="unread-is-forgotten",
        promise="R1",
        sentence="The clean-up of what has served its time takes messages with it that nobody has read.",
        file="db/agent_messaging_db/sql/upkeep.sql",
        old="-- What has served its time: keys after a day, cursors after a week, tasks when they say.\n"
        "WITH expired AS (\n",
        new="""\
-- What has served its time: keys after a day, cursors after a week, tasks when they say.
WITH old AS (
    DELETE FROM deliveries d USING messages m
    WHERE m.id = d.message_id AND m.created_at < clock_timestamp() - interval '30 days'
), expired AS (
""",
        caught_by=("tests/db/test_forgetting.py::test_what_nobody_has_read_is_never_forgotten",),
    ),
    Mutant(
        name="durability-left-to-chance",
        promise="R1",
        sentence="A database that acknowledges before it has written is accepted, and a crash loses what it took.",
        file="protocol/agent_messaging/engine.py",
        old='    if synchronous_commit == "off":\n',
        new='    if synchronous_commit == "of":\n',
        caught_by=("tests/protocol/test_durability.py::test_a_database_that_may_lose_what_it_accepted_is_refused",),
    ),
    Mutant(
        name="embedded-without-fsync",
        promise="R1",
        sentence="The private PostgreSQL acknowledges what a power failure takes away.",
        file="db/agent_messaging_db/embedded/cluster.py",
        old='    "fsync": "on",\n',
        new='    "fsync": "off",\n',
        caught_by=(
            "tests/db/embedded/test_embedded_sharing.py::test_it_is_durable_reachable_from_this_machine_only_and_speaks_utf8",
        ),
    ),
    Mutant(
        name="a-bad-row-fails-its-batch",
        promise="R1",
        sentence="One agent's ninth question fails the messages of others that went out together with it.",
        file="protocol/agent_messaging/coalescing.py",
        old="            if len(batch) > 1:\n",
        new="            if not batch:\n",
        caught_by=(
            "tests/protocol/test_coalescing.py::"
            "test_a_row_that_conflicts_harms_only_itself_and_any_other_error_is_everybodys",
        ),
    ),
    Mutant(
        name="results-matched-by-order",
        promise="R1",
        sentence="Of many who ask at once, each is given the answer to somebody else's question.",
        file="protocol/agent_messaging/outbox.py",
        old="        return [outcomes.get(question) for question in batch]\n",
        new="        return [*outcomes.values(), *([None] * (len(batch) - len(outcomes)))]\n",
        caught_by=("tests/protocol/test_processes.py::test_sixty_four_pairs_ask_at_once_on_ten_connections",),
    ),
)
