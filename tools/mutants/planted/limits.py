"""Bugs by which one agent takes what others need: R17."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_LIMITS = "mcp_server/agent_messaging_mcp/limits.py"
_TESTS = "tests/mcp_server/test_limits.py::"
_GATE = "mcp_server/agent_messaging_mcp/http/gate.py"
_GATE_TESTS = "tests/mcp_server/test_gate.py::"

MUTANTS = (
    Mutant(
        name="rate-limit-of-all-together",
        promise="R17",
        sentence="One agent that calls too often uses up the calls of everybody.",
        file=_LIMITS,
        old="        bucket = self._buckets.get(agent)\n",
        new='        agent = "everybody"\n        bucket = self._buckets.get(agent)\n',
        caught_by=(f"{_TESTS}test_whoever_calls_too_often_is_told_when_to_go_on_and_nobody_else_is",),
    ),
    Mutant(
        name="rate-limit-without-effect",
        promise="R17",
        sentence="An agent in a loop calls as often as it can.",
        file=_LIMITS,
        old="        bucket.tokens -= 1\n",
        new="",
        caught_by=(
            f"{_TESTS}test_a_minutes_calls_at_once_and_then_evenly",
            f"{_TESTS}test_whoever_calls_too_often_is_told_when_to_go_on_and_nobody_else_is",
        ),
    ),
    Mutant(
        name="waits-of-all-together",
        promise="R17",
        sentence="Sixteen waits of one agent are the waits of everybody.",
        file=_LIMITS,
        old="        if self._open[agent] >= self._most:\n",
        new="        if self._open.total() >= self._most:\n",
        caught_by=(f"{_TESTS}test_waits_are_counted_for_each_agent_for_as_long_as_they_are_open",),
    ),
    Mutant(
        name="waits-without-number",
        promise="R17",
        sentence="One agent opens as many waits as it likes.",
        file=_LIMITS,
        old="        if self._open[agent] >= self._most:\n",
        new="        if self._open[agent] >= self._most * 1_000_000:\n",
        caught_by=(f"{_TESTS}test_sixteen_waits_and_nothing_is_begun_for_the_seventeenth",),
    ),
    Mutant(
        name="disconnect-does-not-cancel",
        promise="R17",
        sentence="The waits of clients that have gone stay open, and count.",
        file="mcp_server/agent_messaging_mcp/waits.py",
        old="    return None if request is None else request.scope.get(GONE)\n",
        new='    return None if request is None else request.scope.get("unheard of")\n',
        caught_by=(
            f"{_TESTS}test_a_wait_whose_client_has_gone_counts_no_more",
            "tests/mcp_server/test_transports.py::test_the_waits_of_a_client_that_goes_end_at_once_and_nothing_is_lost",
        ),
    ),
    Mutant(
        name="sessions-without-number",
        promise="R17",
        sentence="An agent whose host is killed again and again fills the server with sessions.",
        file="mcp_server/agent_messaging_mcp/http/sessions.py",
        old="        while len(known) > self._most:\n",
        new="        while len(known) > self._most * 1_000_000:\n",
        caught_by=(
            "tests/mcp_server/test_sessions.py::test_an_agent_that_opens_ever_more_sessions_loses_its_own_oldest",
        ),
    ),
    Mutant(
        name="inboxes-without-bottom",
        promise="R17",
        sentence="One agent fills the inbox of another without end.",
        file="protocol/agent_messaging/room.py",
        old="            if count >= self._limit:\n",
        new="            if count > self._limit * 1_000_000:\n",
        caught_by=(
            "tests/protocol/test_async_conversation.py::test_a_full_inbox_refuses_an_async_message",
            "tests/protocol/test_one_way.py::test_a_full_inbox_refuses_and_takes_again_when_it_has_been_read",
        ),
    ),
    Mutant(
        name="questions-without-number",
        promise="R17",
        sentence="One agent puts any number of questions to another at once.",
        file="db/agent_messaging_db/migrations/0001_initial.sql",
        old="CHECK (open_low BETWEEN 0 AND 8 AND open_high BETWEEN 0 AND 8)",
        new="CHECK (open_low BETWEEN 0 AND 8000 AND open_high BETWEEN 0 AND 8000)",
        caught_by=("tests/protocol/test_sync_refusals.py::test_eight_questions_may_be_open_per_pair_and_direction",),
    ),
    Mutant(
        name="bodies-of-any-size",
        promise="R17",
        sentence="One request of a gigabyte is read into memory.",
        file="mcp_server/agent_messaging_mcp/http/edge.py",
        old="        self._app = RequestBodyLimitMiddleware(app, max_body_bytes)\n",
        new="        self._app = RequestBodyLimitMiddleware(app, max_body_bytes * 1_000)\n",
        caught_by=(
            "tests/mcp_server/test_body_limits.py::test_a_body_of_four_mebibytes_is_taken_and_one_byte_more_is_not",
        ),
    ),
    Mutant(
        name="waits-that-hold-connections",
        promise="R17",
        sentence="Each wait keeps a connection of the pool, so ten of them keep everybody else out.",
        file="protocol/agent_messaging/inbox.py",
        old="                return await self._engine.waiting.until(look, take,",
        new="                async with self._engine.database.connection():\n"
        "                    return await self._engine.waiting.until(look, take,",
        caught_by=("tests/protocol/test_processes.py::test_five_hundred_waits_hold_no_connection",),
    ),
    Mutant(
        name="one-handler-for-all-messages",
        promise="R17",
        sentence="A message that its handler is slow with keeps the agent's other messages waiting.",
        file="protocol/agent_messaging/handlers.py",
        old="        slots = self._engine.config.handler_concurrency\n",
        new="        slots = 1\n",
        caught_by=("tests/protocol/test_handlers.py::test_no_more_handlers_of_an_agent_run_at_once_than_allowed",),
    ),
    Mutant(
        name="gate-of-all-together",
        promise="R17",
        sentence="The requests of one agent stand before those of everybody.",
        file=_GATE,
        old="        line = self._lines.setdefault(agent, _Line())\n",
        new='        agent = "everybody"\n        line = self._lines.setdefault(agent, _Line())\n',
        caught_by=(f"{_GATE_TESTS}test_requests_of_one_agent_are_served_in_turn_and_those_of_others_meanwhile",),
    ),
    Mutant(
        name="place-lost-with-its-request",
        promise="R17",
        sentence="A request that is cancelled as it is let in keeps its place for ever.",
        file=_GATE,
        old="                self.let_next_in(agent)  # it was given a place that it does not take any more\n",
        new="                pass\n",
        caught_by=(f"{_GATE_TESTS}test_a_queued_request_that_is_cancelled_keeps_no_place[True]",),
    ),
    Mutant(
        name="wait-keeps-its-place",
        promise="R17",
        sentence="Four waits of an agent keep its other calls from being served.",
        file="mcp_server/agent_messaging_mcp/waits.py",
        old="            leave_gate(context.request_context.request)\n",
        new="",
        caught_by=(f"{_GATE_TESTS}test_a_wait_leaves_its_place_before_it_begins_to_wait",),
    ),
    Mutant(
        name="door-always-open",
        promise="R17",
        sentence="Whoever goes on after being refused is read, parsed and answered every time.",
        file=_LIMITS,
        old="        return self._refusals.pause(agent)\n",
        new="        return 0\n",
        caught_by=(f"{_GATE_TESTS}test_the_door_closes_to_whoever_goes_on_after_being_refused_and_opens_again",),
    ),
    Mutant(
        name="streams-without-number",
        promise="R17",
        sentence="One agent opens streams until there is no room for those of others.",
        file="mcp_server/agent_messaging_mcp/http/exchanges.py",
        old='                self._open_streams.one(credential.subject or ""),\n',
        new="",
        caught_by=(f"{_GATE_TESTS}test_a_stream_too_many_is_refused_and_one_that_ends_makes_room[/sse]",),
    ),
)
