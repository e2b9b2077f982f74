"""Handlers that fail: tried again, given up, and never for an answered question."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from agent_messaging import (
    AgentMessaging,
    ConversationEndedError,
    HandlerFailedError,
    MessageContext,
    QuestionDeclinedError,
)
from tests.protocol.world import SWEEP_OFF, eventually, fetch, opened, within

SDK = AgentMessaging[Any]


async def _ask(sdk: SDK, message: Any, asker: str = "alice", recipient: str = "bob") -> Any:
    return await sdk.sync_conversation.send_and_wait(asker, recipient, message, 20)


@pytest.mark.requirement("handler:retry")
async def test_a_handler_that_raises_is_tried_again_and_counts_its_attempts(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", retry_backoff=0.02, sweep_interval=SWEEP_OFF) as sdk:
        attempts: list[int] = []

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> Any:
            attempts.append(context.attempt)
            match context.attempt:
                case 1:
                    raise ValueError("not yet")
                case 2:
                    raise asyncio.CancelledError("something inside was cancelled")
                case 3:
                    return object()  # no message
                case _:
                    return "at last"

        assert await _ask(sdk, "?") == "at last"
        assert attempts == [1, 2, 3, 4]


@pytest.mark.requirement("handler:dead-letter")
async def test_after_the_last_attempt_the_message_is_dead_and_the_asker_is_told(dsn: str) -> None:
    options = {"retry_backoff": 0.01, "max_delivery_attempts": 3, "sweep_interval": SWEEP_OFF}
    async with opened(dsn, "alice", "bob", **options) as sdk:
        attempts: Counter[str] = Counter()

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> None:
            attempts[message] += 1
            if message != "fine":
                raise RuntimeError("broken: secret")

        with pytest.raises(HandlerFailedError, match="failed 3 times, last with RuntimeError") as failed:
            await _ask(sdk, "question")
        assert isinstance(failed.value, QuestionDeclinedError)
        assert "secret" not in str(failed.value)
        await sdk.async_conversation.send("alice", "bob", "message")
        await sdk.async_conversation.send("alice", "bob", "fine")

        async def both_dead() -> bool:
            rows = await fetch(dsn, "SELECT FROM deliveries WHERE dead_at IS NOT NULL")
            return len(rows) == 2 and attempts["fine"] == 1

        await eventually(both_dead)
        assert attempts == {"question": 3, "message": 3, "fine": 1}
        items = (await sdk.inbox.page("bob")).items
        assert [(item.content, item.dead_letter, item.read) for item in items] == [
            ("question", True, False),
            ("message", True, False),
        ]
        assert await sdk.async_conversation.resume_agent_handler("bob") == 0
        assert await sdk.async_conversation.get_unread_messages("bob") == ["question", "message"]


@pytest.mark.requirement("handler:retry-before-reply-by")
async def test_a_back_off_never_reaches_past_the_reply_by(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", retry_backoff=3600, sweep_interval=0.05) as sdk:

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> int:
            if context.attempt == 1:
                raise ValueError("not yet")
            return context.attempt

        asking = asyncio.create_task(sdk.sync_conversation.send_and_wait("alice", "bob", "?", 40, reply_by=200))
        sql = """
            SELECT q.reply_by - d.retry_at AS before, d.retry_at - clock_timestamp() AS left
            FROM deliveries d JOIN questions q ON q.id = d.message_id WHERE d.retry_at IS NOT NULL
        """
        (row,) = await eventually(lambda: fetch(dsn, sql))
        assert timedelta() < row["before"] < timedelta(seconds=1)
        assert row["left"] > timedelta(seconds=100)
        await fetch(dsn, "UPDATE deliveries SET retry_at = clock_timestamp()")  # its time has come
        assert await within(asking) == 2


@pytest.mark.requirement("handler:answered-is-finished")
async def test_a_question_that_was_answered_is_never_handled_again_nor_dead(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", retry_backoff=0.01, max_delivery_attempts=2, sweep_interval=0.02) as sdk:
        attempts: list[int] = []

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> None:
            attempts.append(context.attempt)
            if message == "ended":
                await sdk.sync_conversation.end_conversation("bob", "alice")
            else:
                await sdk.sync_conversation.reply("bob", "alice", "done", decline=message == "declined")
            raise ValueError("after the fact")

        assert await _ask(sdk, "answered") == "done"
        with pytest.raises(QuestionDeclinedError):
            await _ask(sdk, "declined")
        with pytest.raises(ConversationEndedError):
            await _ask(sdk, "ended")
        await _ask_and_answer_by_hand(sdk)
        assert attempts == [1, 1, 1]
        assert await fetch(dsn, "SELECT FROM deliveries WHERE dead_at IS NOT NULL OR retry_at IS NOT NULL") == []


async def _ask_and_answer_by_hand(sdk: SDK) -> None:
    """So much later that another attempt would have come."""
    asking = asyncio.create_task(_ask(sdk, "?", "bob", "alice"))
    assert await sdk.async_conversation.wait_for_message("alice", "bob", timeout=60) == "?"
    await sdk.sync_conversation.reply("alice", "bob", "!")
    assert await asking == "!"


@pytest.mark.requirement("handler:fencing")
@pytest.mark.parametrize("end", ["returns", "raises", "gives up"])
async def test_a_process_that_lost_its_lease_finishes_late_and_changes_nothing(dsn: str, end: str) -> None:
    attempts = 1 if end == "gives up" else 5
    async with (
        opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF, max_delivery_attempts=attempts) as stale,
        opened(dsn, sweep_interval=0.05) as heir,
    ):
        began = {sdk: asyncio.Event() for sdk in (stale, heir)}
        go_on = {sdk: asyncio.Event() for sdk in (stale, heir)}

        def make(sdk: SDK) -> None:
            @sdk.register_handler("bob")
            async def handle(message: Any, context: MessageContext) -> None:
                began[sdk].set()
                await go_on[sdk].wait()
                if sdk is stale and end != "returns":
                    raise ValueError("too late")

        make(stale)
        await stale.async_conversation.send("alice", "bob", "hello")
        async with asyncio.timeout(90):
            await began[stale].wait()
            await stale._engine.lease.stop()  # type: ignore[attr-defined]
            process = stale._engine.process  # type: ignore[attr-defined]
            await fetch(dsn, "UPDATE processes SET lease_until = clock_timestamp() WHERE id = $1", process)
            make(heir)
            await heir.get_agent("bob")
            await began[heir].wait()
            (late,) = stale._handlers._tasks  # type: ignore[attr-defined]
            go_on[stale].set()
            await asyncio.wait([late])
        (row,) = await fetch(dsn, "SELECT * FROM deliveries")
        assert (row["attempt"], row["read_at"], row["dead_at"], row["retry_at"], row["error"]) == (2, *[None] * 4)
        assert row["claimed_by"] == heir._engine.process  # type: ignore[attr-defined]
        go_on[heir].set()

        async def read() -> bool:
            return bool(await fetch(dsn, "SELECT FROM deliveries WHERE read_at IS NOT NULL"))

        await eventually(read)


@pytest.mark.requirement("handler:claims-need-a-lease")
async def test_a_process_without_a_lease_claims_nothing(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=0.02, handler_lease=3600) as sdk:
        attempts: list[int] = []
        go_on = asyncio.Event()

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> None:
            attempts.append(context.attempt)
            await go_on.wait()

        await sdk.async_conversation.send("alice", "bob", "hello")

        async def began() -> bool:
            return bool(attempts)

        await eventually(began)
        await fetch(dsn, "UPDATE processes SET lease_until = clock_timestamp()")
        rounds = sdk._sweep._round  # type: ignore[attr-defined]

        async def swept() -> bool:
            return sdk._sweep._round > rounds + 5  # type: ignore[attr-defined]

        await eventually(swept)
        assert attempts == [1], "or it would claim what it is handling, again and again"
        await fetch(dsn, "UPDATE processes SET lease_until = clock_timestamp() + interval '1 hour'")
        go_on.set()

        async def read() -> bool:
            return bool(await fetch(dsn, "SELECT FROM deliveries WHERE read_at IS NOT NULL"))

        await eventually(read)
        assert attempts == [1]
