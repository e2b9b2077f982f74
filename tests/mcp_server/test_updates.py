"""Updates are level triggers: one unsent per client and URI, and no client holds up anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from mcp import MCPError
from mcp_types import SubscribeRequestParams

from agent_messaging_mcp import identity, updates
from agent_messaging_mcp.calls import Agendas, Desk
from agent_messaging_mcp.limits import Rate
from agent_messaging_mcp.metrics import Numbers
from agent_messaging_mcp.service import Service, opened_for
from agent_messaging_mcp.updates import MOST_URIS, News, Updates
from agent_messaging_mcp.waits import Waits
from tests.conftest import execute
from tests.mcp_server.hosts import config_of, host

INBOX = "messaging://inbox"
LOSE_THE_CHANNEL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE '%listener'
"""


@pytest.mark.requirement("mcp:updates:level")
async def test_news_of_one_page_waits_once_and_the_oldest_is_told_first() -> None:
    news = News()
    for uri in ("a", "b", "a", "a", "b"):
        news.about(uri)
    assert [await news.next(), await news.next()] == ["a", "b"]
    with anyio.move_on_after(0.05) as scope:
        await news.next()
    assert scope.cancelled_caught
    news.about("a")
    assert await news.next() == "a"


class Client:
    """A connection of the 2025 era that takes updates only while it is let."""

    def __init__(self) -> None:
        self.exit_stack = AsyncExitStack()
        self.reading = asyncio.Event()
        self.taken: list[str] = []
        self.taken_one = asyncio.Event()

    async def notify(self, method: str, params: dict[str, str]) -> None:
        assert method == "notifications/resources/updated"
        await self.reading.wait()
        self.taken.append(params["uri"])
        self.taken_one.set()

    async def takes_one_after(self, change: Coroutine[Any, Any, object]) -> None:
        """Make a change, and wait until it has been told; several changes may be told as one."""
        self.taken_one.clear()
        await change
        with anyio.fail_after(90):
            await self.taken_one.wait()

    def request(self) -> Any:
        """A new session for every request, as the SDK makes them."""
        return SimpleNamespace(session=SimpleNamespace(_connection=self))


class Followed:
    """The updates of bob's server, on a real database."""

    def __init__(self, dsn: str) -> None:
        self.service = Service(opened_for("bob", "default", config_of(dsn)))
        waits = Waits(longest=50, progress_interval=10)
        self.updates = Updates(Desk(self.service, waits, Agendas(), Rate(600), Numbers()))

    async def subscribe(self, client: Client, uri: str = INBOX) -> None:
        with identity.acting_as("bob"):
            await self.updates._subscribe(client.request(), SubscribeRequestParams(uri=uri))


@pytest.mark.requirement("mcp:updates:level")
async def test_a_client_that_does_not_take_updates_has_one_unsent(dsn: str) -> None:
    followed = Followed(dsn)
    client, other = Client(), Client()
    other.reading.set()
    async with host(dsn, "alice") as alice:
        await followed.subscribe(client)
        await followed.subscribe(client)
        await followed.subscribe(other)
        for number in range(10):
            await other.takes_one_after(alice.call("send", to="bob", message=str(number)))
        client.reading.set()
        await client.takes_one_after(alice.call("send", to="bob", message="last"))
        assert 2 <= len(client.taken) <= 4, "the one that was being sent, one for all that came meanwhile, the last"
        await client.exit_stack.aclose()
        await other.exit_stack.aclose()
    await followed.service.close()


@pytest.mark.requirement("mcp:updates:patience")
async def test_a_client_that_takes_none_for_too_long_loses_its_subscriptions(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert updates.PATIENCE_SECONDS == 5
    monkeypatch.setattr(updates, "PATIENCE_SECONDS", 0.2)
    followed = Followed(dsn)
    dead, alive = Client(), Client()
    alive.reading.set()
    async with host(dsn, "alice") as alice:
        await followed.subscribe(dead)
        await followed.subscribe(alive)
        [sending] = [known.sending for known in followed.updates._connections.values() if known.connection is dead]
        assert sending is not None
        await alive.takes_one_after(alice.call("send", to="bob", message="one"))
        await asyncio.wait_for(asyncio.shield(sending), 90)
        assert [known.connection for known in followed.updates._connections.values()] == [alive]
        await alive.takes_one_after(alice.call("send", to="bob", message="two"))
        await dead.exit_stack.aclose()
        await alive.exit_stack.aclose()
    assert followed.updates._connections == {}, "a closed connection leaves nothing behind"
    await followed.service.close()


@pytest.mark.requirement("mcp:updates:level")
async def test_a_connection_has_a_bounded_number_of_subscriptions(dsn: str) -> None:
    followed = Followed(dsn)
    client = Client()
    for number in range(MOST_URIS):
        await followed.subscribe(client, f"messaging://inbox?page={number}")
    with pytest.raises(MCPError):
        await followed.subscribe(client, f"messaging://inbox?page={MOST_URIS}")
    await client.exit_stack.aclose()
    await followed.service.close()


@pytest.mark.requirement("mcp:updates:lost-channel")
async def test_after_a_lost_channel_every_followed_page_is_told_once(dsn: str) -> None:
    followed = Followed(dsn)
    client = Client()
    client.reading.set()
    uris = [INBOX, "messaging://agents", "messaging://meetings"]
    for uri in uris:
        await followed.subscribe(client, uri)
    await execute(dsn, LOSE_THE_CHANNEL)
    with anyio.fail_after(90):
        while not set(uris) <= set(client.taken):
            client.taken_one.clear()
            await client.taken_one.wait()
    await client.exit_stack.aclose()
    await followed.service.close()
