"""Messages to a handler of the sending process: stored as claimed, and handed over without being looked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent_messaging import AgentMessaging, MessageContext
from agent_messaging_db import conversations, deliveries, silences
from tests.protocol.world import SWEEP_OFF, eventually, fetch, opened

BOUND = 60.0
CLAIMED = "SELECT claimed_by, attempt, read_at FROM deliveries WHERE kind <> 'answer' ORDER BY id"


async def at_rest(sdk: AgentMessaging[Any]) -> None:
    """The handlers have looked for what waited when they were registered."""
    await sdk.get_agent("bob")

    async def looked() -> bool:
        return not any(desk.may_have_more for desk in sdk._handlers._desks.values()) and not sdk._handlers._work

    await eventually(looked)


@pytest.mark.requirement("handler:taken")
async def test_what_is_sent_to_a_handler_here_is_handled_without_a_claim(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = 0
    claim = deliveries.claim

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal claims
        claimed = await claim(*arguments, **options)
        claims += len(claimed)
        return claimed

    monkeypatch.setattr(deliveries, "claim", counted)
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk, asyncio.timeout(BOUND):
        handled: list[tuple[Any, int]] = []

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> Any:
            handled.append((message, context.attempt))
            return "yes" if context.requires_reply else None

        await at_rest(sdk)
        assert await sdk.sync_conversation.send_and_wait("alice", "bob", "question") == "yes"
        await sdk.async_conversation.send("alice", "bob", "async")
        await sdk.one_way.send("alice", "bob", "one way")

        async def finished() -> bool:
            return all(row["read_at"] for row in await fetch(dsn, CLAIMED))

        await eventually(finished)
        assert handled == [("question", 1), ("async", 1), ("one way", 1)]
        assert claims == 0


@pytest.mark.requirement("handler:taken")
async def test_what_came_before_from_another_process_is_handled_first(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as here,
        opened(dsn, sweep_interval=SWEEP_OFF) as there,
        asyncio.timeout(BOUND),
    ):
        handled: list[Any] = []
        going_on = asyncio.Event()

        @here.register_handler("bob")
        async def handle(message: Any, _context: MessageContext) -> None:
            handled.append(message)
            if len(handled) == 3:
                going_on.set()

        await at_rest(here)
        # As if its wake-up were still on the way.
        monkeypatch.setattr(here._handlers, "poke", lambda _: None)
        await there.async_conversation.send("alice", "bob", "first")
        await here.async_conversation.send("alice", "bob", "second")
        assert handled == []
        monkeypatch.undo()
        await here.async_conversation.send("alice", "bob", "third")
        await going_on.wait()
        assert handled == ["first", "second", "third"]


@pytest.mark.requirement("handler:taken")
async def test_what_was_taken_by_a_try_whose_outcome_was_lost_is_handled_all_the_same(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk, asyncio.timeout(BOUND):
        handled = asyncio.Event()

        @sdk.register_handler("bob")
        async def handle(_message: Any, _context: MessageContext) -> None:
            handled.set()

        await at_rest(sdk)
        tries: list[bool] = []
        send = conversations.send_messages

        async def lose_the_first(*arguments: Any, again: bool, **options: Any) -> Any:
            verdicts = await send(*arguments, again=again, **options)
            tries.append(again)
            if not again:
                assert verdicts[0].taken
                raise ConnectionResetError
            return verdicts

        monkeypatch.setattr(conversations, "send_messages", lose_the_first)
        await sdk.async_conversation.send("alice", "bob", "hello")
        assert tries == [False, True]
        assert not handled.is_set()

        async def swept() -> bool:
            await sdk._sweep._sweep()
            return handled.is_set()

        await eventually(swept)

        async def read() -> bool:
            return all(row["read_at"] for row in await fetch(dsn, CLAIMED))

        await eventually(read)


@pytest.mark.requirement("handler:taken")
@pytest.mark.parametrize("why", ["silenced", "without a lease", "no room"])
async def test_nothing_is_taken_where_the_handler_would_not_claim_it(dsn: str, why: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF, handler_concurrency=1) as sdk:
        entered, going_on = asyncio.Event(), asyncio.Event()

        @sdk.register_handler("bob")
        async def handle(_message: Any, _context: MessageContext) -> None:
            entered.set()
            await going_on.wait()

        await at_rest(sdk)
        if why == "silenced":
            async with sdk._engine.database.connection() as connection:
                bob = await sdk._engine.names.agent("bob")
                await silences.set_silence(connection, subject=bob.id, until=None, seconds=None)
        elif why == "without a lease":
            await sdk._engine.lease.stop()
            await fetch(dsn, "UPDATE processes SET lease_until = clock_timestamp() - interval '1 second'")
        else:
            await sdk.async_conversation.send("alice", "bob", "one")
            async with asyncio.timeout(BOUND):
                await entered.wait()
        await sdk.async_conversation.send("alice", "bob", "two")
        *_, last = await fetch(dsn, CLAIMED)
        assert (last["claimed_by"], last["attempt"]) == (None, 0)
        going_on.set()
