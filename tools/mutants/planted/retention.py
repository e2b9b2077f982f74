"""Bugs of removing what is old: R1, as what was accepted must not be lost before it was read."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_RETENTION = "db/agent_messaging_db/sql/retention.sql"
_TESTS = "tests/protocol/test_retention.py"

MUTANTS = (
    Mutant(
        name="unread-messages-are-pruned",
        promise="R1",
        sentence="A message that nobody has read is removed because it is old.",
        file=_RETENTION,
        old="""\
    WHERE w.kind IN ('one_way', 'async') AND w.created_at < $3
      AND EXISTS (SELECT FROM deliveries d WHERE d.message_id = w.id AND d.read_at < $3)
""",
        new="""\
    WHERE w.kind IN ('one_way', 'async') AND w.created_at < $3
""",
        caught_by=(f"{_TESTS}::test_what_is_unread_is_never_removed_however_old_and_counts_from_its_reading",),
    ),
    Mutant(
        name="open-questions-are-pruned",
        promise="R1",
        sentence="A question that may still be answered is removed because it is old.",
        file=_RETENTION,
        old="    WHERE w.created_at < $3 AND q.reply_by < $3 AND q.state <> 'open'\n",
        new="    WHERE w.created_at < $3\n",
        caught_by=(f"{_TESTS}::test_an_open_question_stays_until_it_is_settled_and_then_goes_with_its_answer",),
    ),
    Mutant(
        name="unread-answers-are-pruned",
        promise="R1",
        sentence="A question is removed with an answer that its asker has not read.",
        file=_RETENTION,
        old="                      WHERE a.id = q.answer_id AND a.created_at < $3 AND d.read_at < $3))\n",
        new="                      WHERE a.id = q.answer_id AND a.created_at < $3))\n",
        caught_by=(f"{_TESTS}::test_an_open_question_stays_until_it_is_settled_and_then_goes_with_its_answer",),
    ),
    Mutant(
        name="running-meetings-are-pruned",
        promise="R1",
        sentence="A meeting that is not over is removed with everything said in it.",
        file=_RETENTION,
        old="    WHERE g.number > $1 AND g.phase = 'ended' AND g.ended_at < $2 ORDER BY",
        new="    WHERE g.number > $1 AND coalesce(g.ended_at, '-infinity') < $2 ORDER BY",
        caught_by=(f"{_TESTS}::test_a_meeting_goes_whole_once_it_is_over_and_a_running_one_stays",),
    ),
)
