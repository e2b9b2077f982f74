"""The way to the database freezes, and nobody closes a connection: calls and waits outlive it on new connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from agent_messaging import AgentMessaging
from chaos.proxy import Proxy, proxied
from chaos.proxy_link import Fault
from tests.promises import kept
from tests.protocol.world import SWEEP_OFF, eventually, opened, question_is_open, register

BOUND = 20.0
"""Seconds; without noticing, a command waits 30 for its answer."""
PAIRS = 6


@asynccontextmanager
async def frozen_later(dsn: str, *names: str, **options: Any) -> AsyncGenerator[tuple[Proxy, AgentMessaging[Any]]]:
    """A process whose every connection goes through the proxy."""
    async with proxied(dsn) as proxy, opened(proxy.dsn, *names, **options) as sdk:
        yield proxy, sdk


@pytest.mark.requirement("wakeups:frozen")
async def test_waits_end_although_every_connection_froze_with_the_sweep_off(dsn: str) -> None:
    names = [f"agent{number}" for number in range(PAIRS)]
    options = {"sweep_interval": SWEEP_OFF, "default_conversation_timeout": 60}
    async with opened(dsn, "peer", *names, **options) as peer, frozen_later(dsn, **options) as (proxy, sdk):
        asking = [
            asyncio.create_task(sdk.sync_conversation.send_and_wait(name, "peer", "?")) for name in names[: PAIRS // 2]
        ]
        reading = [asyncio.create_task(sdk.inbox.wait(name, 60)) for name in names[PAIRS // 2 :]]

        async def blocked() -> bool:
            return sdk.measures.snapshot().waits_open == PAIRS and sdk.measures.snapshot().pool_in_use == 0

        await eventually(blocked)
        assert proxy.freeze() >= 2
        for name in names[: PAIRS // 2]:
            await peer.sync_conversation.reply("peer", name, "yes")
        for name in names[PAIRS // 2 :]:
            await peer.async_conversation.send("peer", name, "look")
        async with asyncio.timeout(BOUND):
            answers, pages = await asyncio.gather(*asking), await asyncio.gather(*reading)
        assert proxy.fired[Fault.WITHHELD] > 0
        proxy.thaw()
        broken = sum(answer != "yes" for answer in answers) + sum(not page.items for page in pages)
        kept("R6", "every connection of a waiting process frozen, sweep off", tried=PAIRS, broken=broken)


@pytest.mark.requirement("outage:frozen-pool")
async def test_calls_and_waits_go_on_although_every_connection_froze_but_the_one_that_listens(dsn: str) -> None:
    options = {"sweep_interval": SWEEP_OFF, "default_conversation_timeout": 60}
    async with (
        opened(dsn, "alice", "bob", **options) as peer,
        frozen_later(dsn, listen_database_url=SecretStr(dsn), **options) as (proxy, sdk),
    ):
        await asyncio.gather(*(sdk.inbox.page("alice") for _ in range(4)))
        asking = asyncio.create_task(sdk.sync_conversation.send_and_wait("alice", "bob", "?"))
        await eventually(lambda: question_is_open(peer, "bob"))
        proxy.freeze()
        await peer.sync_conversation.reply("bob", "alice", "yes")
        async with asyncio.timeout(BOUND):
            sent = asyncio.gather(*(sdk.async_conversation.send("alice", "bob", number) for number in range(4)))
            answer = await asking
            await sent
        assert proxy.fired[Fault.WITHHELD] > 0
        proxy.thaw()
        got = await peer.async_conversation.get_unread_messages("bob")
        broken = (answer != "yes") + (sorted(got) != list(range(4)))
        kept("R6", "every connection of a waiting process frozen but the one that listens", tried=5, broken=broken)


@pytest.mark.requirement("outage:frozen")
async def test_a_call_on_a_frozen_connection_is_made_again_on_a_new_one_and_takes_effect_once(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as peer, frozen_later(dsn) as (proxy, sdk):
        await sdk.async_conversation.send("alice", "bob", 0)
        proxy.freeze()
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*(sdk.async_conversation.send("alice", "bob", number) for number in range(1, 9)))
        assert proxy.fired[Fault.WITHHELD] > 0
        proxy.thaw()  # what was held back arrives after all, and changes nothing
        got = await peer.async_conversation.get_unread_messages("bob")
        assert sorted(got) == list(range(9))


@pytest.mark.requirement("outage:frozen")
async def test_a_call_that_is_cancelled_on_a_frozen_connection_ends(dsn: str) -> None:
    async with frozen_later(dsn, "alice", "bob") as (proxy, sdk):
        await sdk.async_conversation.send("alice", "bob", "warm")
        proxy.freeze()
        reading = asyncio.create_task(sdk.inbox.page("bob"))

        async def withheld() -> bool:
            return proxy.fired[Fault.WITHHELD] > 0

        await eventually(withheld)
        reading.cancel()
        async with asyncio.timeout(BOUND):
            await asyncio.wait([reading])
            await register(sdk, "carol")


@pytest.mark.requirement("outage:frozen")
async def test_closing_over_a_frozen_way_is_bounded(dsn: str) -> None:
    async with proxied(dsn) as proxy:
        async with asyncio.timeout(BOUND * 2):
            async with opened(proxy.dsn, "alice", "bob", database_patience=1) as sdk:
                waiting = asyncio.create_task(sdk.sync_conversation.send_and_wait("alice", "bob", "?", 60))
                await eventually(lambda: question_is_open(sdk, "bob"))
                proxy.freeze(new=True)
        await asyncio.wait([waiting])
