"""Questions that are refused, or not answered: what each side is told, and that nothing is stored."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import UUID, uuid4

import pytest

from agent_messaging import (
    AgentNotFoundError,
    ConversationTimeoutError,
    InboxFullError,
    InvalidSessionStateError,
    MessageNotFoundError,
    SessionNotFoundError,
)
from tests.protocol.world import (
    BAD_IDS,
    BAD_KEYS,
    BAD_METADATA,
    BAD_NAMES,
    BAD_TIMEOUTS,
    SWEEP_OFF,
    asked,
    eventually,
    nobody_accepts,
    open_questions,
    opened,
    row_counts,
    within,
)


@pytest.mark.requirement("question:one-outcome")
async def test_a_question_that_was_answered_declined_or_cancelled_takes_no_reply(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
        conversation = sdk.sync_conversation
        settled: list[UUID] = []
        async with asked(sdk, "answered") as (_, question):
            await conversation.reply("bob", "alice", "yes", question_id=question)
            settled.append(question)
        async with asked(sdk, "declined") as (_, question):
            await conversation.reply("bob", "alice", None, question_id=question, decline=True)
            settled.append(question)
        async with asked(sdk, "cancelled") as (_, question):
            await conversation.end_conversation("bob", "alice")
            settled.append(question)
        before = await row_counts(dsn)
        for question in settled:
            for decline in (False, True):
                with pytest.raises(InvalidSessionStateError, match="nothing was stored"):
                    await conversation.reply("bob", "alice", "again", question_id=question, decline=decline)
        assert await row_counts(dsn) == before


@pytest.mark.requirement("question:several")
async def test_eight_questions_may_be_open_per_pair_and_direction(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=0.05) as sdk:
        ask = sdk.sync_conversation.send_and_wait
        asking = [asyncio.create_task(ask("alice", "bob", number, timeout=30)) for number in range(8)]

        async def all_open() -> bool:
            return len(await open_questions(sdk, "bob")) == 8

        await eventually(all_open)
        before = (await row_counts(dsn))["messages"]
        with pytest.raises(InvalidSessionStateError, match="8 of your questions"):
            await ask("alice", "bob", "one too many", timeout=5)
        assert (await row_counts(dsn))["messages"] == before
        async with asked(sdk, "the other direction", "bob", "alice") as (back, _):
            await sdk.sync_conversation.reply("alice", "bob", "is open")
            assert await within(back) == "is open"
        by_id: dict[Any, Any] = {item.question_id: item.content for item in (await sdk.inbox.page("bob")).items}
        shuffled = random.sample(list(by_id), 8)
        for question in shuffled:
            await sdk.sync_conversation.reply("bob", "alice", by_id[question] * 10, question_id=question)
        async with asyncio.timeout(90):
            assert await asyncio.gather(*asking) == [number * 10 for number in range(8)]
        with pytest.raises(ConversationTimeoutError):
            await ask("alice", "bob", "room again", timeout=0)


@pytest.mark.requirement("question:agent-not-found")
async def test_both_agents_of_a_conversation_must_exist(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        conversation = sdk.sync_conversation
        for one, other in (("alice", "nobody"), ("nobody", "alice")):
            for call in (
                conversation.send_and_wait(one, other, "hi", 1),
                conversation.reply(one, other, "hi"),
                conversation.end_conversation(one, other),
                conversation.get_conversation(one, other),
            ):
                with pytest.raises(AgentNotFoundError, match="'nobody'"):
                    await call


@pytest.mark.requirement("question:no-session")
async def test_a_reply_where_nothing_was_asked_says_what_to_do(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        with pytest.raises(SessionNotFoundError, match=r"async_conversation\.send"):
            await sdk.sync_conversation.reply("bob", "alice", "?")
        with pytest.raises(SessionNotFoundError):
            await sdk.sync_conversation.end_conversation("bob", "alice")
        await sdk.async_conversation.send("alice", "bob", "no question")
        with pytest.raises(InvalidSessionStateError, match="not waiting"):
            await sdk.sync_conversation.reply("bob", "alice", "?")
        with pytest.raises(MessageNotFoundError):
            await sdk.sync_conversation.reply("bob", "alice", "?", question_id=uuid4())


@pytest.mark.requirement("inbox:full")
async def test_answers_and_invitations_get_into_a_full_inbox_and_questions_do_not(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", max_unread=1) as sdk:
        with pytest.raises(ConversationTimeoutError) as ended:
            await sdk.sync_conversation.send_and_wait("alice", "bob", "?", timeout=0, reply_by=60)
        await sdk.async_conversation.send("bob", "alice", "fills it")
        await sdk.sync_conversation.reply("bob", "alice", "gets in", question_id=ended.value.question_id)
        assert await sdk.async_conversation.get_unread_messages("alice") == ["fills it", "gets in"]
        await sdk.async_conversation.send("alice", "carol", "fills it")
        with pytest.raises(InboxFullError):
            await sdk.sync_conversation.send_and_wait("bob", "carol", "??", timeout=0)
        await sdk.meeting.create_meeting("bob", ["bob", "carol"])
        assert [item.kind for item in (await sdk.inbox.page("carol")).items] == ["message", "invitation"]


@pytest.mark.requirement("input:question")
async def test_a_bad_call_is_refused_with_a_reason_and_stores_nothing(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
        ask, reply = sdk.sync_conversation.send_and_wait, sdk.sync_conversation.reply
        end, read = sdk.sync_conversation.end_conversation, sdk.sync_conversation.get_conversation
        async with asked(sdk, "open", reply_by=60):
            calls: dict[str, Any] = {
                "ask itself": lambda: ask("alice", "alice", "hi", 1),
                "ask no json": lambda: ask("alice", "bob", object(), 1),
                "reply no json": lambda: reply("bob", "alice", object()),
                "end with itself": lambda: end("alice", "alice"),
            }
            for kind, name in BAD_NAMES.items():
                calls[f"asker {kind}"] = lambda name=name: ask(name, "bob", "hi", 1)
                calls[f"asked {kind}"] = lambda name=name: ask("alice", name, "hi", 1)
                calls[f"replier {kind}"] = lambda name=name: reply(name, "alice", "hi")
                calls[f"replied {kind}"] = lambda name=name: reply("bob", name, "hi")
                calls[f"end {kind}"] = lambda name=name: end("bob", name)
                calls[f"read {kind}"] = lambda name=name: read("bob", name)
            for kind, seconds in BAD_TIMEOUTS.items():
                calls[f"timeout {kind}"] = lambda seconds=seconds: ask("alice", "bob", "hi", seconds)
                calls[f"reply_by {kind}"] = lambda seconds=seconds: ask("alice", "bob", "hi", 1, reply_by=seconds)
            for kind, seconds in {"zero": 0, "infinite": float("inf"), "huge": 10**400, "two years": 7e7}.items():
                calls[f"reply_by {kind}"] = lambda seconds=seconds: ask("alice", "bob", "hi", 1, reply_by=seconds)
            for kind, id in BAD_IDS.items():
                if id is not None:
                    calls[f"question {kind}"] = lambda id=id: reply("bob", "alice", "hi", question_id=id)
            for kind, value in BAD_METADATA.items():
                calls[f"ask metadata {kind}"] = lambda value=value: ask("alice", "bob", "hi", 1, metadata=value)
                calls[f"reply metadata {kind}"] = lambda value=value: reply("bob", "alice", "hi", metadata=value)
            for kind, value in BAD_KEYS.items():
                calls[f"ask key {kind}"] = lambda value=value: ask("alice", "bob", "hi", 1, idempotency_key=value)
                calls[f"reply key {kind}"] = lambda value=value: reply("bob", "alice", "hi", idempotency_key=value)
            assert await nobody_accepts(dsn, calls) == {}
