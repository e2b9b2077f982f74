"""Messages that queue until they are read: reading, acknowledging, waiting, and losing none of them."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import uuid4

import pytest

from agent_messaging import AgentMessaging, AgentNotFoundError, InboxFullError
from tests.protocol.world import (
    BAD_COUNTS,
    BAD_IDS,
    BAD_KEYS,
    BAD_METADATA,
    BAD_NAMES,
    BAD_TIMEOUTS,
    SWEEP_OFF,
    eventually,
    nobody_accepts,
    opened,
    row_counts,
)


@pytest.mark.requirement("async:send")
async def test_a_message_queues_and_is_read_once_in_order(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        ids = [await sdk.async_conversation.send("alice", "bob", number, metadata={"n": number}) for number in range(3)]
        history = await sdk.async_conversation.get_conversation("alice", "bob")
        assert [(message.id, message.content, message.metadata) for message in history] == [
            (ids[number], number, {"n": number}) for number in range(3)
        ]
        assert {message.session_id is None for message in history} == {False}
        assert [message.read_at for message in history] == [None] * 3
        assert await sdk.async_conversation.get_unread_messages("bob") == [0, 1, 2]
        assert await sdk.async_conversation.get_unread_messages("bob") == []
        assert await sdk.async_conversation.get_unread_messages("alice") == []
        history = await sdk.async_conversation.get_conversation("bob", "alice")
        assert [message.read_at is not None for message in history] == [True] * 3


@pytest.mark.requirement("async:agent-not-found")
async def test_every_agent_that_is_named_must_exist(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        calls = sdk.async_conversation
        for call in (
            calls.send("alice", "nobody", "hi"),
            calls.send("nobody", "alice", "hi"),
            calls.get_unread_messages("nobody"),
            calls.get_unread("nobody"),
            calls.mark_read("nobody", []),
            calls.get_messages_from_agent("nobody", "alice"),
            calls.get_messages_from_agent("alice", "nobody"),
            calls.wait_for_message("nobody", "alice", 0),
            calls.wait_for_message("alice", "nobody", 0),
            calls.resume_agent_handler("nobody"),
            calls.get_conversation("alice", "nobody"),
        ):
            with pytest.raises(AgentNotFoundError, match="'nobody'"):
                await call


@pytest.mark.requirement("async:from-agent")
async def test_messages_of_one_sender_are_read_apart_from_those_of_others(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        calls = sdk.async_conversation
        for number in range(2):
            await calls.send("alice", "bob", f"a{number}")
            await calls.send("carol", "bob", f"c{number}")
        assert await calls.get_messages_from_agent("bob", "alice", mark_read=False) == ["a0", "a1"]
        assert await calls.get_messages_from_agent("bob", "alice", limit=1) == ["a0"]
        assert await calls.get_messages_from_agent("bob", "alice") == ["a1"]
        assert await calls.get_messages_from_agent("bob", "alice") == []
        assert await calls.get_unread_messages("bob") == ["c0", "c1"]


@pytest.mark.requirement("inbox:manual-ack")
async def test_with_manual_acknowledgement_a_message_stays_until_it_is_marked_read(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        calls = sdk.async_conversation
        ids = [await calls.send("alice", "bob", number) for number in range(3)]
        for _ in range(2):
            assert await calls.get_unread_messages("bob", ack="manual") == [0, 1, 2]
        unread = await calls.get_unread("bob", limit=2)
        assert [(message.id, message.sender, message.recipient) for message in unread] == [
            (ids[0], "alice", "bob"),
            (ids[1], "alice", "bob"),
        ]
        assert await calls.mark_read("carol", ids) == 0, "they are not hers"
        assert await calls.mark_read("bob", [ids[0], ids[2], ids[2]]) == 2
        assert await calls.mark_read("bob", [ids[0], uuid4()]) == 0
        assert await calls.get_unread_messages("bob") == [1]


@pytest.mark.requirement("inbox:once-per-reader")
async def test_concurrent_readers_never_get_the_same_message(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as one, opened(dsn) as other:
        await asyncio.gather(*(one.async_conversation.send("alice", "bob", number) for number in range(200)))

        async def read(sdk: AgentMessaging[Any], mine: list[int]) -> None:
            while found := await sdk.async_conversation.get_unread_messages("bob", limit=7):
                mine += found

        piles: list[list[int]] = [[] for _ in range(6)]
        await asyncio.gather(*(read((one, other)[index % 2], pile) for index, pile in enumerate(piles)))
        assert sorted(number for pile in piles for number in pile) == list(range(200))


@pytest.mark.requirement("inbox:cancelled-read")
async def test_a_cancelled_read_never_loses_a_message(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sender, opened(dsn) as sdk:
        chance = random.Random(11)
        got: list[int] = []
        total = 0
        for round in range(60):
            count = chance.randrange(1, 4)
            for _ in range(count):
                await sender.async_conversation.send(chance.choice(["alice", "carol"]), "bob", total)
                total += 1
            sdk._engine.names._by_id.clear()  # so that a reader has to look the sender up  # type: ignore[attr-defined]
            reads = [asyncio.create_task(sdk.async_conversation.get_unread_messages("bob")) for _ in range(2)]
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            if round % 3:
                await asyncio.sleep(chance.random() / 200)
            for read in reads:
                read.cancel()
            for outcome in await asyncio.gather(*reads, return_exceptions=True):
                if not isinstance(outcome, BaseException):
                    got += outcome

        async def everything() -> bool:
            got.extend(await sdk.async_conversation.get_unread_messages("bob"))
            return len(got) >= total

        await eventually(everything)
        assert sorted(got) == list(range(total))


@pytest.mark.requirement("inbox:cancelled-read")
async def test_a_read_of_many_pages_that_is_cancelled_loses_none_of_them(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as other:
        await asyncio.gather(*(sdk.async_conversation.send("alice", "bob", number) for number in range(2500)))

        async def a_page_is_taken() -> bool:
            unread = await other.async_conversation.get_unread("bob", limit=1)
            return not unread or unread[0].content >= 1000

        reading = asyncio.create_task(sdk.async_conversation.get_unread_messages("bob"))
        await eventually(a_page_is_taken)
        reading.cancel()
        (outcome,) = await asyncio.gather(reading, return_exceptions=True)
        got: list[int] = [] if isinstance(outcome, BaseException) else outcome

        async def everything() -> bool:
            got.extend(await other.async_conversation.get_unread_messages("bob"))
            return len(got) >= 2500

        await eventually(everything)
        assert sorted(got) == list(range(2500))


@pytest.mark.requirement("async:wait")
async def test_a_wait_gives_the_oldest_unread_message_at_once_and_waits_for_the_next(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", sweep_interval=SWEEP_OFF) as sdk, opened(dsn) as other:
        calls = sdk.async_conversation
        assert await calls.wait_for_message("bob", "alice", timeout=0) is None
        await calls.send("alice", "bob", "first")
        await calls.send("alice", "bob", "second")
        for expected in ("first", "second"):
            assert await calls.wait_for_message("bob", "alice", timeout=0) == expected
        assert await calls.wait_for_message("bob", "alice", timeout=0.05) is None
        waiting = asyncio.create_task(calls.wait_for_message("bob", "alice", timeout=60))
        await calls.send("carol", "bob", "from another")
        await other.async_conversation.send("alice", "bob", "from another process")
        async with asyncio.timeout(90):
            assert await waiting == "from another process"
        assert await calls.get_unread_messages("bob") == ["from another"]


@pytest.mark.requirement("async:wait")
async def test_a_wait_takes_a_question_too_and_an_answer_only_if_no_waiter_took_it(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        calls = sdk.async_conversation
        taking = asyncio.create_task(calls.wait_for_message("bob", "alice", timeout=60))
        asking = asyncio.create_task(sdk.sync_conversation.send_and_wait("alice", "bob", "?", timeout=30))
        async with asyncio.timeout(90):
            assert await taking == "?"
        other_wait = asyncio.create_task(calls.wait_for_message("alice", "bob", timeout=60))
        await sdk.sync_conversation.reply("bob", "alice", "!")
        async with asyncio.timeout(90):
            assert await asking == "!"
        await calls.send("bob", "alice", "a message")
        async with asyncio.timeout(90):
            assert await other_wait == "a message"


@pytest.mark.requirement("async:two-waiters")
async def test_of_two_waiters_each_message_goes_to_one(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as one, opened(dsn) as other:
        waits = [
            asyncio.create_task(sdk.async_conversation.wait_for_message("bob", "alice", timeout=60))
            for sdk in (one, other) * 5
        ]
        for number in range(10):
            await one.async_conversation.send("alice", "bob", number)
        async with asyncio.timeout(90):
            assert {*await asyncio.gather(*waits)} == {*range(10)}


@pytest.mark.requirement("async:cancelled-wait")
async def test_a_cancelled_wait_never_loses_a_message(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sender, opened(dsn) as sdk:
        chance = random.Random(3)
        got: list[int] = []
        for number in range(80):
            waits = [
                asyncio.create_task(sdk.async_conversation.wait_for_message("bob", "alice", timeout=60))
                for _ in range(2)
            ]
            sending = asyncio.create_task(sender.async_conversation.send("alice", "bob", number))
            if number % 2:
                await sending
            for _ in range(chance.randrange(60)):
                await asyncio.sleep(0)
            for wait in waits:
                wait.cancel()
            await sending
            outcomes = await asyncio.gather(*waits, return_exceptions=True)
            got += [outcome for outcome in outcomes if isinstance(outcome, int)]

        async def everything() -> bool:
            got.extend(await sdk.async_conversation.get_unread_messages("bob"))
            return len(got) >= 80

        await eventually(everything)
        assert sorted(got) == list(range(80))


@pytest.mark.requirement("inbox:full")
async def test_a_full_inbox_refuses_an_async_message(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", max_unread=1) as sdk:
        await sdk.async_conversation.send("alice", "bob", 1)
        before = (await row_counts(dsn))["messages"]
        with pytest.raises(InboxFullError):
            await sdk.async_conversation.send("alice", "bob", 2)
        assert (await row_counts(dsn))["messages"] == before


@pytest.mark.requirement("async:history")
async def test_the_history_of_a_pair_is_read_in_parts_from_either_side(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        calls = sdk.async_conversation
        for number in range(10):
            await calls.send(*(("alice", "bob") if number % 3 else ("bob", "alice")), number)
        for pair in (("alice", "bob"), ("bob", "alice")):
            assert [message.content for message in await calls.get_conversation(*pair)] == list(range(10))
            part = await calls.get_conversation(*pair, after_seq=4, limit=3)
            assert [(message.seq, message.content) for message in part] == [(5, 4), (6, 5), (7, 6)]
            assert await calls.get_conversation(*pair, after_seq=10) == []


@pytest.mark.requirement("input:async")
async def test_a_bad_call_is_refused_with_a_reason_and_stores_nothing(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk:
        it = sdk.async_conversation
        calls: dict[str, Any] = {
            "to itself": lambda: it.send("alice", "alice", "hi"),
            "no json": lambda: it.send("alice", "bob", {1, 2}),
            "bad ack": lambda: it.get_unread_messages("bob", ack="never"),
            "ids none": lambda: it.mark_read("bob", None),  # type: ignore[arg-type]
            "ids text": lambda: it.mark_read("bob", "abc"),  # type: ignore[arg-type]
        }
        for kind, name in BAD_NAMES.items():
            calls[f"sender {kind}"] = lambda name=name: it.send(name, "bob", "hi")
            calls[f"recipient {kind}"] = lambda name=name: it.send("alice", name, "hi")
            calls[f"unread {kind}"] = lambda name=name: it.get_unread_messages(name)
            calls[f"mark {kind}"] = lambda name=name: it.mark_read(name, [])
            calls[f"from {kind}"] = lambda name=name: it.get_messages_from_agent("bob", name)
            calls[f"wait {kind}"] = lambda name=name: it.wait_for_message(name, "bob", 1)
            calls[f"wait for {kind}"] = lambda name=name: it.wait_for_message("bob", name, 1)
            calls[f"resume {kind}"] = lambda name=name: it.resume_agent_handler(name)
            calls[f"history {kind}"] = lambda name=name: it.get_conversation("bob", name)
        for kind, seconds in BAD_TIMEOUTS.items():
            calls[f"timeout {kind}"] = lambda seconds=seconds: it.wait_for_message("bob", "alice", seconds)
        for kind, count in BAD_COUNTS.items():
            calls[f"limit {kind}"] = lambda count=count: it.get_unread_messages("bob", limit=count)
            calls[f"peek {kind}"] = lambda count=count: it.get_unread("bob", limit=count)
            calls[f"from limit {kind}"] = lambda count=count: it.get_messages_from_agent("bob", "alice", limit=count)
            calls[f"history limit {kind}"] = lambda count=count: it.get_conversation("bob", "alice", limit=count)
            if kind != "zero":
                calls[f"after {kind}"] = lambda count=count: it.get_conversation("bob", "alice", after_seq=count)
        for kind, id in BAD_IDS.items():
            calls[f"id {kind}"] = lambda id=id: it.mark_read("bob", [uuid4(), id])
        for kind, value in BAD_METADATA.items():
            calls[f"metadata {kind}"] = lambda value=value: it.send("alice", "bob", "hi", metadata=value)
        for kind, value in BAD_KEYS.items():
            calls[f"key {kind}"] = lambda value=value: it.send("alice", "bob", "hi", idempotency_key=value)
        assert await nobody_accepts(dsn, calls) == {}
