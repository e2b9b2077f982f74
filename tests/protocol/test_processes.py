"""Several processes on one database, some of which die: nothing but PostgreSQL connects them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from agent_messaging import AgentMessaging, ConversationTimeoutError, HandlerNotRegisteredError, MessageContext
from tests.protocol.programs.notes import Author, Mood, Note
from tests.protocol.world import SWEEP_OFF, eventually, fetch, opened, program, question_is_open


async def _ask(sdk: AgentMessaging[Any], message: Any, timeout: float = 40) -> Any:
    return await sdk.sync_conversation.send_and_wait("alice", "bob", message, timeout)


@pytest.mark.requirement("process:question")
@pytest.mark.requirement("message:typed")
async def test_a_question_is_answered_by_the_handler_of_another_process_with_every_type_intact(dsn: str) -> None:
    here = datetime(2026, 3, 4, 5, 6, 7, 891011, timezone(timedelta(hours=5, minutes=30)))
    note = Note(
        text="How are you? ünï😀",
        id=uuid4(),
        at=here,
        took=timedelta(days=1, microseconds=3),
        price=Decimal("12.3450"),
        mood=Mood.CURIOUS,
        author=Author(name="Ada", since=datetime(1815, 12, 10, tzinfo=UTC)),
        earlier=[Author(name="Bob", since=here)],
    )
    async with (
        opened(dsn, "alice", "bob", message_type=Note, sweep_interval=SWEEP_OFF) as sdk,
        program("answerer", dsn, "bob", "answer", "10") as answerer,
    ):
        await answerer.says("ready")
        answer = await _ask(sdk, note)
        assert await answerer.says("handling") == f"1 Note {note.text}"
        assert isinstance(answer, Note)
        assert answer == note.model_copy(update={"text": f"answer to {note.text}"})
        assert (answer.at, type(answer.price), type(answer.author)) == (here, Decimal, Author)


@pytest.mark.requirement("process:one-way")
async def test_a_one_way_message_is_handled_in_the_process_that_has_the_handler(dsn: str) -> None:
    async with (
        opened(dsn, "alice", "bob", message_type=Note) as sdk,
        program("answerer", dsn, "bob", "answer", "2") as answerer,
    ):
        await answerer.says("ready")
        await sdk.one_way.send("alice", "bob", Note(text="hello"))
        assert await answerer.says("handling") == "1 Note hello"
        await answerer.kill()

        async def unreachable() -> bool:
            return not (await sdk.get_agent("bob")).reachable

        await eventually(unreachable)
        with pytest.raises(HandlerNotRegisteredError):
            await sdk.one_way.send("alice", "bob", Note(text="nobody there"))


@pytest.mark.requirement("process:handler-killed")
async def test_when_the_handlers_process_is_killed_another_one_answers(dsn: str) -> None:
    async with (
        opened(dsn, "alice", "bob", message_type=Note) as sdk,
        program("answerer", dsn, "bob", "hang", "2") as dying,
    ):
        await dying.says("ready")
        asking = asyncio.create_task(_ask(sdk, Note(text="anyone?")))
        assert await dying.says("handling") == "1 Note anyone?"
        async with program("answerer", dsn, "bob", "answer", "2") as heir:
            await heir.says("ready")
            await dying.kill()
            async with asyncio.timeout(90):
                assert (await asking).text == "answer to anyone?"
            assert await heir.says("handling") == "2 Note anyone?", "at least once, and counted"


@pytest.mark.requirement("process:handler-killed")
async def test_the_question_of_a_killed_handler_stands_and_anyone_may_answer_it(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", message_type=Note) as sdk:
        async with program("answerer", dsn, "bob", "hang", "2") as dying:
            await dying.says("ready")
            asking = asyncio.create_task(_ask(sdk, Note(text="anyone?")))
            await dying.says("handling")
            await dying.kill()
        question = await eventually(lambda: question_is_open(sdk, "bob"))
        await sdk.sync_conversation.reply("bob", "alice", Note(text="by hand"), question_id=question)
        async with asyncio.timeout(90):
            assert (await asking).text == "by hand"


@pytest.mark.requirement("process:asker-killed")
@pytest.mark.parametrize("answered", ["before", "after"])
async def test_when_the_askers_process_is_killed_the_answer_is_in_its_inbox(dsn: str, answered: str) -> None:
    async with opened(dsn, "alice", "bob", message_type=Note) as sdk:
        async with program("asker", dsn, "alice", "bob", "still there?", "1") as asker:
            question = await eventually(lambda: question_is_open(sdk, "bob"))
            assert question is not None
            await asker.kill()
            if answered == "after":

                async def forgotten() -> bool:
                    return await fetch(dsn, "SELECT FROM processes WHERE lease_until < clock_timestamp()") != []

                await eventually(forgotten)
            await sdk.sync_conversation.reply("bob", "alice", Note(text="yes"), question_id=question)
        message = await sdk.async_conversation.wait_for_message("alice", "bob", timeout=60)
        assert message == Note(text="yes")


@pytest.mark.requirement("process:two-programs")
async def test_two_programs_talk_and_the_test_only_watches(dsn: str) -> None:
    async with (
        opened(dsn, "alice", "bob") as sdk,
        program("answerer", dsn, "bob", "answer", "10") as answerer,
    ):
        await answerer.says("ready")
        async with program("asker", dsn, "alice", "bob", "hi", "10") as asker:
            assert Note.model_validate_json(await asker.says("answered")).text == "answer to hi"
        told = [message.content["text"] for message in await sdk.sync_conversation.get_conversation("alice", "bob")]
        assert told == ["hi", "answer to hi"]


@pytest.mark.requirement("handler:lease")
async def test_a_handler_that_blocks_its_event_loop_for_two_leases_keeps_its_message(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", message_type=Note, handler_lease=60, sweep_interval=0.1) as sdk:
        taken: list[int] = []
        async with program("answerer", dsn, "bob", "block", "2") as blocked:
            await blocked.says("ready")
            asking = asyncio.create_task(_ask(sdk, Note(text="?")))
            await blocked.says("handling")

            @sdk.register_handler("bob")
            async def handle(message: Note, context: MessageContext) -> Note:
                taken.append(context.attempt)
                return message

            await sdk.get_agent("bob")
            async with asyncio.timeout(90):
                assert (await asking).text == "answer to ?"
        assert taken == []


@pytest.mark.requirement("process:sixty-four-pairs")
async def test_sixty_four_pairs_ask_at_once_on_ten_connections(dsn: str) -> None:
    names = [f"agent{number}" for number in range(128)]
    async with opened(dsn, *names, max_pool_size=10) as asking, opened(dsn, max_pool_size=10) as answering:
        for number in range(64):
            answering.register_handler(names[number + 64])(lambda message, context: [message, message])
        await answering.get_agent(names[0])

        async def ask(number: int) -> None:
            pair = names[number], names[number + 64]
            for round in range(3):
                answer = await asking.sync_conversation.send_and_wait(*pair, [number, round], 40)
                assert answer == [[number, round]] * 2

        async with asyncio.timeout(90):
            await asyncio.gather(*(ask(number) for number in range(64)))
        (row,) = await fetch(
            dsn,
            "SELECT count(*) AS connections FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        assert row["connections"] <= 2 * (10 + 2), "a pool, a listener and a lease for each"


@pytest.mark.requirement("process:waits-are-cheap")
async def test_five_hundred_waits_hold_no_connection(dsn: str) -> None:
    async with opened(dsn, "alice", *(f"agent{number}" for number in range(50)), max_pool_size=2) as sdk:
        waits = [asyncio.create_task(sdk.inbox.wait(f"agent{number % 50}", 60)) for number in range(500)]

        async def all_wait() -> bool:
            return len(sdk._engine.waiting.topics) == 50  # type: ignore[attr-defined]

        await eventually(all_wait)
        with pytest.raises(ConversationTimeoutError):
            await sdk.sync_conversation.send_and_wait("alice", "agent0", "?", timeout=0.05)
        for number in range(1, 50):
            await sdk.async_conversation.send("alice", f"agent{number}", number)
        async with asyncio.timeout(90):
            pages = await asyncio.gather(*waits)
        assert all(page.items for page in pages)


@pytest.mark.requirement("message:order")
async def test_messages_of_three_programs_to_one_agent_arrive_each_in_its_order(dsn: str) -> None:
    senders = ["alice", "carol", "dave"]
    async with opened(dsn, "bob", *senders, message_type=Note) as sdk:
        programs = [program("sender", dsn, sender, "bob", "20") for sender in senders]
        async with programs[0] as one, programs[1] as two, programs[2] as three:
            for running in (one, two, three):
                await running.says("sent")
        texts = [note.text for note in await sdk.async_conversation.get_unread_messages("bob")]
        for sender in senders:
            assert [text for text in texts if text.startswith(sender)] == [f"{sender} {number}" for number in range(20)]
