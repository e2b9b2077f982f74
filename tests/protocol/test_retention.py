"""Retention: what is old, read and settled goes; what is unread, open, running or referred to stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from agent_messaging import (
    AgentMessaging,
    ConversationTimeoutError,
    InvalidArgumentError,
    InvalidSessionStateError,
    SessionNotFoundError,
)
from agent_messaging import retention as service
from agent_messaging_db import retention
from agent_messaging_db.pool import Database
from tests.conftest import connect
from tests.protocol import world
from tests.protocol.gathering import attends, opened, says, started, turn_of
from tests.protocol.world import fetch

DAY = 86_400.0
TABLES = ("messages", "deliveries", "questions", "sessions", "meetings", "meeting_members", "meeting_events")

# As if everything had happened so many days earlier: the times, and the time that is in an id.
AGE = """
CREATE OR REPLACE FUNCTION earlier(id uuid, days int) RETURNS uuid LANGUAGE sql AS $$
    SELECT (lpad(to_hex(('x' || substr(h, 1, 12))::bit(48)::bigint - days * 86400000::bigint), 12, '0')
            || substr(h, 13))::uuid
    FROM (SELECT replace(id::text, '-', '') AS h) t $$;
UPDATE deliveries SET message_id = earlier(message_id, {days}), read_at = read_at - interval '{days} days';
UPDATE questions SET id = earlier(id, {days}), answer_id = earlier(answer_id, {days}),
    reply_by = reply_by - interval '{days} days';
UPDATE messages SET id = earlier(id, {days}), reply_to = earlier(reply_to, {days}),
    created_at = created_at - interval '{days} days';
