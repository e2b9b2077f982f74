"""The inbox: everything that needs an agent, waited for, seen without being consumed, acknowledged by name."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from agent_messaging import (
    AgentNotFoundError,
    ConversationTimeoutError,
    InboxItemKind,
    MeetingTimeoutError,
    MessageNotFoundError,
)
from tests.protocol.world import (
    BAD_COUNTS,
    BAD_NAMES,
    BAD_TIMEOUTS,
    SWEEP_OFF,
    eventually,
    nobody_accepts,
    opened,
)


@pytest.mark.requirement("inbox:anything")
@pytest.mark.parametrize("need", ["message", "one-way", "question", "answer", "decline", "invitation", "turn"])
async def test_a_wait_ends_with_anything_that_needs_the_agent(dsn: str, need: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk, opened(dsn) as other:
        question: UUID | None = None
        meeting = uuid4()
        if need in ("answer", "decline"):
            with pytest.raises(ConversationTimeoutError) as ended:
                await sdk.sync_conversation.send_and_wait("bob", "alice", "?", timeout=0, reply_by=60)
            question = ended.value.question_id
        if need == "turn":
            meeting = await sdk.meeting.create_meeting("alice", ["alice", "bob"])
            with pytest.raises(MeetingTimeoutError):
                await sdk.meeting.attend_meeting("bob", meeting, timeout=0)
            invitations = await sdk.inbox.page("bob")
            await sdk.async_conversation.mark_read("bob", [item.message_id for item in invitations.items])  # type: ignore[misc]
        assert (await sdk.inbox.wait("bob", 0)).items == []
        waiting = asyncio.create_task(sdk.inbox.wait("bob", 30))

        async def attached() -> bool:
            return bool(sdk._engine.waiting.topics)  # type: ignore[attr-defined]

        await eventually(attached)
        match need:
            case "message":
                await other.async_conversation.send("alice", "bob", "hello")
            case "one-way":
                await other.one_way.send("alice", "bob", "hello")
            case "question":
                with pytest.raises(ConversationTimeoutError):
                    await other.sync_conversation.send_and_wait("alice", "bob", "?", timeout=0, reply_by=60)
            case "answer" | "decline":
                await other.sync_conversation.reply(
                    "alice", "bob", "!", question_id=question, decline=need == "decline"
                )
            case "invitation":
                await other.meeting.create_meeting("alice", ["alice", "bob"], title="About")
            case _:
                await other.meeting.start_meeting("alice", meeting, "welcome")
        async with asyncio.timeout(90):
            page = await waiting
        kind = {"one-way": "message"}.get(need, need)
        assert [(item.kind, item.sender, item.read) for item in page.items] == [(kind, "alice", False)]
        again = await sdk.inbox.wait("bob", 30)
        seen, same = ([item.model_copy(update={"seconds_left": None}) for item in one.items] for one in (page, again))
        assert seen == same, "nothing is consumed by being seen"


@pytest.mark.requirement("inbox:owed")
async def test_what_is_acknowledged_and_owed_is_listed_and_ends_no_wait(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        with pytest.raises(ConversationTimeoutError):
            await sdk.sync_conversation.send_and_wait("alice", "bob", "?", timeout=0, reply_by=60)
        (item,) = (await sdk.inbox.wait("bob", 5)).items
        assert (item.kind, item.owed, item.read) == (InboxItemKind.QUESTION, True, False)
        assert item.message_id is not None
        assert await sdk.async_conversation.mark_read("bob", [item.message_id]) == 1
        (owed,) = (await sdk.inbox.wait("bob", 0.05)).items
        assert (owed.question_id, owed.owed, owed.read) == (item.question_id, True, True)
        waiting = asyncio.create_task(sdk.inbox.wait("bob", 30))
        await sdk.async_conversation.send("alice", "bob", "news")
        async with asyncio.timeout(90):
            page = await waiting
        assert [(item.kind, item.read) for item in page.items] == [("message", False), ("question", True)]
        await sdk.sync_conversation.reply("bob", "alice", "!")
        assert [item.kind for item in (await sdk.inbox.page("bob")).items] == ["message"]


@pytest.mark.requirement("inbox:page")
async def test_a_page_shows_the_oldest_items_and_counts_the_rest(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        for number in range(6):
            await sdk.async_conversation.send("alice" if number % 2 else "carol", "bob", number, metadata={"n": number})
        page = await sdk.inbox.page("bob", limit=4)
        assert [item.content for item in page.items] == [0, 1, 2, 3]
        assert [item.metadata for item in page.items] == [{"n": number} for number in range(4)]
        assert page.more == 2
        page = await sdk.inbox.page("bob", from_agent="alice")
        assert ([item.content for item in page.items], page.more) == ([1, 3, 5], 0)
        waited = await sdk.inbox.wait("bob", 5, from_agent="carol", limit=1)
        assert ([item.content for item in waited.items], waited.more) == ([0], 2)


@pytest.mark.requirement("inbox:cursor")
async def test_a_cursor_acknowledges_exactly_what_it_named(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        for number in range(3):
            await sdk.async_conversation.send("alice", "bob", number)
        page = await sdk.inbox.page("bob", limit=2)
        cursor = await sdk.inbox.cursor("bob", page.items)
        await sdk.async_conversation.send("alice", "bob", 3)
        assert await sdk.inbox.acknowledge("bob", cursor) == 2
        assert await sdk.inbox.acknowledge("bob", cursor) == 0
        assert await sdk.async_conversation.get_unread_messages("bob") == [2, 3]
        with pytest.raises(MessageNotFoundError):
            await sdk.inbox.acknowledge("alice", cursor)


@pytest.mark.requirement("inbox:invitation")
async def test_an_invitation_is_an_item_and_left_out_where_bare_messages_are_given(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["alice", "bob"], title="About")
        await sdk.async_conversation.send("alice", "bob", "hello")
        assert await sdk.async_conversation.get_unread_messages("bob") == ["hello"]
        assert await sdk.async_conversation.wait_for_message("bob", "alice", timeout=0) is None
        (item,) = (await sdk.inbox.page("bob")).items
        assert (item.kind, item.content) == (InboxItemKind.INVITATION, None)
        assert (item.meeting_id, item.meeting_title) == (meeting, "About")
        await sdk.meeting.end_meeting("alice", meeting)
        assert (await sdk.inbox.page("bob")).items == [], "it has ended and needs nobody"


@pytest.mark.requirement("inbox:claimed")
async def test_what_a_handler_has_claimed_is_in_no_inbox_and_what_it_handled_is_read(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as other:
        began, go_on = asyncio.Event(), asyncio.Event()

        @other.register_handler("bob")
        async def handle(message: Any, context: Any) -> None:
            began.set()
            await go_on.wait()

        await other.get_agent("bob")
        await sdk.async_conversation.send("alice", "bob", "hello")
        async with asyncio.timeout(90):
            await began.wait()
        assert await sdk.async_conversation.get_unread_messages("bob") == []
        assert await sdk.async_conversation.wait_for_message("bob", "alice", timeout=0) is None
        assert (await sdk.inbox.page("bob")).items == []
        go_on.set()

        async def read() -> bool:
            (message,) = await sdk.async_conversation.get_conversation("alice", "bob")
            return message.read_at is not None

        await eventually(read)


@pytest.mark.requirement("inbox:cancelled-wait")
async def test_a_wait_that_is_cancelled_changes_nothing(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        for number in range(20):
            waiting = asyncio.create_task(sdk.inbox.wait("bob", 30))
            for _ in range(number * 2):
                await asyncio.sleep(0)
            sending = asyncio.create_task(sdk.async_conversation.send("alice", "bob", number))
            for _ in range(number):
                await asyncio.sleep(0)
            waiting.cancel()
            await sending
        assert await sdk.async_conversation.get_unread_messages("bob") == list(range(20))


@pytest.mark.requirement("inbox:agent-not-found")
@pytest.mark.requirement("input:inbox")
async def test_a_bad_call_is_refused_with_a_reason_and_stores_nothing(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
        inbox = sdk.inbox
        calls: dict[str, Any] = {
            "too many": lambda: inbox.page("bob", limit=1001),
            "cursor of nothing": lambda: inbox.cursor("bob", None),  # type: ignore[arg-type]
            "cursor of numbers": lambda: inbox.cursor("bob", [1]),  # type: ignore[list-item]
            "cursor of text": lambda: inbox.cursor("bob", "items"),  # type: ignore[arg-type]
            "shown none": lambda: inbox.shown("bob", None),  # type: ignore[arg-type]
            "shown text": lambda: inbox.shown("bob", ["item"]),  # type: ignore[list-item]
        }
        cursors: list[Any] = [
            None,
            7,
            b"c",
            "",
            "\0",
            "\ud800",
            "c100",
            "q100",
            "c9zzzzzzzzzzzz",
            "c" * 1000,
            str(uuid4()),
        ]
        for number, cursor in enumerate(cursors):
            calls[f"cursor {number}"] = lambda cursor=cursor: inbox.acknowledge("bob", cursor)
        for kind, name in BAD_NAMES.items():
            calls[f"page {kind}"] = lambda name=name: inbox.page(name)
            calls[f"wait {kind}"] = lambda name=name: inbox.wait(name, 1)
            calls[f"cursor of {kind}"] = lambda name=name: inbox.cursor(name, [])
            calls[f"acknowledge {kind}"] = lambda name=name: inbox.acknowledge(name, "c100")
            if name is not None:
                calls[f"from {kind}"] = lambda name=name: inbox.page("bob", from_agent=name)
                calls[f"wait for {kind}"] = lambda name=name: inbox.wait("bob", 1, from_agent=name)
        for kind, seconds in BAD_TIMEOUTS.items():
            calls[f"timeout {kind}"] = lambda seconds=seconds: inbox.wait("bob", seconds)
        for kind, count in BAD_COUNTS.items():
            calls[f"limit {kind}"] = lambda count=count: inbox.page("bob", limit=count)
            calls[f"wait limit {kind}"] = lambda count=count: inbox.wait("bob", 1, limit=count)
        assert await nobody_accepts(dsn, calls) == {}
        for call in (inbox.page("nobody"), inbox.wait("nobody", 0), inbox.page("bob", from_agent="nobody")):
            with pytest.raises(AgentNotFoundError, match="'nobody'"):
                await call
