"""The server as a process: what it writes, when it answers, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_types.version import LATEST_MODERN_VERSION

from tests.mcp_server.hosts import Era, Host, both_eras, host

LONG_ENOUGH = 90


class Pipe:
    """A host that speaks the wire format itself, and sees every byte that the server writes."""

    def __init__(self, process: asyncio.subprocess.Process, era: Era) -> None:
        self.process = process
        self._era = era
        self._last = 0

    async def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        with anyio.fail_after(LONG_ENOUGH):
            line = await self.process.stdout.readline()
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return message

    async def rest(self) -> list[dict[str, Any]]:
        """All that is still to come, up to the end."""
        assert self.process.stdout is not None
        with anyio.fail_after(LONG_ENOUGH):
            lines = (await self.process.stdout.read()).splitlines()
        return [json.loads(line) for line in lines]

    async def write(self, method: str, params: dict[str, Any] | None = None, *, request: bool = True) -> int:
        assert self.process.stdin is not None
        params = dict(params or {})
        if self._era == "auto":
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": LATEST_MODERN_VERSION,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
        if request:
            self._last += 1
            message["id"] = self._last
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        await self.process.stdin.drain()
        return self._last

    async def greet(self) -> dict[str, Any]:
        """The first exchange of this era, as far as a host needs it."""
        if self._era == "auto":
            await self.write("server/discover")
            return (await self.read())["result"]
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        await self.write("initialize", client)
        greeting = (await self.read())["result"]
        await self.write("notifications/initialized", request=False)
        return greeting

    async def call(self, tool: str, /, **arguments: Any) -> int:
        return await self.write("tools/call", {"name": tool, "arguments": arguments})

    async def called(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        await self.call(tool, **arguments)
        return await self.read()

    async def exit_code(self, within: float) -> int:
        with anyio.fail_after(within):
            return await self.process.wait()

    async def log(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


@asynccontextmanager
async def served(era: Era, *arguments: str, cwd: Path | None = None, **environment: str) -> AsyncGenerator[Pipe]:
    """A server process, ended if it has not ended by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agent_messaging_mcp",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", ""), **environment},
        cwd=cwd,
    )
    try:
        yield Pipe(process, era)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def asked(bob: Host) -> str:
    """The question that bob is asked, once it is."""
    came = await bob.status("check_inbox", wait_seconds=50)
    question: str = came["items"][0]["question"]
    return question


@pytest.mark.requirement("mcp:stdio:handshake-first")
@both_eras
async def test_the_handshake_is_answered_and_tools_are_listed_without_a_database(era: Era) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    async with served(era, "--agent", "alice", DATABASE_URL=nowhere, DATABASE_PATIENCE="0") as pipe:
        greeting = await pipe.greet()
        assert "You are the agent alice." in greeting["instructions"]
        await pipe.write("tools/list")
        assert len((await pipe.read())["result"]["tools"]) == 14

        outage = (await pipe.called("list_agents"))["error"]
        assert outage["code"] == -32603
        assert outage["message"].endswith("Try again later.")
        assert "Traceback" not in outage["message"]
        assert "127.0.0.1" not in outage["message"]


@pytest.mark.requirement("mcp:stdio:retry")
async def test_the_call_after_a_failed_start_tries_again(empty_dsn: str) -> None:
    # Not migrated, and not to be: the first call cannot be served. Then somebody else migrates.
    async with served("auto", "--agent", "alice", DATABASE_URL=empty_dsn, AUTO_MIGRATE="false") as pipe:
        await pipe.greet()
        assert "error" in await pipe.called("list_agents")
        async with host(empty_dsn, "bob") as bob:
            await bob.call("list_agents")
            answered = await pipe.called("list_agents")
            assert "You are alice" in answered["result"]["content"][0]["text"]


@pytest.mark.requirement("mcp:identity:directory")
async def test_the_agent_is_named_by_the_directory_unless_it_is_given(dsn: str, tmp_path: Path) -> None:
    directory = tmp_path / "My Project!"
    directory.mkdir()
    async with served("auto", cwd=directory, DATABASE_URL=dsn) as pipe:
        assert "You are the agent My-Project." in (await pipe.greet())["instructions"]
    async with served("auto", cwd=directory, DATABASE_URL=dsn, AGENT_MESSAGING_AGENT="zoe") as pipe:
        assert "You are the agent zoe." in (await pipe.greet())["instructions"]
        told = await pipe.called("list_agents")
        assert "You are zoe, of organization default" in told["result"]["structuredContent"]["now"]


@pytest.mark.requirement("mcp:stdio:end-of-input")
@both_eras
async def test_the_end_of_input_ends_the_process_and_its_waits(dsn: str, era: Era) -> None:
    async with host(dsn, "bob") as bob, served(era, "--agent", "alice", DATABASE_URL=dsn) as pipe:
        await bob.call("list_agents")
        await pipe.greet()
        await pipe.call("send_and_wait", to="bob", message="Still there?", wait_seconds=50)
        question = await asked(bob)
        assert pipe.process.stdin is not None
        pipe.process.stdin.close()
        assert await pipe.exit_code(within=LONG_ENOUGH) == 0
        await bob.call("reply", question=question, message="Yes.")
        async with host(dsn, "alice") as alice:
            assert (await alice.call("check_inbox", wait_seconds=50)).texts() == ["Yes."], "nothing is lost"


