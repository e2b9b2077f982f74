"""Bugs of closing and restarting: R11."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_ENGINE = "protocol/agent_messaging/engine.py"

MUTANTS = (
    Mutant(
        name="a-drain-that-drops",
        promise="R11",
        sentence="At SIGTERM the waits that are held over HTTP are cut instead of answered.",
        file="mcp_server/agent_messaging_mcp/http/app.py",
        old="        self.desk.waits.stop()\n",
        new="",
        caught_by=(
            "tests/mcp_server/test_processes.py::"
            "test_a_meeting_outlasts_the_restart_of_a_process_and_nobody_loses_a_word",
        ),
    ),
    Mutant(
        name="a-pipe-closed-before-the-answers",
        promise="R11",
        sentence="At SIGTERM a stdio server leaves without writing the results of the waits that it ended.",
        file="mcp_server/agent_messaging_mcp/stdio.py",
        old="            await answers.all_given(_FLUSH_SECONDS)\n            wire.end()\n"
        "            await asyncio.wait((serving,), timeout=_CLOSING_SECONDS)\n",
        new="            serving.cancel()\n            await asyncio.wait((serving,), timeout=_CLOSING_SECONDS)\n",
        caught_by=("tests/mcp_server/test_stdio.py::test_a_signal_ends_held_waits_with_the_call_that_continues_them",),
    ),
    Mutant(
        name="a-reader-that-holds-the-exit",
        promise="R11",
        sentence="A client that does not read what it is sent keeps the process from ending.",
        file="mcp_server/agent_messaging_mcp/stdio.py",
        old="        os._exit(0)\n",
        new="        await serving\n",
        caught_by=("tests/mcp_server/test_stdio.py::test_a_signal_ends_a_process_whose_client_does_not_read",),
    ),
    Mutant(
        name="waits-outlast-their-library",
        promise="R11",
        sentence="Closing the library leaves its waits hanging.",
        file="protocol/agent_messaging/waiting.py",
        old="        self._closing = True\n        self._reset()\n",
        new="",
        caught_by=("tests/protocol/test_waiting.py::test_closing_ends_every_wait",),
    ),
    Mutant(
        name="a-process-that-stays-when-it-has-gone",
        promise="R11",
        sentence="A process that has closed counts as alive until its lease has run out, and so do its handlers.",
        file=_ENGINE,
        old="                await presence.leave(connection, process=self.process, agents=claims_of)\n",
        new="                await presence.leave(connection, process=new_id(), agents=claims_of)\n",
        caught_by=("tests/protocol/test_one_way.py::test_an_agent_is_reachable_while_a_live_process_has_its_handler",),
    ),
    Mutant(
        name="closing-that-waits-for-the-database",
        promise="R11",
        sentence="A process whose database is away does not end.",
        file=_ENGINE,
        old="            async with asyncio.timeout(self.config.database_patience + DRAIN):\n",
        new="            async with asyncio.timeout(None):\n",
        caught_by=("tests/protocol/test_outages.py::test_closing_during_an_outage_takes_no_longer_than_the_patience",),
    ),
    Mutant(
        name="commits-that-do-not-wait",
        promise="R1",
        sentence="What a database accepted that does not wait for its disk is lost with the power.",
        file="protocol/agent_messaging/engine.py",
        old='    if synchronous_commit == "off":\n',
        new='    if synchronous_commit == "never":\n',
        caught_by=("tests/protocol/test_durability.py::test_a_database_that_may_lose_what_it_accepted_is_refused",),
    ),
)
