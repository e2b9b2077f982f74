"""Bugs of leases: a message that two handlers get, or one that finishes what is no longer its own: R2, by handlers."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_TAKEN = "tests/protocol/test_taken.py"
_DELIVERIES = "db/agent_messaging_db/sql/deliveries.sql"

MUTANTS = (
    Mutant(
        name="no-lease-on-handlers",
        promise="R2",
        sentence="A message that one handler works on is given to the handler of another process as well.",
        file=_DELIVERIES,
        old="""\
          AND NOT EXISTS (SELECT FROM processes p WHERE p.id = d.claimed_by AND p.lease_until > clock_timestamp())
        ORDER BY d.id LIMIT w.free FOR UPDATE OF d SKIP LOCKED
""",
        new="        ORDER BY d.id LIMIT w.free FOR UPDATE OF d SKIP LOCKED\n",
        caught_by=(
            "tests/protocol/test_processes.py::"
            "test_a_handler_that_blocks_its_event_loop_for_two_leases_keeps_its_message",
        ),
    ),
    Mutant(
        name="stale-lease-accepted",
        promise="R2",
        sentence="A handler that lost its message to another one finishes it all the same.",
        file=_DELIVERIES,
        old="""\
      CROSS JOIN unnest($1::uuid[], $2::int[]) AS n (message_id, attempt)
      JOIN deliveries d ON n.message_id = d.message_id AND n.attempt = d.attempt
      WHERE d.claimed_by = $3 AND d.read_at IS NULL ORDER BY d.message_id FOR UPDATE OF d) n
""",
        new="""\
      CROSS JOIN unnest($1::uuid[], $2::int[]) AS n (message_id, attempt)
      JOIN deliveries d ON n.message_id = d.message_id AND n.attempt > 0
      WHERE $3::uuid IS NOT NULL AND d.read_at IS NULL ORDER BY d.message_id FOR UPDATE OF d) n
""",
        caught_by=(
            "tests/protocol/test_handler_failures.py::"
            "test_a_process_that_lost_its_lease_finishes_late_and_changes_nothing",
        ),
    ),
    Mutant(
        name="claims-without-a-lease",
        promise="R2",
        sentence="A process whose lease has run out takes messages, which others take as well.",
        file=_DELIVERIES,
        old="    WHERE EXISTS (SELECT FROM processes p WHERE p.id = $3 AND p.lease_until > clock_timestamp())\n"
        "      AND NOT EXISTS (SELECT FROM silences",
        new="    WHERE $3::uuid IS NOT NULL\n      AND NOT EXISTS (SELECT FROM silences",
        caught_by=("tests/protocol/test_handler_failures.py::test_a_process_without_a_lease_claims_nothing",),
    ),
    Mutant(
        name="a-lease-renewed-by-the-event-loop",
        promise="R2",
        sentence="A handler that blocks its event loop loses its lease, and its message is handled twice.",
        file="protocol/agent_messaging/engine.py",
        old="        self.lease.start()\n",
        new="",
        caught_by=(
            "tests/protocol/test_processes.py::"
            "test_a_handler_that_blocks_its_event_loop_for_two_leases_keeps_its_message",
        ),
    ),
    Mutant(
        name="a-question-handled-after-its-answer",
        promise="R2",
        sentence="A question that was answered by hand is given to the handler as well.",
        file="db/agent_messaging_db/migrations/0003_settling.sql",
        old="WHERE message_id = p_question AND read_at IS NULL;",
        new="WHERE message_id = p_question AND read_at IS NULL AND false;",
        caught_by=(
            "tests/protocol/test_handler_failures.py::"
            "test_a_question_that_was_answered_is_never_handled_again_nor_dead",
        ),
    ),
    Mutant(
        name="a-failure-told-to-nobody",
        promise="R6",
        sentence="A handler fails on a question for good, and whoever asked waits until its window ends.",
        file="protocol/agent_messaging/handler_run.py",
        old="            engine.waiting.wake([question_topic(row.id), agent_topic(row.recipient_id)])\n",
        new="            engine.waiting.wake([agent_topic(row.recipient_id)])\n",
        caught_by=(
            "tests/protocol/test_woken_in_time.py::test_who_asked_is_told_that_the_handler_failed_long_before_the_window_ends",
        ),
    ),
    Mutant(
        name="a-message-stuck-after-an-outage",
        promise="R1",
        sentence="What a process had taken for a handler when the database went away is handled by nobody.",
        file="protocol/agent_messaging/handlers.py",
        old="        await self._let_go(connection)\n",
        new="",
        caught_by=("tests/protocol/test_outages.py::test_a_message_whose_handler_ended_during_an_outage_is_not_stuck",),
    ),
    Mutant(
        name="taken-out-of-turn",
        promise="R1",
        sentence="A message is handed to the handler beside its sender although an older one waits for that.",
        file="db/agent_messaging_db/migrations/0002_sending.sql",
        old="    is_taken := p_takes AND NOT has_claimable(p_recipient);\n",
        new="    is_taken := p_takes;\n",
        caught_by=(f"{_TAKEN}::test_what_came_before_from_another_process_is_handled_first",),
    ),
    Mutant(
        name="taken-and-forgotten",
        promise="R1",
        sentence="What a try of unknown outcome has claimed for a handler stays claimed, and nobody handles it.",
        file="protocol/agent_messaging/handlers.py",
        old="        self._doubtful |= doubtful\n",
        new="",
        caught_by=(f"{_TAKEN}::test_what_was_taken_by_a_try_whose_outcome_was_lost_is_handled_all_the_same",),
    ),
)
