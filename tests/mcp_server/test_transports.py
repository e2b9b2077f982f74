"""Every transport in both eras is the same service: one scenario and one transcript of all that its agents are told;
and whatever becomes of a client, its waits end with it and nothing is lost.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from mcp_types import ResourceUpdatedNotification
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from tests.conftest import connect
from tests.leftovers import left_after
from tests.mcp_server.hosts import Era, Host, Transport, Wire, every_wire, host, wired
from tests.mcp_server.scenario import AGENTS, BOUND, WAIT, Scenario
from tests.mcp_server.transcripts import Transcript

# The SDK warns of what the current revision no longer has; clients of the 2025 era have nothing else.
pytestmark = pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")

ROOT = Path(__file__).parents[2]
AT_ONCE = 40
"""Seconds for what is at once and seen through another process's rows; the waits themselves would last 50."""

A_WAIT_OF_ALICE = """
    SELECT FROM attachments t JOIN agents a ON a.id = t.agent_id JOIN processes p ON p.id = t.process_id
    WHERE a.external_id = 'alice' AND t.kind = 'wait' AND p.lease_until > clock_timestamp()
"""
A_WAIT_FOR_AN_ANSWER = "SELECT FROM questions WHERE state = 'open' AND awaited_by IS NOT NULL"
ALICE_ATTENDS = """
    SELECT FROM meeting_members m JOIN agents a ON a.id = m.agent_id
    WHERE a.external_id = 'alice' AND m.status = 'attending'
"""

VERSIONS = {"auto": LATEST_MODERN_VERSION, "legacy": LATEST_HANDSHAKE_VERSION}
EXPECTED = Path(__file__).with_name("transcript.txt")


@pytest.mark.requirement("mcp:transports:same")
@every_wire
async def test_every_transport_tells_the_same_in_both_eras(dsn: str, transport: Transport, era: Era) -> None:
    transcript, told = Transcript(), asyncio.Queue[str]()

    async def message(received: Any) -> None:
        if isinstance(received, ResourceUpdatedNotification):
            told.put_nowait(str(received.params.uri))

    async with (
        wired(dsn, *AGENTS, transport=transport, era=era, progress_interval=0.05) as wire,
        AsyncExitStack() as stack,
    ):
        alice, bob, carol = [
            await stack.enter_async_context(wire.connect(agent, message_handler=message)) for agent in AGENTS
        ]
        assert {one.client.protocol_version for one in (alice, bob, carol)} == {VERSIONS[era]}
        await Scenario(transcript, alice, bob, carol, told).play(era)
    changed = difflib.unified_diff(
        EXPECTED.read_text(encoding="utf-8").splitlines(keepends=True),
        str(transcript).splitlines(keepends=True),
        EXPECTED.name,
        f"{transport}-{era}",
    )
    assert not (difference := "".join(changed)), f"not what {EXPECTED} says:\n{difference}"


class Leaving(Protocol):
    """A client that makes calls, and goes while they are held."""

    async def begin(self, tool: str, /, **arguments: Any) -> None: ...
    async def leave(self) -> None: ...


class Cancelling:
    """A client whose user thinks better of it: the calls are cancelled, the connection stays."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._calls: list[asyncio.Task[Any]] = []

    async def begin(self, tool: str, /, **arguments: Any) -> None:
        self._calls.append(asyncio.create_task(self._host.result(tool, **arguments)))

    async def leave(self) -> None:
        assert not any(call.done() for call in self._calls)
        for call in self._calls:
            call.cancel()
        await asyncio.wait(self._calls)
        assert all(call.cancelled() for call in self._calls)


class Dying:
    """A client in a process of its own, which is killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def begin(self, tool: str, /, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([tool, arguments]).encode() + b"\n")
        await self._process.stdin.drain()

    async def leave(self) -> None:
        assert self._process.returncode is None
        self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def leaving(wire: Wire, agent: str, how: str, directory: Path) -> AsyncGenerator[Leaving]:
    if how == "cancels":
        async with wire.connect(agent) as host:
            yield Cancelling(host)
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.mcp_server.programs.caller", json.dumps(wire.arguments(agent))),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=directory,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(BOUND):
            assert await process.stdout.readline() == b"connected\n"
        yield Dying(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until(dsn: str, there_is: bool, query: str) -> float:
    """Look until the query finds something, or nothing; gives how long that took."""
    began = time.perf_counter()
    async with asyncio.timeout(AT_ONCE), connect(dsn) as database:
        while (await database.fetchrow(query) is not None) is not there_is:  # noqa: ASYNC110 - another process's rows
            await asyncio.sleep(0.01)
    return time.perf_counter() - began


@pytest.mark.requirement("mcp:transports:gone")
@every_wire
@pytest.mark.parametrize("how", ["cancels", "is killed"])
async def test_the_waits_of_a_client_that_goes_end_at_once_and_nothing_is_lost(
    dsn: str, transport: Transport, era: Era, how: str, tmp_path: Path
) -> None:
    async with (
        wired(dsn, "alice", transport=transport, era=era) as wire,
        host(dsn, "bob") as bob,
        host(dsn, "carol") as carol,
    ):
        for other in (bob, carol):
            await other.call("list_agents")
        async with leaving(wire, "alice", how, tmp_path) as alice:
            await alice.begin("check_inbox", from_agent="carol", wait_seconds=50)
            await until(dsn, True, A_WAIT_OF_ALICE)
            meeting = (await bob.status("create_meeting", title="T", agents="alice"))["meeting"]
            await bob.status("attend_meeting", meeting=meeting, wait_seconds=0)
            await alice.begin("attend_meeting", meeting=meeting, wait_seconds=50)
            await until(dsn, True, ALICE_ATTENDS)
            await alice.begin("send_and_wait", to="bob", message="Which?", wait_seconds=50)
            question = (await bob.status("check_inbox", wait_seconds=WAIT))["items"][0]["question"]
            await until(dsn, True, A_WAIT_FOR_AN_ANSWER)
            await alice.leave()
            released = await until(dsn, False, A_WAIT_FOR_AN_ANSWER)
            forgotten = await until(dsn, False, A_WAIT_OF_ALICE)
            print(
                f"{transport} {era} {how}: question free after {released:.2f} s, all waits told after {forgotten:.2f} s"
            )
            if how == "is killed":
                assert await asyncio.to_thread(left_after, AT_ONCE, tmp_path) == {}, "its server on stdio has ended too"

            await carol.call("send", to="alice", message="News.")
            async with wire.connect("alice") as again:
                asked = await again.status("send_and_wait", to="bob", message="Which?", wait_seconds=0)
                assert asked["question"] == question, "nobody waits for it, so it is taken up"
                await bob.call("reply", question=question, message="This.")
                came = await again.status("check_inbox", wait_seconds=WAIT)
                assert [item["text"] for item in came["items"] if "text" in item] == ["News.", "This."]
                await bob.status("start_meeting", meeting=meeting, message="Hello.", wait_seconds=0)
                turn = await again.status("attend_meeting", meeting=meeting, wait_seconds=WAIT)
                assert (turn["status"], [speech["text"] for speech in turn["said"]]) == ("your_turn", ["Hello."])
