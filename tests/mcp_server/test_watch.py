"""`agent-messaging watch`: what needs an agent, a line each, at least once."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import MCPError

from agent_messaging import AgentMessaging
from chaos.grounds import ground
from tests.conftest import connect
from tests.mcp_server.hosts import Host, network_host
from tests.mcp_server.serving import Served, config_of, serving, tokens_of
from tests.promises import tries
from tests.protocol.world import opened

BOUND = 60
NOTHING_THERE = 3


class Watch:
    """The command as a process of its own, and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(BOUND):
            line = await self.process.stdout.readline()
        assert line, "it has ended"
        return line.decode().rstrip("\n")

    async def item(self) -> dict[str, Any]:
        return json.loads(await self.line())

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def watching(dsn: str, *options: str, organization: str = "acme") -> AsyncGenerator[Watch]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent_messaging_mcp", "watch", "--agent", "alice", "--organization", organization, *options),
        env={"DATABASE_URL": dsn, "PATH": os.environ.get("PATH", os.defpath)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    watch = Watch(process)
    try:
        yield watch
    finally:
        await watch.kill()


async def ran(dsn: str, *options: str) -> tuple[int, str, str]:
    async with watching(dsn, *options) as watch, asyncio.timeout(BOUND):
        printed, said = await watch.process.communicate()
    assert watch.process.returncode is not None
    return watch.process.returncode, printed.decode(), said.decode()


@pytest.mark.requirement("cli:watch")
@pytest.mark.timeout(600)
async def test_over_two_restarts_each_item_is_printed_and_none_is_marked(dsn: str) -> None:
    items = tries(400, 10_000)
    printed: set[str] = set()
    async with opened(dsn, "alice", "bob") as sdk:

        async def send(words: range) -> None:
            for start in range(words.start, words.stop, 100):
                batch = range(start, min(start + 100, words.stop))
                await asyncio.gather(*(sdk.async_conversation.send("bob", "alice", str(word)) for word in batch))

        third = items // 3
        for run in range(3):
            async with watching(dsn, "--json") as watch:
                sending = asyncio.create_task(send(range(run * third, items if run == 2 else (run + 1) * third)))
                wanted = items if run == 2 else run * third + third // 2
                while len(printed) < wanted:
                    printed.add((await watch.item())["content"])
                await watch.kill()  # in the middle of its work, but for the last time
                await sending
        assert printed == {str(word) for word in range(items)}
        unread = await sdk.inbox.page("alice", limit=1)
        assert unread.more == min(items - 1, 1_000)
        assert not unread.items[0].shown


class Sender:
    """Bob's host, which sends numbers to alice through a server, over and over until each has been sent."""

    def __init__(self, served: Served, token: str, items: int) -> None:
        self._served = served
        self._token = token
        self._left = list(range(items))[::-1]

    async def send(self) -> None:
        """Send what is left, beside others that do."""
        while self._left:
            try:
                async with network_host(self._served.address, self._token, "bob", transport="http") as bob:
                    while self._left:
                        await self._send_one(bob)
            except* (MCPError, httpx2.HTTPError, OSError):  # it has gone, or has no database
                await asyncio.sleep(0.05)

    async def _send_one(self, bob: Host) -> None:
        word = str(self._left.pop())
        try:
            sent = await bob.status("send", to="alice", message=word, key=word)
            assert sent["status"] == "sent", sent
        except BaseException:
            self._left.append(int(word))  # with the same key: if it was sent, nothing is sent again
            raise


@pytest.mark.requirement("cli:watch")
@pytest.mark.timeout(1_800)
async def test_over_restarts_of_the_server_and_of_the_database_none_is_lost() -> None:
    items, printed = tries(300, 10_000), set[str]()
    async with ground() as database:
        tokens = await tokens_of(database.dsn, "alice", "bob")
        async with AgentMessaging[Any](config_of(database.dsn)) as sdk:
            await sdk.as_agent("alice").called()
        limits = {"AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE": "1000000", "MAX_UNREAD": "100000"}
        async with (
            serving(database.dsn, **limits) as served,
            watching(database.dsn, "--json", organization="default") as watch,
        ):
            sender = Sender(served, tokens["bob"], items)
            sending = [asyncio.create_task(sender.send()) for _ in range(4)]

            async def see(wanted: int) -> None:
                while len(printed) < wanted:
                    printed.add((await watch.item())["content"])

            await see(items // 3)
            await served.kill()
            await served.start()
            await see(items * 2 // 3)
            await database.restart()
            await see(items)
            await asyncio.gather(*sending)
        assert printed == {str(word) for word in range(items)}
        unread = await database_unread(database.dsn)
        assert unread == items, "each was sent once, and none is marked read"


async def database_unread(dsn: str) -> int:
    async with connect(dsn) as connection:
        return await connection.fetchval("SELECT count(*) FROM deliveries WHERE read_at IS NULL")


@pytest.mark.requirement("cli:watch")
async def test_once_prints_what_is_there_and_its_exit_code_says_whether_anything_is(dsn: str) -> None:
    assert await ran(dsn, "--once") == (NOTHING_THERE, "", "")
    async with opened(dsn, "alice", "bob") as sdk:
        await sdk.async_conversation.send("bob", "alice", "two\nlines\x1b[31m")
        question = asyncio.create_task(sdk.sync_conversation.send_and_wait("bob", "alice", "May I?", timeout=0.1))
        await asyncio.gather(question, return_exceptions=True)
    code, printed, said = await ran(dsn, "--once")
    first, second = printed.splitlines()
    assert (code, said) == (0, "")
    assert first.startswith("message from bob, ")
    assert "\x1b" not in printed
    assert "two lines" in first
    assert second.startswith("question q")


@pytest.mark.requirement("cli:watch-exec")
async def test_a_command_gets_each_item_as_json_and_one_that_fails_stops_nothing(dsn: str, tmp_path: Path) -> None:
    got = tmp_path / "got"
    async with opened(dsn, "alice", "bob") as sdk, watching(dsn, "--exec", f"cat >> '{got}'; exit 7") as watch:
        for words in ("one", "two"):
            await sdk.async_conversation.send("bob", "alice", words)
            assert (await watch.line()).endswith(f": {words}")
            assert watch.process.stderr is not None
            async with asyncio.timeout(BOUND):
                assert await watch.process.stderr.readline() == b"the command ended with 7 on message\n"
        assert [json.loads(line)["content"] for line in got.read_text().splitlines()] == ["one", "two"]


@pytest.mark.requirement("cli:watch")
async def test_it_ends_when_nobody_reads_it_any_more(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, watching(dsn) as watch:
        await sdk.async_conversation.send("bob", "alice", "one")
        await watch.line()
        assert watch.process.stdout is not None
        transport: Any = watch.process.stdout._transport  # pyright: ignore
        transport.close()
        for _ in range(50):
            await sdk.async_conversation.send("bob", "alice", "more")
        async with asyncio.timeout(BOUND):
            assert await watch.process.wait() in (0, 1)
