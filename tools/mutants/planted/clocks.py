"""Bugs of processes that judge by their own clock: R9."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_STORE = "protocol/agent_messaging/meeting_store.py"
_TESTS = "tests/protocol/test_clocks.py::"

MUTANTS = (
    Mutant(
        name="deadlines-set-by-the-host-clock",
        promise="R9",
        sentence="A turn lasts an hour longer, or is over at once, where the process that grants it has a wrong clock.",
        file=_STORE,
        old="""\
            clocks=clocks_of(before, after, moment.now),
            unless_due=nothing_due(moment),
            after_seq""",
        new="""\
            clocks=clocks_of(before, after, __import__("datetime").datetime.now(moment.now.tzinfo)),
            unless_due=nothing_due(moment),
            after_seq""",
        caught_by=(f"{_TESTS}test_turns_begin_and_end_by_the_databases_clock_alone",),
    ),
    Mutant(
        name="deadlines-judged-by-the-host-clock",
        promise="R9",
        sentence="A process with a wrong clock finds every turn over, or none.",
        file=_STORE,
        old="        return decide(moment.state, command, moment.now)\n",
        new="        return decide(moment.state, command, __import__('datetime').datetime.now(moment.now.tzinfo))\n",
        caught_by=(f"{_TESTS}test_turns_begin_and_end_by_the_databases_clock_alone",),
    ),
    Mutant(
        name="time-left-by-the-host-clock",
        promise="R9",
        sentence="A speaker is told that it has an hour left, or nothing, because of the clock of its process.",
        file="protocol/agent_messaging/meeting_views.py",
        old="(deadline - moment.now).total_seconds()",
        new="(deadline - datetime.now(deadline.tzinfo)).total_seconds()",
        caught_by=(f"{_TESTS}test_turns_begin_and_end_by_the_databases_clock_alone",),
    ),
    Mutant(
        name="what-is-due-by-the-host-clock",
        promise="R9",
        sentence="A process with a wrong clock applies deadlines before their time, or never.",
        file=_STORE,
        old="    return apply_due(moment.state, moment.now) or Transition(moment.state, ())\n",
        new="    now = __import__('datetime').datetime.now(moment.now.tzinfo)\n"
        "    return apply_due(moment.state, now) or Transition(moment.state, ())\n",
        caught_by=(f"{_TESTS}test_a_turn_that_nobody_takes_passes_by_the_databases_clock_alone",),
    ),
    Mutant(
        name="expiry-of-questions-by-the-host-clock",
        promise="R9",
        sentence="A question is over, or never over, for a process with a wrong clock.",
        file="protocol/agent_messaging/asking.py",
        old="""\
        outcome = self._settled.get(question) or await self._engine.outbox.outcome(question)
""",
        new="""\
        from dataclasses import replace
        from datetime import datetime

        outcome = await self._engine.outbox.outcome(question)
        if outcome is not None and outcome.state in (QuestionState.OPEN, QuestionState.EXPIRED):
            is_over = outcome.reply_by <= datetime.now(outcome.reply_by.tzinfo)
            outcome = replace(outcome, state=QuestionState.EXPIRED if is_over else QuestionState.OPEN)
""",
        caught_by=(f"{_TESTS}test_a_question_expires_by_the_databases_clock_alone",),
    ),
    Mutant(
        name="tokens-ended-by-the-host-clock",
        promise="R9",
        sentence="A token that has expired is good, and a fresh one is not, for a process with a wrong clock.",
        file="protocol/agent_messaging/tokens.py",
        old="and same and row.state == TokenState.VALID else None\n",
        new="and same and (row.expires_at is None "
        "or row.expires_at > type(row.created_at).now(row.expires_at.tzinfo)) else None\n",
        caught_by=(f"{_TESTS}test_a_token_ends_by_the_databases_clock_alone",),
    ),
    Mutant(
        name="ages-by-the-hosts-clock",
        promise="R9",
        sentence="On a host whose clock is wrong a model reads that what was just said is an hour old.",
        file="mcp_server/agent_messaging_mcp/text.py",
        old="    passed = ((now or _now.get()()) - moment)",
        new="    passed = ((now or datetime.now(UTC)) - moment)",
        caught_by=("tests/mcp_server/test_text.py::test_a_context_tells_the_time_by_the_clock_that_it_is_given",),
    ),
)
