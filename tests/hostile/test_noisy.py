"""A noisy agent harms only itself: its limits hold, and whoever else is there is served meanwhile. How fast is measured
by `python -m tests.hostile.noisy`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from agent_messaging import InboxFullError, InvalidSessionStateError
from tests.conftest import connect
from tests.hostile.noise import LARGE, Noise, noisy
from tests.hostile.noisy import answers, asked
from tests.mcp_server.serving import serving, tokens_of
from tests.mcp_server.wire import Wire
from tests.promises import kept, tries
from tests.protocol.world import eventually, opened

MOST_WAITS = 16
QUESTIONS = 10


@pytest.mark.requirement("mcp:limits:waits")
@pytest.mark.requirement("mcp:limits:neighbours")
@pytest.mark.timeout(900)
async def test_beside_a_thousand_waits_and_floods_over_http_neighbours_are_served(dsn: str) -> None:
    total = tries(300, 5_000)
    tokens = await tokens_of(dsn, "alice", "bob", "mallory", "victim")
    most, took, noise = 0, list[float](), Noise()
    async with serving(dsn) as server, connect(dsn) as database, anyio.create_task_group() as tasks:
        wire = Wire(server.address)

        async def look() -> None:
            nonlocal most
            while True:
                found = await database.fetchval(
                    "SELECT count(*) FROM attachments t JOIN agents a ON a.id = t.agent_id "
                    "WHERE t.kind = 'wait' AND a.external_id = 'mallory'"
                )
                most = max(most, found)
                await asyncio.sleep(0.05)

        ready = anyio.Event()
        tasks.start_soon(answers, wire, tokens["bob"], ready)
        await ready.wait()
        tasks.start_soon(look)
        async with noisy(wire, tokens["mallory"], total=total, every=0.002) as noise:
            took = await asked(wire, tokens["alice"], "bob", QUESTIONS)
            with anyio.fail_after(600):
                while noise.refused.total() < total / 10 or noise.total < total:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.1)
            took += await asked(wire, tokens["alice"], "bob", QUESTIONS)
        tasks.cancel_scope.cancel()
    print(dict(noise.asked), dict(noise.refused))
    assert noise.refused.keys() - {"no answer"}, "nothing was refused: the noise was none"
    assert 0 < most <= MOST_WAITS
    kept("R17", "requests of one agent over HTTP beside its neighbours", tried=noise.total, questions=len(took))


@pytest.mark.requirement("mcp:limits:neighbours")
@pytest.mark.timeout(300)
async def test_beside_waits_and_floods_in_the_same_program_neighbours_are_served(dsn: str) -> None:
    """In Python nobody counts, so it is the pool and the inbox that must not be used up."""
    total = tries(300, 5_000)
    refused: list[str] = []
    async with (
        opened(dsn, "mallory", "victim", "idle", max_pool_size=4, max_unread=100) as sdk,
        opened(dsn, "alice", "bob", max_pool_size=4) as other,
        anyio.create_task_group() as tasks,
    ):

        @other.register_handler("bob")
        async def answer(_message: Any, _context: Any) -> str:
            return "yes"

        async def noise(number: int) -> None:
            try:
                if number % 3:
                    await sdk.sync_conversation.send_and_wait("mallory", "idle", str(number), 600)
                else:
                    await sdk.async_conversation.send("mallory", "victim", LARGE)
            except (InboxFullError, InvalidSessionStateError) as limit:
                refused.append(type(limit).__name__)

        async def one_more_is_refused() -> bool:
            try:
                await sdk.async_conversation.send("mallory", "victim", "one more")
            except InboxFullError:
                return True
            return False

        for number in range(total):
            tasks.start_soon(noise, number)
        with anyio.fail_after(200):
            for number in range(QUESTIONS):
                assert await other.sync_conversation.send_and_wait("alice", "bob", number, 60) == "yes"
                # In the process of the noise, too.
                assert await sdk.sync_conversation.send_and_wait("alice", "bob", -1 - number, 60) == "yes"
            while len(refused) < total / 3:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
            # How full an inbox is may be known a second late, and the flood may still be on its way.
            await eventually(one_more_is_refused)
        tasks.cancel_scope.cancel()
    assert {"InboxFullError", "InvalidSessionStateError"} <= set(refused) or total < 600
    kept("R17", "waits and floods of one agent in a program", tried=total, refused=len(refused))
