"""What an SDK object counts of its own work, and that whoever watches it never waits long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent_messaging import (
    AgentMessaging,
    AgentMessagingError,
    ConversationTimeoutError,
    IdempotencyConflictError,
    QuestionDeclinedError,
)
from agent_messaging.measures import Counts
from agent_messaging.waiting import Waiting, Window, WindowEndedError
from agent_messaging_db.errors import DatabaseUnavailable
from tests.protocol import gathering
from tests.protocol.test_outages import Operator, operator
from tests.protocol.world import SWEEP_OFF, asked, eventually, opened, within

__all__ = ["operator"]  # a fixture

BOUND = 60.0


@pytest.mark.requirement("measures:messages")
async def test_messages_are_counted_by_kind_once_they_are_stored_and_only_then(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        await sdk.async_conversation.send("alice", "bob", "hello", idempotency_key="k")
        await sdk.async_conversation.send("alice", "bob", "hello", idempotency_key="k")
        with pytest.raises(IdempotencyConflictError):
            await sdk.async_conversation.send("alice", "bob", "another", idempotency_key="k")
        await sdk.inbox.page("carol")
        await sdk.inbox.page("bob")
        await sdk.one_way.send("alice", ["bob", "carol"], "notice")
        async with asked(sdk, "Which?") as (waiting, question):
            await sdk.sync_conversation.reply("bob", "alice", "This.", question_id=question)
            await within(waiting)
        async with asked(sdk, "And?") as (waiting, question):
            await sdk.sync_conversation.reply("bob", "alice", None, question_id=question, decline=True)
            with pytest.raises(QuestionDeclinedError):
                await within(waiting)
        counted = sdk.measures.snapshot()
    assert counted.messages == {"async": 1, "one_way": 2, "question": 2, "answer": 1, "decline": 1}
    assert counted.settled == {"answered": 1, "declined": 1, "late": 0, "expired": 0}
    assert counted.batches["answer"].count == 2


@pytest.mark.requirement("measures:messages")
async def test_a_question_that_expires_and_is_answered_later_counts_as_both(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=0.05) as sdk:
        with pytest.raises(ConversationTimeoutError):
            await sdk.sync_conversation.send_and_wait("alice", "bob", "?", timeout=0.05, reply_by=0.05)

        async def expired() -> bool:
            return sdk.measures.snapshot().settled["expired"] == 1

        await eventually(expired, within=BOUND)
        await sdk.sync_conversation.reply("bob", "alice", "!")
        assert sdk.measures.snapshot().settled == {"answered": 0, "declined": 0, "late": 1, "expired": 1}


@pytest.mark.requirement("measures:batches")
async def test_sends_that_went_out_together_are_one_observation_of_their_number(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        await sdk.async_conversation.send("alice", "bob", "first")
        await asyncio.gather(*(sdk.async_conversation.send("alice", "bob", str(n)) for n in range(50)))
        sends = sdk.measures.snapshot().batches["send"]
    assert sends.total == 51
    assert sends.count < 51


class Deaf:
    """Wake-ups of a process that has no neighbours."""

    hears = True

    async def start(self, **_: Any) -> None:
        return

    def publish(self, topics: Any) -> None:
        return

    async def close(self) -> None:
        return


@pytest.mark.requirement("measures:waits")
async def test_each_wait_is_open_until_it_ends_and_ends_for_one_reason() -> None:
    counts = Counts()
    waiting = Waiting(Deaf(), counts)

    async def found() -> int:
        return 1

    async def nothing() -> None:
        return None

    async def away() -> None:
        raise DatabaseUnavailable

    async def take(value: int) -> int:
        return value

    async def wait(look: Any, seconds: float) -> Any:
        return await waiting.until(look, take, topics=["a1"], window=Window(seconds))

    async with asyncio.timeout(BOUND):
        await wait(found, 1)
        with pytest.raises(WindowEndedError):
            await wait(nothing, 0)
        with pytest.raises(DatabaseUnavailable):
            await wait(away, 0)
        held = asyncio.create_task(wait(nothing, BOUND))
        while not waiting.topics:  # noqa: ASYNC110 - until the task has come that far
            await asyncio.sleep(0)
        assert counts.waits_open == 1
        held.cancel()
        await asyncio.wait([held])
    assert counts.waits_open == 0
    assert counts.waits_ended == {"found": 1, "window_ended": 1, "failed": 1, "cancelled": 1}


@pytest.mark.requirement("measures:wakeups")
async def test_wake_ups_are_told_of_from_opening_on(dsn: str) -> None:
    assert AgentMessaging[Any]().measures.snapshot().wakeups is None
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk, opened(dsn):
        await sdk.async_conversation.send("alice", "bob", "hello")

        async def came_back() -> bool:
            wakeups = sdk.measures.snapshot().wakeups
            # It may come back before it counts as sent.
            return wakeups is not None and (wakeups.latency.count, wakeups.published) == (1, 1)

        await eventually(came_back, within=BOUND)
        wakeups = sdk.measures.snapshot().wakeups
        assert wakeups is not None
        assert (wakeups.hears, wakeups.reconnects) == (True, 0)


@pytest.mark.requirement("measures:sweeps")
async def test_rounds_of_the_sweep_are_timed(dsn: str) -> None:
    async with opened(dsn, sweep_interval=0.05) as sdk:

        async def swept() -> bool:
            return sdk.measures.snapshot().sweeps.count >= 2

        await eventually(swept, within=BOUND)
        assert sdk.measures.snapshot().sweeps.total > 0
        assert sdk.measures.snapshot().pool_limit == 10


@pytest.mark.requirement("measures:depths")
async def test_the_depths_are_asked_for_once_and_then_remembered_for_a_while(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr("agent_messaging.measures.monotonic", lambda: now)
    async with opened(dsn, "alice", "bob") as sdk:
        first, second = await asyncio.gather(sdk.measures.depths(), sdk.measures.depths())
        assert first is not None
        assert first.unread_deliveries == 0
        assert first is second
        await sdk.async_conversation.send("alice", "bob", "hello")
        assert await sdk.measures.depths() is first
        now += 5
        later = await sdk.measures.depths()
        assert later is not None
        assert later.unread_deliveries == 1


@pytest.mark.requirement("measures:outage")
async def test_without_the_database_there_are_no_depths_and_everything_else_is_told(
    dsn: str, operator: Operator
) -> None:
    async with opened(dsn, "alice", "bob", database_patience=0) as sdk, operator.outage():
        with pytest.raises(AgentMessagingError):
            await sdk.async_conversation.send("alice", "bob", "hello")
        async with asyncio.timeout(BOUND):
            assert await sdk.measures.depths() is None
        assert sdk.measures.snapshot().database_errors["outage"] >= 2


@pytest.mark.requirement("measures:outage")
async def test_a_database_that_does_not_answer_is_not_waited_for(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_messaging.measures.DEPTHS_PATIENCE", 0.1)
    async with opened(dsn, max_pool_size=2) as sdk:
        database = sdk._engine.database
        async with database.connection(), database.connection(), asyncio.timeout(BOUND):
            assert await sdk.measures.depths() is None


@pytest.mark.requirement("measures:handlers")
async def test_what_is_taken_for_a_handler_is_counted_at_each_attempt(dsn: str) -> None:
    attempts: list[int] = []
    async with opened(dsn, "alice", "bob", retry_backoff=0.01) as sdk:

        @sdk.register_handler("bob")
        async def fails_once(_message: Any, context: Any) -> str:
            attempts.append(context.attempt)
            if context.attempt == 1:
                raise ValueError
            return "done"

        await sdk.sync_conversation.send_and_wait("alice", "bob", "?", BOUND)
        assert sdk.measures.snapshot().deliveries_claimed == len(attempts) == 2


@pytest.mark.requirement("measures:turns")
async def test_turns_are_counted_by_how_they_ended(dsn: str) -> None:
    async with gathering.opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await gathering.started(sdk, "alice", "bob", "carol")
        await gathering.says(sdk, "bob", meeting, None)
        await gathering.lets_go_by(dsn, meeting, "carol")

        async def timed_out() -> bool:
            return sdk.measures.snapshot().turns["timed_out"] > 0

        await eventually(timed_out, within=BOUND)
        turns = sdk.measures.snapshot().turns
    assert (turns["spoken"], turns["passed"]) == (1, 1)