UPDATE sessions SET created_at = created_at - interval '{days} days', ended_at = ended_at - interval '{days} days';
UPDATE meeting_members SET invitation_id = earlier(invitation_id, {days});
UPDATE meetings SET ended_at = ended_at - interval '{days} days' WHERE phase = 'ended';
"""


async def grow_old(dsn: str, days: int) -> None:
    async with connect(dsn) as connection:
        await connection.execute(AGE.format(days=days))


async def rows(dsn: str) -> dict[str, int]:
    """How many rows each table has, those that have any."""
    counted = ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in TABLES)  # noqa: S608 - constant names
    (row,) = await fetch(dsn, f"SELECT {counted}")
    return {table: count for table, count in dict(row).items() if count}


@asynccontextmanager
async def agents(dsn: str) -> AsyncGenerator[AgentMessaging[Any]]:
    async with world.opened(dsn, "alice", "bob", "carol") as sdk:
        await sdk.inbox.page("bob")  # reads its own inbox from now on
        await sdk.inbox.page("alice")
        yield sdk


async def asked(sdk: AgentMessaging[Any], question: str, **options: Any) -> None:
    """Alice asks Bob, and does not wait."""
    with pytest.raises(ConversationTimeoutError):
        await sdk.sync_conversation.send_and_wait("alice", "bob", question, timeout=0, **options)


async def read(sdk: AgentMessaging[Any], agent: str) -> None:
    page = await sdk.inbox.page(agent, limit=1000)
    await sdk.async_conversation.mark_read(agent, [item.message_id for item in page.items if item.message_id])


@pytest.mark.requirement("retention:read")
async def test_what_was_sent_and_read_long_ago_goes_and_the_rest_stays(dsn: str) -> None:
    async with agents(dsn) as sdk:
        await sdk.async_conversation.send("alice", "bob", "long ago")
        await sdk.one_way.send("alice", "bob", "too")
        await sdk.async_conversation.get_unread_messages("bob")
        await grow_old(dsn, 60)
        await sdk.async_conversation.send("alice", "bob", "a month ago")
        await sdk.async_conversation.get_unread_messages("bob")
        await grow_old(dsn, 31)

        pruned = await sdk.prune(90 * DAY)
        kept = await sdk.async_conversation.get_conversation("alice", "bob")

        assert (pruned.messages, pruned.questions, pruned.meetings) == (2, 0, 0)
        assert [(message.seq, message.content) for message in kept] == [(3, "a month ago")]
        assert (await rows(dsn)) == {"messages": 1, "deliveries": 1, "sessions": 1}
        # Numbers run on, and what is pruned is no message that was never sent.
        await sdk.async_conversation.send("bob", "alice", "next")
        latest = await sdk.async_conversation.get_conversation("alice", "bob", after_seq=3)
        assert [message.seq for message in latest] == [4]


@pytest.mark.requirement("retention:unread")
async def test_what_is_unread_is_never_removed_however_old_and_counts_from_its_reading(dsn: str) -> None:
    async with agents(dsn) as sdk:
        await sdk.async_conversation.send("alice", "bob", "unread")
        await sdk.one_way.send("alice", "bob", "unread, one way")
        await grow_old(dsn, 400)
        assert (await sdk.prune(DAY)).messages == 0
        messages = await sdk.async_conversation.get_unread_messages("bob")
        assert messages == ["unread", "unread, one way"]

        assert (await sdk.prune(DAY)).messages == 0  # read just now
        await grow_old(dsn, 2)
        assert (await sdk.prune(DAY)).messages == 2


@pytest.mark.requirement("retention:unread")
async def test_what_a_handler_gave_up_on_stays(dsn: str) -> None:
    async with world.opened(dsn, "alice", "bob", max_delivery_attempts=1, sweep_interval=0.1) as sdk:

        @sdk.register_handler("bob")
        async def fail(message: Any, context: Any) -> None:
            raise ValueError("no")

        await sdk.one_way.send("alice", "bob", "poison")
        await world.eventually(lambda: fetch(dsn, "SELECT FROM deliveries WHERE dead_at IS NOT NULL"))
        await grow_old(dsn, 400)
        assert (await sdk.prune(DAY)).messages == 0
        assert len(await fetch(dsn, "SELECT FROM messages")) == 1


@pytest.mark.requirement("retention:questions")
async def test_an_open_question_stays_until_it_is_settled_and_then_goes_with_its_answer(dsn: str) -> None:
    async with agents(dsn) as sdk:
        await asked(sdk, "who?", reply_by=365 * DAY)
        await read(sdk, "bob")
        await grow_old(dsn, 300)
        assert (await sdk.prune(DAY)).messages == 0

        await sdk.sync_conversation.reply("bob", "alice", "me")
        await grow_old(dsn, 400)
        assert (await sdk.prune(DAY)).messages == 0  # nobody has read the answer
        await read(sdk, "alice")
        await grow_old(dsn, 2)
        pruned = await sdk.prune(DAY)
        assert (pruned.messages, pruned.questions) == (2, 1)
        assert await rows(dsn) == {"sessions": 1}


@pytest.mark.requirement("retention:questions")
async def test_a_question_whose_answer_is_young_stays_whole(dsn: str) -> None:
    async with agents(dsn) as sdk:
        await asked(sdk, "who?", reply_by=DAY)
        await read(sdk, "bob")
        await grow_old(dsn, 100)
        await sdk.sync_conversation.reply("bob", "alice", "me, at last")  # late
        await read(sdk, "alice")
        assert (await sdk.prune(90 * DAY)).messages == 0
        assert await rows(dsn) == {"messages": 2, "deliveries": 2, "questions": 1, "sessions": 1}


@pytest.mark.requirement("retention:questions")
@pytest.mark.parametrize("how", ["expired", "declined", "ended"])
async def test_a_question_without_an_answer_goes_once_it_was_settled(how: str, dsn: str) -> None:
    async with agents(dsn) as sdk:
        await asked(sdk, "who?", reply_by=DAY)
        await read(sdk, "bob")
        match how:
            case "declined":
                await sdk.sync_conversation.reply("bob", "alice", "no", decline=True)
                await read(sdk, "alice")
            case "ended":
                await sdk.sync_conversation.end_conversation("alice", "bob")
            case _:
                await grow_old(dsn, 2)
                await world.eventually(lambda: fetch(dsn, "SELECT FROM questions WHERE state = 'expired'"))
        await grow_old(dsn, 100)
        assert (await sdk.prune(90 * DAY)).questions == 1
        with pytest.raises(SessionNotFoundError if how == "ended" else InvalidSessionStateError):
            await sdk.sync_conversation.reply("bob", "alice", "far too late")
        # A pair's ended session goes once nothing of it is left.
        assert await rows(dsn) == ({} if how == "ended" else {"sessions": 1})


@pytest.mark.requirement("retention:meetings")
async def test_a_meeting_goes_whole_once_it_is_over_and_a_running_one_stays(dsn: str) -> None:
    async with opened(dsn, "ann", "ben") as sdk:
        over = await started(sdk, "ann", "ben")
        await turn_of(sdk, "ben", over)
        await says(sdk, "ben", over, "bye")
        await sdk.meeting.end_meeting("ann", over)
        running = await started(sdk, "ann", "ben")
        never_started = await sdk.meeting.create_meeting("ann", ["ben"])
        await attends(sdk, never_started, "ben")
        events = len(await sdk.meeting.get_meeting_history(over))
        await grow_old(dsn, 100)

        pruned = await sdk.prune(90 * DAY)

        assert (pruned.meetings, pruned.messages) == (1, 0)
        assert pruned.events >= events > 0
        left = await fetch(dsn, "SELECT id FROM meetings ORDER BY number")
        assert [row["id"] for row in left] == [running, never_started]
        assert {row[0] for row in await fetch(dsn, "SELECT meeting_id FROM messages")} == {running, never_started}
        assert await fetch(dsn, "SELECT FROM meeting_events WHERE meeting_id = $1", running)
        await turn_of(sdk, "ben", running)


@pytest.mark.requirement("retention:meetings")
async def test_a_meeting_whose_invitation_is_unread_stays(dsn: str) -> None:
    async with opened(dsn, "ann", "ben") as sdk:
        meeting = await started(sdk, "ann", "ben")
        await sdk.meeting.end_meeting("ann", meeting)
        await fetch(
            dsn, "UPDATE deliveries SET read_at = NULL WHERE message_id IN (SELECT id FROM messages) RETURNING 1"
        )
        await grow_old(dsn, 100)
        assert (await sdk.prune(DAY)).meetings == 0


@pytest.mark.requirement("retention:dry-run")
async def test_a_dry_run_counts_what_would_go_and_removes_nothing(dsn: str) -> None:
    async with agents(dsn) as sdk:
        await sdk.async_conversation.send("alice", "bob", "old")
        await asked(sdk, "who?", reply_by=DAY)
        await sdk.sync_conversation.reply("bob", "alice", "me")
        await read(sdk, "bob")
        await read(sdk, "alice")
        meeting = await sdk.meeting.create_meeting("alice", ["bob"])
        await sdk.meeting.end_meeting("alice", meeting)
        await grow_old(dsn, 100)
        before = await rows(dsn)

        would = await sdk.prune(90 * DAY, dry_run=True)
        assert await rows(dsn) == before
        did = await sdk.prune(90 * DAY)

        assert (would.messages, would.questions, would.meetings, would.events) == (
            did.messages,
            did.questions,
            did.meetings,
            did.events,
        )
        assert (did.messages, did.questions, did.meetings) == (3, 1, 1)


@pytest.mark.requirement("retention:batches")
async def test_several_at_once_and_one_that_was_stopped_remove_each_thing_once(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MESSAGES", 7)
    monkeypatch.setattr(service, "PAUSE", 0.0)
    async with agents(dsn) as sdk, world.opened(dsn) as other:
        for number in range(60):
            await sdk.async_conversation.send("alice", "bob", number)
            if number % 10 == 9:
                await asked(sdk, f"{number}?", reply_by=DAY)
                await sdk.sync_conversation.reply("bob", "alice", number)
                await read(sdk, "alice")
        await read(sdk, "bob")
        await sdk.async_conversation.send("carol", "bob", "unread")
        await grow_old(dsn, 100)

        # Stopped after its second batch.
        batches = 0

        def stop(_: object) -> None:
            nonlocal batches
            batches += 1
            if batches == 2:
                task.cancel()

        task = asyncio.create_task(sdk.prune(90 * DAY, progress=stop))
        with pytest.raises(asyncio.CancelledError):
            await task
        left = len(await fetch(dsn, "SELECT FROM messages"))
        assert 1 < left < 73

        both = await asyncio.gather(sdk.prune(90 * DAY), other.prune(90 * DAY))
        again = await sdk.prune(90 * DAY)

        assert sum(one.messages for one in both) + again.messages == left - 1
        (kept,) = await fetch(dsn, "SELECT content FROM messages")
        assert kept["content"] == '"unread"'
        assert await rows(dsn) == {"messages": 1, "deliveries": 1, "sessions": 3}


@pytest.mark.requirement("retention:batches")
async def test_what_is_answered_while_it_is_judged_keeps_its_question(dsn: str) -> None:
    """The late answer has the question's lock, so the judge passes it over instead of waiting."""
    async with agents(dsn) as sdk:
        await asked(sdk, "who?", reply_by=DAY)
        await read(sdk, "bob")
        await grow_old(dsn, 100)
        await world.eventually(lambda: fetch(dsn, "SELECT FROM questions WHERE state = 'expired'"))
        async with connect(dsn) as answering, connect(dsn) as connection:
            async with answering.transaction():
                await answering.execute("SELECT FROM questions FOR UPDATE")
                before = await retention.cutoff(connection, seconds=90 * DAY)
                batch = await retention.prune_messages(
                    connection,
                    after=UUID(int=0),
                    until=UUID(int=2**128 - 1),
                    before=before,
                    limit=10,
                    only_count=False,
                )
            assert (batch.messages, batch.questions) == (0, 0)
        assert (await rows(dsn))["questions"] == 1