@pytest.mark.requirement("mcp:stdio:signals")
@both_eras
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_held_waits_with_the_call_that_continues_them(
    dsn: str, era: Era, number: signal.Signals
) -> None:
    async with host(dsn, "bob") as bob, served(era, "--agent", "alice", DATABASE_URL=dsn) as pipe:
        await bob.call("list_agents")
        await pipe.greet()
        asking = await pipe.call("send_and_wait", to="bob", message="Which?", wait_seconds=50)
        question = await asked(bob)
        checking = await pipe.call("check_inbox", wait_seconds=50)
        meeting = (await bob.status("create_meeting", title="T", agents="alice"))["meeting"]
        attending = await pipe.call("attend_meeting", meeting=meeting, wait_seconds=50)
        # The invitation ends the wait for anything, so that two waits are left.
        ended_before = await pipe.read()
        assert ended_before["id"] == checking

        pipe.process.send_signal(number)
        results = {message["id"]: message["result"]["structuredContent"] for message in await pipe.rest()}
        assert await pipe.exit_code(within=LONG_ENOUGH) == 0
        assert set(results) == {asking, attending}
        assert [results[request]["status"] for request in (asking, attending)] == ["waiting", "waiting"]
        assert results[asking]["next"] == "check_inbox(wait_seconds=45)"
        assert results[attending]["next"] == f'attend_meeting(meeting="{meeting}")'
        await bob.call("reply", question=question, message="This.")
        async with host(dsn, "alice") as alice:
            assert "This." in (await alice.call("check_inbox", wait_seconds=50)).texts()


@pytest.mark.requirement("mcp:stdio:signals")
async def test_a_signal_ends_a_process_whose_client_does_not_read(dsn: str) -> None:
    def request(number: int, method: str, **params: object) -> bytes:
        return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"

    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    async with host(dsn, "bob") as bob:
        await bob.call("list_agents")
        # Not asyncio's: its wait() ends only when the pipes have been read.
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "agent_messaging_mcp", "--agent", "alice"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "DATABASE_URL": dsn},
        )
        try:
            assert process.stdin is not None
            process.stdin.write(request(1, "initialize", **client))
            for number in range(2, 30):  # their answers are more than a pipe holds
                process.stdin.write(request(number, "tools/list"))
            process.stdin.write(request(30, "tools/call", name="send", arguments={"to": "bob", "message": "x"}))
            process.stdin.flush()
            assert (await bob.call("check_inbox", wait_seconds=50)).texts() == ["x"]
            process.terminate()
            assert await asyncio.to_thread(process.wait, LONG_ENOUGH) == 0
        finally:
            process.kill()
            process.communicate()


@pytest.mark.requirement("mcp:stdio:pure")
@both_eras
async def test_nothing_but_the_protocol_is_written_to_the_output(dsn: str, era: Era) -> None:
    async with served(era, "--agent", "alice", DATABASE_URL=dsn, AGENT_MESSAGING_LOG_LEVEL="DEBUG") as pipe:
        assert pipe.process.stdin is not None
        await pipe.greet()
        pipe.process.stdin.write(b"this is no message\n\n")
        await pipe.call("list_agents")
        await pipe.call("send", to="nobody", message="\x00")
        await pipe.call("nonsense")
        messages = [await pipe.read() for _ in range(4)]
        assert {message["id"] for message in messages} == {None, 2, 3, 4}
        pipe.process.stdin.close()
        assert await pipe.rest() == []
        assert await pipe.exit_code(within=LONG_ENOUGH) == 0
        assert "call tool=send status=refused" in await pipe.log()


@pytest.mark.requirement("mcp:stdio:presence")
async def test_an_agent_is_online_while_its_host_is_connected(dsn: str) -> None:
    async with host(dsn, "bob") as bob:
        await bob.call("list_agents")
        async with served("auto", "--agent", "alice", DATABASE_URL=dsn) as pipe:
            await pipe.greet()
            with anyio.fail_after(LONG_ENOUGH):
                while "alice: online" not in [block.label for block in await labels(bob)]:
                    pass
            assert (await bob.status("send", to="alice", message="You never called."))["status"] == "sent"


async def labels(reader: Host) -> Any:
    read = await Host(reader.agent, reader.client, "text").call("list_agents")
    return read.blocks


@pytest.mark.requirement("mcp:stdio:unreadable")
@both_eras
async def test_a_line_that_is_no_message_is_answered_with_an_error_and_the_next_one_is_served(era: Era) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    lines = {
        b"not JSON": -32700,
        b"\xff\xfe is not UTF-8": -32700,
        b"{": -32700,
        b"[]": -32600,
        b'{"jsonrpc": "2.0"}': -32600,
        b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}': -32600,
    }
    async with served(era, "--agent", "alice", DATABASE_URL=nowhere, DATABASE_PATIENCE="0") as pipe:
        await pipe.greet()
        assert pipe.process.stdin is not None
        for line, code in lines.items():
            pipe.process.stdin.write(line + b"\n\n")  # an empty line is nothing
            answer = await pipe.read()
            assert (answer["id"], answer["error"]["code"]) == (None, code), line
            await pipe.write("tools/list")
            assert "tools" in (await pipe.read())["result"]


@pytest.mark.requirement("mcp:stdio:unreadable")
async def test_a_long_line_in_small_pieces_arrives_as_it_was(dsn: str) -> None:
    async with served("auto", "--agent", "alice", DATABASE_URL=dsn) as pipe:
        await pipe.greet()
        text = "0123456789" * 20_000
        sent = await pipe.called("send", to="nobody", message=text, nonsense=text)
        assert "nonsense" in str(sent)
        assert (await pipe.called("list_agents"))["result"]["structuredContent"]["you"] == "alice"
