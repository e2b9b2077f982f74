"""Questions and answers: every row of the table of synchronous conversations."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import UUID

import pytest

from agent_messaging import (
    AgentMessaging,
    ConversationEndedError,
    ConversationTimeoutError,
    HandlerFailedError,
    InboxItemKind,
    InvalidSessionStateError,
    MessageNotFoundError,
    QuestionDeclinedError,
    SessionNotFoundError,
    SessionStatus,
    WaitInterruptedError,
)
from tests.protocol.world import (
    asked,
    eventually,
    fetch,
    opened,
    question_is_open,
    register,
    row_counts,
    within,
)

SDK = AgentMessaging[Any]


@pytest.mark.requirement("question:reply")
async def test_a_question_is_answered_by_the_one_who_was_asked(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, asked(sdk, {"q": 1}) as (waiting, question):
        await sdk.sync_conversation.reply("bob", "alice", {"a": 2}, question_id=question)
        assert await within(waiting) == {"a": 2}
        assert await sdk.async_conversation.get_unread_messages("alice") == [], "a waiter took it"
        assert await sdk.async_conversation.get_unread_messages("bob") == [], "it was answered"
        told = [(message.seq, message.message_type, message.content) for message in await _history(sdk)]
        assert told == [(1, "question", {"q": 1}), (2, "answer", {"a": 2})]


async def _history(sdk: SDK) -> list[Any]:
    return await sdk.sync_conversation.get_conversation("alice", "bob")


@pytest.mark.requirement("question:reply-without-id")
async def test_a_reply_without_id_answers_the_oldest_open_question_then_the_latest_expired_one(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=0.05) as sdk:
        reply = sdk.sync_conversation.reply
        for text in ("gone 1", "gone 2"):
            with pytest.raises(ConversationTimeoutError):
                await sdk.sync_conversation.send_and_wait("alice", "bob", text, timeout=5, reply_by=0.1)
        async with asked(sdk, "first") as (first, _), asked(sdk, "second") as (second, _):
            await reply("bob", "alice", "to the first")
            assert await within(first) == "to the first"
            await reply("bob", "alice", "to the second")
            assert await within(second) == "to the second"
        await reply("bob", "alice", "late, to gone 2")
        await reply("bob", "alice", "late, to gone 1")
        history = {message.id: message for message in await _history(sdk)}
        late = [(history[message.reply_to].content, message.content) for message in history.values() if message.late]
        assert late == [("gone 2", "late, to gone 2"), ("gone 1", "late, to gone 1")]
        with pytest.raises(InvalidSessionStateError):
            await reply("bob", "alice", "to nothing")


@pytest.mark.requirement("question:one-outcome")
async def test_fifty_replies_at_once_and_exactly_one_is_the_answer(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as other, asked(sdk, "which?") as (waiting, question):
        before = await row_counts(dsn)
        replies = [
            (sdk, other)[number % 2].sync_conversation.reply("bob", "alice", number, question_id=question)
            for number in range(50)
        ]
        outcomes = await asyncio.gather(*replies, return_exceptions=True)
        won = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, UUID)]
        assert len(won) == 1
        assert [type(lost) for lost in outcomes if not isinstance(lost, UUID)] == [InvalidSessionStateError] * 49
        assert await within(waiting) == won[0]
        assert (await row_counts(dsn))["messages"] == before["messages"] + 1


@pytest.mark.requirement("question:decline")
async def test_a_decline_is_an_error_for_the_asker_with_its_reason(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, asked(sdk, "secret?") as (waiting, question):
        message = await sdk.sync_conversation.reply("bob", "alice", {"why": "no"}, decline=True)
        with pytest.raises(QuestionDeclinedError, match="'bob' declined") as declined:
            await within(waiting)
        assert not isinstance(declined.value, HandlerFailedError)
        assert (declined.value.question_id, declined.value.message_id) == (question, message)
        assert declined.value.reason == {"why": "no"}
        assert (await sdk.inbox.page("alice")).items == []


@pytest.mark.requirement("question:correlation")
async def test_an_unrelated_message_is_never_taken_for_the_reply(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk, asked(sdk, "the question") as (waiting, question):
        await sdk.async_conversation.get_unread_messages("alice")
        await sdk.async_conversation.send("bob", "alice", "by the way")
        await sdk.one_way.send("bob", "alice", "and")
        with pytest.raises(MessageNotFoundError):
            await sdk.sync_conversation.reply("carol", "alice", "from another", question_id=question)
        async with asked(sdk, "a question back", "bob", "alice") as (back, _):
            await sdk.sync_conversation.reply("alice", "bob", "to you")
            assert await within(back) == "to you"
        assert not waiting.done()
        await sdk.sync_conversation.reply("bob", "alice", "the answer")
        assert await within(waiting) == "the answer"
        assert await sdk.async_conversation.get_unread_messages("alice") == ["by the way", "and"]


@pytest.mark.requirement("question:timeout")
async def test_a_window_that_ends_leaves_the_question_open_until_its_reply_by(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        with pytest.raises(ConversationTimeoutError) as ended:
            await sdk.sync_conversation.send_and_wait("alice", "bob", "slow?", timeout=0.05, reply_by=60)
        assert not ended.value.expired
        assert ended.value.question_id == await question_is_open(sdk, "bob")
        await sdk.sync_conversation.reply("bob", "alice", "in time", question_id=ended.value.question_id)
        (item,) = (await sdk.inbox.page("alice")).items
        assert (item.kind, item.content, item.late) == (InboxItemKind.ANSWER, "in time", False)


@pytest.mark.requirement("question:reply-by")
async def test_the_reply_by_is_the_timeout_unless_given(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", default_conversation_timeout=770.0) as sdk:
        for timeout, reply_by, expected in ((None, None, 770), (400, None, 400), (400, 900, 900), (0, None, 770)):
            asking = sdk.sync_conversation.send_and_wait("alice", "bob", "?", timeout, reply_by=reply_by)
            waiting = asyncio.create_task(asking)
            await eventually(lambda: question_is_open(sdk, "bob"))
            (item,) = (await sdk.inbox.page("bob")).items
            assert item.seconds_left is not None
            assert expected - 60 < item.seconds_left <= expected
            await sdk.sync_conversation.end_conversation("alice", "bob")
            await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.requirement("question:late")
@pytest.mark.parametrize("ended_by", ["the window", "the expiry"])
async def test_a_late_reply_is_flagged_and_delivered_to_the_inbox_of_the_asker(dsn: str, ended_by: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=0.05) as sdk:
        timeout, reply_by = (0.1, None) if ended_by == "the window" else (10, 0.2)
        with pytest.raises(ConversationTimeoutError) as ended:
            await sdk.sync_conversation.send_and_wait("alice", "bob", "slow?", timeout, reply_by=reply_by)
        question = ended.value.question_id
        assert question is not None

        async def expired() -> bool:
            return (await fetch(dsn, "SELECT state FROM questions"))[0]["state"] == "expired"

        await eventually(expired)
        with pytest.raises(InvalidSessionStateError):
            await sdk.sync_conversation.reply("bob", "alice", None, question_id=question, decline=True)
        reply = await sdk.sync_conversation.answer("bob", "alice", "sorry", question_id=question)
        assert reply.late
        (item,) = (await sdk.inbox.page("alice")).items
        assert (item.kind, item.content, item.late, item.question_id) == ("answer", "sorry", True, question)
        with pytest.raises(InvalidSessionStateError):
            await sdk.sync_conversation.reply("bob", "alice", "once only", question_id=question)


@pytest.mark.requirement("question:both-at-once")
async def test_both_sides_ask_at_once_and_each_answers_the_other(dsn: str) -> None:
    async with (
        opened(dsn, "alice", "bob") as sdk,
        opened(dsn) as other,
        asked(sdk, "a?", "alice", "bob") as (one, _),
        asked(other, "b?", "bob", "alice") as (two, _),
    ):
        await sdk.sync_conversation.reply("alice", "bob", "to b")
        await other.sync_conversation.reply("bob", "alice", "to a")
        assert (await within(one), await within(two)) == ("to a", "to b")


@pytest.mark.requirement("question:interruptible")
async def test_an_interruptible_wait_ends_with_what_needs_the_asker_once(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        async with asked(sdk, "a?", interruptible=True) as (waiting, question):
            await sdk.async_conversation.send("carol", "alice", "a message is no need")
            async with asked(sdk, "c?", "carol", "alice") as (_, other_question):
                with pytest.raises(WaitInterruptedError) as interrupted:
                    await within(waiting)
                assert interrupted.value.question_id == question
                item = interrupted.value.item
                assert (item.kind, item.sender, item.question_id) == ("question", "carol", other_question)
                await sdk.inbox.shown("alice", [item])
                async with asked(sdk, "b?", interruptible=True) as (again, second):
                    await sdk.sync_conversation.reply("bob", "alice", "not interrupted twice", question_id=second)
                    assert await within(again) == "not interrupted twice"
        await sdk.sync_conversation.reply("bob", "alice", "the question stood", question_id=question)
        assert "the question stood" in await sdk.async_conversation.get_unread_messages("alice")


@pytest.mark.requirement("question:end")
async def test_ending_a_conversation_cancels_the_questions_of_both_sides(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        await sdk.async_conversation.send("alice", "bob", "hello")
        async with asked(sdk, "a?") as (one, _), asked(sdk, "b?", "bob", "alice") as (two, _):
            session = await sdk.sync_conversation.get_session("alice", "bob")
            assert session is not None
            assert session.status is SessionStatus.WAITING
            await sdk.sync_conversation.end_conversation("alice", "bob")
            for waiting in (one, two):
                with pytest.raises(ConversationEndedError):
                    await within(waiting)
        for service in (sdk.sync_conversation, sdk.async_conversation):
            ended = await service.get_session("alice", "bob")
            assert ended is not None
            assert (ended.status, ended.ended_at is not None) == (SessionStatus.ENDED, True)
        assert await question_is_open(sdk, "bob") is None
        with pytest.raises(SessionNotFoundError):
            await sdk.sync_conversation.end_conversation("bob", "alice")
        assert [message.content for message in await _history(sdk)] == ["hello", "a?", "b?"]
        async with asked(sdk, "anew") as (_, _):
            renewed = await sdk.sync_conversation.get_session("alice", "bob")
            assert renewed is not None
            assert renewed.id != session.id
        assert [message.seq for message in await _history(sdk)] == [1, 2, 3, 4]


@pytest.mark.requirement("question:end-race")
async def test_an_answer_and_an_end_at_once_agree_on_one_outcome(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as other:
        for round in range(15):
            async with asked(sdk, round) as (waiting, question):
                ending = other.sync_conversation.end_conversation("bob", "alice")
                replying = sdk.sync_conversation.reply("bob", "alice", "in time", question_id=question)
                both = (replying, ending) if round % 2 else (ending, replying)
                outcomes = await asyncio.gather(*both, return_exceptions=True)
                answered = any(isinstance(outcome, UUID) for outcome in outcomes)
                if answered:
                    assert await within(waiting) == "in time"
                else:
                    with pytest.raises(ConversationEndedError):
                        await within(waiting)
        assert await sdk.async_conversation.get_unread_messages("alice") == []


@pytest.mark.requirement("question:cancelled")
async def test_a_cancelled_wait_never_loses_the_answer(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as other:
        got: list[int] = []
        chance = random.Random(7)

        async def once(number: int) -> None:
            wait = sdk.sync_conversation.send_and_wait("alice", "bob", number, 30, reply_by=300)
            waiting = asyncio.create_task(wait)
            question = await eventually(lambda: question_is_open(other, "bob"))
            replying = asyncio.create_task(other.sync_conversation.reply("bob", "alice", number, question_id=question))
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            if chance.random() < 0.25:
                await replying
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            waiting.cancel()
            (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
            await replying
            if not isinstance(outcome, BaseException):
                got.append(outcome)

        for number in range(80):
            await once(number)

        async def everything() -> bool:
            got.extend(await sdk.async_conversation.get_unread_messages("alice"))
            return len(got) >= 80

        await eventually(everything)
        assert sorted(got) == list(range(80))


@pytest.mark.requirement("question:long-windows")
async def test_the_longest_windows_are_accepted(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        await register(sdk, "carol")
        for timeout in (float("inf"), 10**400, 1e300):
            async with asked(sdk, "?", timeout=timeout) as (waiting, question):
                await sdk.sync_conversation.reply("bob", "alice", "!", question_id=question)
                assert await within(waiting) == "!"