@pytest.mark.requirement("retention:age")
@pytest.mark.parametrize("age", [0, -1, 86_399, float("nan"), float("inf"), 1e12, "90d", None, True])
async def test_an_age_below_a_day_is_refused_as_keys_still_give_their_first_result(age: Any, dsn: str) -> None:
    async with world.opened(dsn) as sdk:
        with pytest.raises(InvalidArgumentError, match="older_than is a number of seconds, 86400"):
            await sdk.prune(age)


@pytest.mark.requirement("growth:autovacuum")
async def test_no_table_that_grows_is_vacuumed_by_a_fifth_of_its_size(dsn: str) -> None:
    found = await fetch(
        dsn,
        "SELECT relname, reloptions FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
        " AND relname = ANY ($1::text[])",
        ["messages", "deliveries", "questions", "pairs", "meeting_events", "idempotency_keys", "processes"],
    )
    assert len(found) == 7
    for row in found:
        options = dict(option.split("=") for option in row["reloptions"])
        assert float(options["autovacuum_vacuum_scale_factor"]) <= 0.05, row["relname"]


@pytest.mark.requirement("retention:batches")
async def test_a_batch_walks_no_further_than_it_is_told(dsn: str) -> None:
    async with agents(dsn) as sdk:
        for number in range(5):
            await sdk.async_conversation.send("alice", "bob", number)
        await sdk.async_conversation.get_unread_messages("bob")
        await grow_old(dsn, 100)
    database = Database(lambda: _located(dsn), max_size=1, patience=1)
    await database.open()
    try:
        async with database.connection() as connection:
            before = await retention.cutoff(connection, seconds=DAY)
            batch = await retention.prune_messages(
                connection, after=UUID(int=0), until=UUID(int=2**128 - 1), before=before, limit=3, only_count=False
            )
        assert batch.messages == 3
        assert len(await fetch(dsn, "SELECT FROM messages")) == 2
    finally:
        await database.close()


async def _located(dsn: str) -> str:
    return dsn
