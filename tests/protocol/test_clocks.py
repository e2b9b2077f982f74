"""A process whose clock is wrong: deadlines are set and judged by the clock of the database alone.

The database is given a clock that is an hour away from this machine's, which to every process here is the same as a
clock of its own that is an hour wrong the other way.
"""

from __future__ import annotations

import asyncio

import pytest

from agent_messaging import ConversationTimeoutError, MeetingTimeoutError, NotCurrentSpeakerError, QuestionDeclinedError
from tests.conftest import connect, execute
from tests.protocol.world import asked, eventually, opened, question_is_open, within

ANOTHER_CLOCK = """
CREATE SCHEMA wrong;
CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT pg_catalog.clock_timestamp() + interval ''{seconds} seconds''';
ALTER DATABASE {database} SET search_path TO wrong, pg_catalog, public;
"""
every_clock = pytest.mark.parametrize("seconds", [3600, -3600], ids=["an hour behind", "an hour ahead"])


async def set_wrong(empty_dsn: str, seconds: int) -> str:
    """Have the database show a time that is so many seconds from the right one."""
    async with connect(empty_dsn) as connection:
        database = await connection.fetchval("SELECT current_database()")
    await execute(empty_dsn, ANOTHER_CLOCK.format(seconds=seconds, database=database))
    async with connect(empty_dsn) as connection:
        shown = await connection.fetchval(
            "SELECT extract(epoch FROM clock_timestamp() - pg_catalog.clock_timestamp())::float8"
        )
    assert abs(shown - seconds) < 60, "else nothing is proved"
    return empty_dsn


@pytest.mark.requirement("clock:database")
@every_clock
async def test_turns_begin_and_end_by_the_databases_clock_alone(empty_dsn: str, seconds: int) -> None:
    dsn = await set_wrong(empty_dsn, seconds)
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as other:
        meetings = sdk.meeting
        meeting = await meetings.create_meeting("alice", ["bob"], 60, offer_timeout=60, deadline=1800)
        for agent in ("alice", "bob"):
            with pytest.raises(MeetingTimeoutError):
                await meetings.attend_meeting(agent, meeting, 0)
        await meetings.start_meeting("alice", meeting, "hello")
        signal = await other.meeting.attend_meeting("bob", meeting, 10)
        assert (signal.reason, signal.turn) == ("your_turn", 2)
        assert signal.seconds_left is not None
        assert 30 < signal.seconds_left <= 60
        speaking = asyncio.create_task(other.meeting.speak("bob", meeting, "hi", turn=2))
        signal = await meetings.attend_meeting("alice", meeting, 10)
        assert [speech.message for speech in signal.said] == ["hi"]
        status = await meetings.get_meeting_status(meeting)
        assert status.status == "active"
        await meetings.end_meeting("alice", meeting)
        assert (await within(speaking)).reason == "meeting_ended"


@pytest.mark.requirement("clock:database")
@every_clock
async def test_a_turn_that_nobody_takes_passes_by_the_databases_clock_alone(empty_dsn: str, seconds: int) -> None:
    dsn = await set_wrong(empty_dsn, seconds)
    async with opened(dsn, "alice", "bob", sweep_interval=0.1) as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob"], 60, offer_timeout=0.2)
        for agent in ("alice", "bob"):
            with pytest.raises(MeetingTimeoutError):
                await sdk.meeting.attend_meeting(agent, meeting, 0)
        await sdk.meeting.start_meeting("alice", meeting, "hello")
        signal = await sdk.meeting.attend_meeting("alice", meeting, 15)
        assert (signal.reason, signal.turn) == ("your_turn", 3)
        with pytest.raises(NotCurrentSpeakerError):
            await sdk.meeting.speak("bob", meeting, "late", turn=2)


@pytest.mark.requirement("clock:database")
@every_clock
async def test_a_question_expires_by_the_databases_clock_alone(empty_dsn: str, seconds: int) -> None:
    dsn = await set_wrong(empty_dsn, seconds)
    async with opened(dsn, "alice", "bob", sweep_interval=0.1) as sdk, opened(dsn) as other:
        async with asked(sdk, "in time?", reply_by=60) as (waiting, question):
            (item,) = (await other.inbox.page("bob")).items
            assert item.seconds_left is not None
            assert 30 < item.seconds_left <= 60
            reply = await other.sync_conversation.answer("bob", "alice", "yes", question_id=question)
            assert (reply.late, await within(waiting)) == (False, "yes")
        async with asked(sdk, "declined?", reply_by=60) as (waiting, question):
            await other.sync_conversation.reply("bob", "alice", None, question_id=question, decline=True)
            with pytest.raises(QuestionDeclinedError):
                await within(waiting)
        with pytest.raises(ConversationTimeoutError) as ended:
            await sdk.sync_conversation.send_and_wait("alice", "bob", "too late?", 15, reply_by=0.2)
        assert ended.value.expired

        async def is_over() -> bool:
            return await question_is_open(other, "bob") is None

        await eventually(is_over)
        assert (await other.sync_conversation.answer("bob", "alice", "yes")).late


@pytest.mark.requirement("clock:database")
@every_clock
async def test_a_token_ends_by_the_databases_clock_alone(empty_dsn: str, seconds: int) -> None:
    dsn = await set_wrong(empty_dsn, seconds)
    async with opened(dsn, "alice") as sdk:
        lasting = await sdk.tokens.create("alice", expires_in=60)
        assert await sdk.tokens.verify(lasting.token) is not None
        ending = await sdk.tokens.create("alice", expires_in=0.001)

        async def has_ended() -> bool:
            return await sdk.tokens.verify(ending.token) is None

        await eventually(has_ended)


@pytest.mark.requirement("clock:told")
@every_clock
async def test_how_long_ago_something_was_is_told_by_the_databases_clock(empty_dsn: str, seconds: int) -> None:
    async with opened(await set_wrong(empty_dsn, seconds), "alice", "bob") as sdk:
        await sdk.async_conversation.send("alice", "bob", "hello")
        [message] = await sdk.async_conversation.get_unread("bob")
        assert abs((sdk.now() - message.created_at).total_seconds()) < 600
