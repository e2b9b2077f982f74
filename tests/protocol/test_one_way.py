"""One-way messages: to one agent or several, delivered or refused as a whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent_messaging import (
    AgentNotFoundError,
    HandlerNotRegisteredError,
    InboxFullError,
    InvalidArgumentError,
    InvalidMessageError,
    MessageContext,
    MessageKind,
)
from tests.protocol.world import (
    BAD_KEYS,
    BAD_METADATA,
    BAD_NAMES,
    SWEEP_OFF,
    nobody_accepts,
    opened,
    row_counts,
)


@pytest.mark.requirement("one-way:send")
async def test_a_message_lands_in_the_inbox_and_invokes_the_handler(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        handled: asyncio.Queue[tuple[Any, MessageContext]] = asyncio.Queue()

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> None:
            await handled.put((message, context))

        id = await sdk.one_way.send("alice", "bob", {"text": "hello"}, metadata={"trace": 7})
        async with asyncio.timeout(90):
            message, context = await handled.get()
        assert message == {"text": "hello"}
        assert (context.message_id, context.message_type) == (id, MessageKind.ONE_WAY)
        assert (context.sender_external_id, context.sender_name) == ("alice", "Alice")
        assert (context.recipient_external_id, context.recipient_name) == ("bob", "Bob")
        assert (context.requires_reply, context.is_meeting_message) == (False, False)
        assert (context.session_id, context.meeting_id, context.reply_by) == (None, None, None)
        assert (context.attempt, context.metadata) == (1, {"trace": 7})


@pytest.mark.requirement("one-way:no-session")
@pytest.mark.requirement("message:id")
async def test_a_one_way_message_opens_no_session_and_its_id_is_a_uuid_of_version_7(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        await sdk.async_conversation.get_unread_messages("bob")
        ids = [await sdk.one_way.send("alice", "bob", number) for number in range(20)]
        assert {id.version for id in ids} == {7}
        assert ids == sorted(ids)
        assert (await row_counts(dsn))["sessions"] == 0
        history = await sdk.async_conversation.get_conversation("alice", "bob")
        assert [message.id for message in history] == ids
        assert {message.session_id for message in history} == {None}


@pytest.mark.requirement("one-way:list")
async def test_a_message_to_several_agents_reaches_each_of_them(dsn: str) -> None:
    names = [f"agent{number}" for number in range(5)]
    async with opened(dsn, "alice", *names) as sdk:
        for name in names:
            await sdk.async_conversation.get_unread_messages(name)
        ids = await sdk.one_way.send("alice", names, "hello", metadata={"to": "all"})
        assert len(set(ids)) == 5
        for name, id in zip(names, ids, strict=True):
            (message,) = await sdk.async_conversation.get_unread(name)
            assert (message.id, message.content, message.metadata) == (id, "hello", {"to": "all"})


@pytest.mark.requirement("one-way:agent-not-found")
async def test_sender_and_recipients_must_exist(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
        await sdk.async_conversation.get_unread_messages("bob")
        before = await row_counts(dsn)
        for sender, recipient in (("nobody", "bob"), ("alice", "nobody"), ("alice", ["bob", "nobody"])):
            with pytest.raises(AgentNotFoundError, match="'nobody'"):
                await sdk.one_way.send(sender, recipient, "hello")
        assert await row_counts(dsn) == before


@pytest.mark.requirement("reachability:refused")
@pytest.mark.requirement("one-way:all-or-nothing")
async def test_a_list_with_unreachable_agents_is_refused_as_a_whole_and_names_them_all(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", "dave", sweep_interval=SWEEP_OFF) as sdk:
        await sdk.async_conversation.get_unread_messages("bob")
        before = await row_counts(dsn)
        with pytest.raises(HandlerNotRegisteredError, match="carol, dave") as refused:
            await sdk.one_way.send("alice", ["dave", "bob", "carol"], "hello")
        assert refused.value.agents == ("carol", "dave")
        with pytest.raises(HandlerNotRegisteredError):
            await sdk.one_way.send("alice", "carol", "hello")
        assert await row_counts(dsn) == before


@pytest.mark.requirement("reachability:reads-inbox")
async def test_whoever_has_read_its_inbox_once_is_reachable_for_ever(dsn: str) -> None:
    calls: dict[str, Any] = {
        "get_unread_messages": lambda sdk, me: sdk.async_conversation.get_unread_messages(me),
        "get_unread": lambda sdk, me: sdk.async_conversation.get_unread(me),
        "get_messages_from_agent": lambda sdk, me: sdk.async_conversation.get_messages_from_agent(me, "alice"),
        "wait_for_message": lambda sdk, me: sdk.async_conversation.wait_for_message(me, "alice", timeout=0),
        "mark_read": lambda sdk, me: sdk.async_conversation.mark_read(me, []),
        "page": lambda sdk, me: sdk.inbox.page(me),
        "wait": lambda sdk, me: sdk.inbox.wait(me, 0),
        "mcp": lambda sdk, me: sdk.as_agent(me).called(),
    }
    async with opened(dsn, "alice", *calls) as sdk:
        for name, call in calls.items():
            with pytest.raises(HandlerNotRegisteredError, match=name):
                await sdk.one_way.send("alice", name, "too early")
            await call(sdk, name)
    async with opened(dsn) as sdk:
        for name in calls:
            await sdk.one_way.send("alice", name, "hello")
            assert await sdk.async_conversation.get_unread_messages(name) == ["hello"]


@pytest.mark.requirement("reachability:lease")
async def test_an_agent_is_reachable_while_a_live_process_has_its_handler(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        async with opened(dsn) as other:
            other.register_handler("bob")(lambda message, context: None)
            with pytest.raises(HandlerNotRegisteredError):
                await sdk.one_way.send("alice", "bob", "its process has not called yet")
            await other.get_agent("alice")
            await sdk.one_way.send("alice", "bob", "hello")
        with pytest.raises(HandlerNotRegisteredError):
            await sdk.one_way.send("alice", "bob", "its process has closed")


@pytest.mark.requirement("reachability:next-call")
async def test_a_registration_counts_from_the_next_call_on_also_when_many_calls_come_at_once(dsn: str) -> None:
    async with opened(dsn, "alice", "bob"):
        pass
    async with opened(dsn) as sdk:  # which has never looked bob up
        handled: list[Any] = []
        everything = asyncio.Event()

        @sdk.register_handler("bob")
        async def handle(message: Any, context: MessageContext) -> None:
            handled.append(message)
            if len(handled) == 30:
                everything.set()

        await asyncio.gather(*(sdk.one_way.send("alice", "bob", number) for number in range(30)))
        async with asyncio.timeout(90):
            await everything.wait()
        assert sorted(handled) == list(range(30))


@pytest.mark.requirement("message:order")
async def test_messages_of_a_pair_are_numbered_without_gaps_in_the_order_of_each_sender(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as one, opened(dsn) as other:
        for name in ("alice", "bob"):
            await one.async_conversation.get_unread_messages(name)

        async def talk(sdk: Any, sender: str, recipient: str, name: str) -> None:
            for number in range(15):
                send = (sdk.one_way if number % 2 else sdk.async_conversation).send
                await send(sender, recipient, [name, number])

        await asyncio.gather(
            talk(one, "alice", "bob", "a1"),
            talk(other, "alice", "bob", "a2"),
            talk(one, "bob", "alice", "b1"),
            talk(other, "bob", "alice", "b2"),
        )
        history = await one.async_conversation.get_conversation("alice", "bob")
        assert [message.seq for message in history] == list(range(1, 61))
        for name in ("a1", "a2", "b1", "b2"):
            assert [message.content[1] for message in history if message.content[0] == name] == list(range(15))
        unread = await one.async_conversation.get_unread_messages("bob")
        assert unread == [message.content for message in history if message.recipient == "bob"]


@pytest.mark.requirement("inbox:full")
async def test_a_full_inbox_refuses_and_takes_again_when_it_has_been_read(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", max_unread=3, sweep_interval=SWEEP_OFF) as sdk:
        for name in ("bob", "carol"):
            await sdk.async_conversation.get_unread_messages(name)
        for number in range(3):
            await sdk.one_way.send("alice", "bob", number)
        before = await row_counts(dsn)
        with pytest.raises(InboxFullError, match="'bob'"):
            await sdk.one_way.send("alice", "bob", "one too many")
        with pytest.raises(InboxFullError, match="'bob'"):
            await sdk.one_way.send("alice", ["carol", "bob"], "one too many")
        assert await row_counts(dsn) == before
        assert await sdk.async_conversation.get_unread_messages("bob") == [0, 1, 2]
        async with asyncio.timeout(90):  # the count may be a second old
            while True:
                try:
                    await sdk.one_way.send("alice", "bob", "room again")
                    break
                except InboxFullError:
                    await asyncio.sleep(0.05)


@pytest.mark.requirement("input:one-way")
async def test_a_bad_call_is_refused_with_a_reason_and_stores_nothing(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
        await sdk.async_conversation.get_unread_messages("bob")
        send = sdk.one_way.send
        calls: dict[str, Any] = {
            "to itself": lambda: send("alice", "alice", "hi"),
            "to itself and another": lambda: send("alice", ["bob", "alice"], "hi"),
            "to nobody": lambda: send("alice", [], "hi"),
            "twice to one": lambda: send("alice", ["bob", "bob"], "hi"),
            "to too many": lambda: send("alice", [f"bob{number}" for number in range(1001)], "hi"),
            "to a generator": lambda: send("alice", 5, "hi"),  # type: ignore[call-overload]
            "no json": lambda: send("alice", "bob", object()),
            "too large": lambda: send("alice", "bob", "x" * 300_000),
        }
        for kind, name in BAD_NAMES.items():
            calls[f"sender {kind}"] = lambda name=name: send(name, "bob", "hi")
            if name != ["bob"]:
                calls[f"recipient {kind}"] = lambda name=name: send("alice", name, "hi")
            calls[f"among recipients {kind}"] = lambda name=name: send("alice", ["bob", name], "hi")
        for kind, value in BAD_METADATA.items():
            calls[f"metadata {kind}"] = lambda value=value: send("alice", "bob", "hi", metadata=value)
        for kind, value in BAD_KEYS.items():
            calls[f"key {kind}"] = lambda value=value: send("alice", "bob", "hi", idempotency_key=value)
        assert await nobody_accepts(dsn, calls) == {}
        with pytest.raises(InvalidArgumentError, match="itself"):
            await send("alice", "alice", "hi")
        with pytest.raises(InvalidMessageError, match="300002 bytes"):
            await send("alice", "bob", "x" * 300_000)
