"""Idempotency keys: the same call again gives the first result and does nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from agent_messaging import (
    AgentMessaging,
    ConversationEndedError,
    ConversationTimeoutError,
    HandlerNotRegisteredError,
    IdempotencyConflictError,
    InboxFullError,
    QuestionDeclinedError,
)
from tests.protocol.world import SWEEP_OFF, eventually, fetch, opened, question_is_open, row_counts

SDK = AgentMessaging[Any]
Send = Callable[[SDK, Any, str | None], Awaitable[Any]]


async def _one_way(sdk: SDK, message: Any, key: str | None) -> Any:
    return await sdk.one_way.send("alice", "bob", message, idempotency_key=key)


async def _several(sdk: SDK, message: Any, key: str | None) -> Any:
    return await sdk.one_way.send("alice", ["bob", "carol"], message, idempotency_key=key)


async def _async(sdk: SDK, message: Any, key: str | None) -> Any:
    return await sdk.async_conversation.send("alice", "bob", message, idempotency_key=key)


async def _reply(sdk: SDK, message: Any, key: str | None) -> Any:
    return await sdk.sync_conversation.reply("alice", "bob", message, idempotency_key=key)


SENDS = [_one_way, _several, _async, _reply]
every_send = pytest.mark.parametrize("send", SENDS, ids=["one-way", "several", "async", "reply"])


async def _prepare(sdk: SDK) -> None:
    """Everybody reads an inbox, and alice owes bob two answers."""
    for name in ("bob", "carol"):
        await sdk.async_conversation.get_unread_messages(name)
    for number in range(2):
        with pytest.raises(ConversationTimeoutError):
            await sdk.sync_conversation.send_and_wait("bob", "alice", number, timeout=0, reply_by=60)


@pytest.mark.requirement("idempotency:same")
@every_send
async def test_the_same_key_and_payload_give_the_first_result_and_send_nothing(dsn: str, send: Send) -> None:
    async with opened(dsn, "alice", "bob", "carol", sweep_interval=SWEEP_OFF) as sdk, opened(dsn) as other:
        await _prepare(sdk)
        first = await send(sdk, "hello", "k1")
        before = await row_counts(dsn)
        assert await send(sdk, "hello", "k1") == first
        assert await send(other, "hello", "k1") == first, "from another process"
        assert {**await row_counts(dsn), "processes": 0} == {**before, "processes": 0}
        assert await send(sdk, "hello", "k2") != first


@pytest.mark.requirement("idempotency:concurrent")
@every_send
async def test_ten_retries_at_once_send_once(dsn: str, send: Send) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk, opened(dsn) as other:
        await _prepare(sdk)
        before = (await row_counts(dsn))["messages"]
        results = await asyncio.gather(*(send((sdk, other)[number % 2], "hello", "k") for number in range(10)))
        assert all(result == results[0] for result in results)
        assert (await row_counts(dsn))["messages"] == before + (2 if send is _several else 1)


@pytest.mark.requirement("idempotency:conflict")
@every_send
async def test_the_same_key_with_another_payload_is_a_conflict(dsn: str, send: Send) -> None:
    async with opened(dsn, "alice", "bob", "carol", sweep_interval=SWEEP_OFF) as sdk:
        await _prepare(sdk)
        await send(sdk, "hello", "k")
        before = await row_counts(dsn)
        with pytest.raises(IdempotencyConflictError, match="'k'"):
            await send(sdk, "hello!", "k")
        for other in SENDS:
            if other is not send:
                with pytest.raises(IdempotencyConflictError):
                    await other(sdk, "hello", "k")
        assert await row_counts(dsn) == before


@pytest.mark.requirement("idempotency:payload")
async def test_recipients_and_metadata_are_of_the_payload_and_a_timeout_is_not(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        send, ask = sdk.async_conversation.send, sdk.sync_conversation.send_and_wait
        await send("alice", "bob", "hello", metadata={"a": 1}, idempotency_key="k")
        await send("alice", "bob", "hello", metadata={"a": 1}, idempotency_key="k")
        for recipient, metadata in (("carol", {"a": 1}), ("bob", {"a": 2}), ("bob", None)):
            with pytest.raises(IdempotencyConflictError):
                await send("alice", recipient, "hello", metadata=metadata, idempotency_key="k")
        await send("bob", "alice", "hello", idempotency_key="k")  # a key is of its agent
        for timeout, reply_by in ((0, 60), (0.05, 30), (0, None)):
            with pytest.raises(ConversationTimeoutError):
                await ask("alice", "bob", "?", timeout, reply_by=reply_by, idempotency_key="q")
        assert len(await fetch(dsn, "SELECT FROM questions")) == 1


@pytest.mark.requirement("idempotency:24h")
async def test_a_key_is_forgotten_after_a_day(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        first = await _async(sdk, "hello", "k")
        await fetch(dsn, "UPDATE idempotency_keys SET created_at = created_at - interval '23 hours 59 minutes'")
        assert await _async(sdk, "hello", "k") == first
        await fetch(dsn, "UPDATE idempotency_keys SET created_at = created_at - interval '2 minutes'")
        second = await _async(sdk, "other", "k")
        assert second != first
        assert await _async(sdk, "other", "k") == second


@pytest.mark.requirement("idempotency:refusals")
async def test_a_refusal_is_not_remembered(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        with pytest.raises(HandlerNotRegisteredError):
            await _one_way(sdk, "hello", "k")
        await sdk.async_conversation.get_unread_messages("bob")
        assert isinstance(await _one_way(sdk, "hello", "k"), UUID)


@pytest.mark.requirement("idempotency:same")
async def test_what_was_sent_stays_sent_when_the_recipient_cannot_be_reached_any_more(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", max_unread=1) as sdk:
        async with opened(dsn) as other:
            other.register_handler("bob")(lambda message, context: None)
            await other.get_agent("bob")
            first = await _one_way(sdk, "hello", "k")
        assert await _one_way(sdk, "hello", "k") == first
        with pytest.raises(HandlerNotRegisteredError):
            await _one_way(sdk, "hello", "another")
        with pytest.raises(IdempotencyConflictError):
            await _one_way(sdk, "other", "k")

        second = await sdk.async_conversation.send("alice", "carol", "hello", idempotency_key="full")
        with pytest.raises(InboxFullError):
            await sdk.async_conversation.send("alice", "carol", "hello")
        assert await sdk.async_conversation.send("alice", "carol", "hello", idempotency_key="full") == second


async def _ask(sdk: SDK, timeout: float = 30, reply_by: float = 60) -> Any:
    ask = sdk.sync_conversation.send_and_wait
    return await ask("alice", "bob", "?", timeout, reply_by=reply_by, idempotency_key="q")


@pytest.mark.requirement("question:retry")
async def test_a_retried_question_waits_for_the_same_answer(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as other:
        waits = [asyncio.create_task(_ask(one)) for one in (sdk, other) * 3]
        question = await eventually(lambda: question_is_open(sdk, "bob"))
        for wait in waits[:2]:
            wait.cancel()
        waits = [*waits[2:], asyncio.create_task(_ask(other))]
        await sdk.sync_conversation.reply("bob", "alice", "once", question_id=question)
        async with asyncio.timeout(90):
            assert await asyncio.gather(*waits) == ["once"] * 5
        assert len(await fetch(dsn, "SELECT FROM questions")) == 1
        assert await sdk.async_conversation.get_unread_messages("alice") == []


@pytest.mark.requirement("question:retry")
@pytest.mark.parametrize("outcome", ["answer", "late answer", "decline", "expiry", "end"])
async def test_a_retried_question_that_is_settled_gives_its_outcome_at_once(dsn: str, outcome: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=0.05) as sdk, opened(dsn) as other:
        due = outcome in ("late answer", "expiry")
        with pytest.raises(ConversationTimeoutError) as ended:
            await _ask(sdk, 0, 0.05 if due else 60)
        question = ended.value.question_id
        if due:

            async def expired() -> bool:
                return (await fetch(dsn, "SELECT state FROM questions"))[0]["state"] == "expired"

            await eventually(expired)
        match outcome:
            case "answer" | "late answer":
                await sdk.sync_conversation.reply("bob", "alice", "!", question_id=question)
                for one in (other, sdk):
                    assert await _ask(one, 0) == "!"
            case "decline":
                await sdk.sync_conversation.reply("bob", "alice", None, question_id=question, decline=True)
                with pytest.raises(QuestionDeclinedError):
                    await _ask(other, 30)
            case "end":
                await sdk.sync_conversation.end_conversation("bob", "alice")
                with pytest.raises(ConversationEndedError):
                    await _ask(other, 30)
            case _:
                with pytest.raises(ConversationTimeoutError) as again:
                    await _ask(other, 30)
                assert (again.value.expired, again.value.question_id) == (True, question)
        assert len(await fetch(dsn, "SELECT FROM questions")) == 1


@pytest.mark.requirement("idempotency:cancelled")
async def test_a_cancelled_send_may_have_happened_and_its_key_tells(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        for number in range(30):
            sending = asyncio.create_task(_async(sdk, number, f"k{number}"))
            for _ in range(number):
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await _async(sdk, number, f"k{number}")
        assert await sdk.async_conversation.get_unread_messages("bob") == list(range(30))
