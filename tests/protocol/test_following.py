"""Following an inbox: each item at least once, nothing marked."""

from __future__ import annotations

import asyncio

import pytest

from agent_messaging import AgentNotFoundError
from tests.conftest import execute
from tests.protocol.world import SWEEP_OFF, eventually, fetch, opened

BOUND = 20


@pytest.mark.requirement("inbox:follow")
async def test_what_is_there_is_given_first_and_then_what_comes(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn, "carol") as elsewhere, asyncio.timeout(BOUND):
        await sdk.async_conversation.send("bob", "alice", "one")
        items = sdk.follow("alice")
        assert (await anext(items)).content == "one"
        for sender, words in ((sdk, "two"), (elsewhere, "three")):
            await sender.async_conversation.send("carol", "alice", words)
            assert (await anext(items)).content == words
        await items.aclose()
        assert [item.content for item in (await sdk.inbox.page("alice")).items if not item.read] == [
            "one",
            "two",
            "three",
        ]


@pytest.mark.requirement("inbox:follow")
async def test_a_turn_is_given_once_and_each_later_turn_again(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, asyncio.timeout(BOUND):
        meeting = await sdk.meeting.create_meeting("alice", ["alice", "bob"])
        items = sdk.follow("bob")
        assert (await anext(items)).kind == "invitation"
        attending = asyncio.create_task(sdk.meeting.attend_meeting("bob", meeting, timeout=BOUND))

        async def attends() -> bool:
            return (await sdk.meeting.get_meeting_status(meeting)).participant_status["bob"] == "attending"

        await eventually(attends)
        await sdk.meeting.start_meeting("alice", meeting, "welcome")
        await attending
        for words in ("first", "second"):
            turn = await anext(items)
            assert (turn.kind, turn.meeting_id) == ("turn", meeting)
            speaking = [asyncio.create_task(sdk.meeting.speak("bob", meeting, words, timeout=BOUND))]
            await sdk.meeting.attend_meeting("alice", meeting, timeout=BOUND)
            speaking.append(asyncio.create_task(sdk.meeting.speak("alice", meeting, "go on", timeout=BOUND)))
            await speaking[0]
        await items.aclose()
        for waiting in speaking:
            waiting.cancel()
        await asyncio.gather(*speaking, return_exceptions=True)


@pytest.mark.requirement("inbox:follow")
async def test_what_appears_below_what_was_given_is_given_too(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=SWEEP_OFF) as sdk, asyncio.timeout(BOUND):
        await sdk.async_conversation.send("bob", "alice", "hidden")
        await execute(
            dsn,
            """UPDATE deliveries SET claimed_by = (
                SELECT id FROM processes WHERE lease_until > clock_timestamp() LIMIT 1)""",
        )
        items = sdk.follow("alice")
        await sdk.async_conversation.send("bob", "alice", "seen")
        assert (await anext(items)).content == "seen"
        await execute(dsn, "UPDATE deliveries SET claimed_by = NULL")
        await sdk.async_conversation.send("bob", "alice", "next")
        assert {(await anext(items)).content for _ in range(2)} == {"hidden", "next"}
        await items.aclose()


@pytest.mark.requirement("inbox:follow")
async def test_it_goes_on_after_the_end_of_all_connections(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, asyncio.timeout(BOUND):
        items = sdk.follow("alice")
        await sdk.async_conversation.send("bob", "alice", "before")
        assert (await anext(items)).content == "before"
        await fetch(
            dsn,
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()""",
        )
        await sdk.async_conversation.send("bob", "alice", "after")
        assert (await anext(items)).content == "after"
        await items.aclose()


@pytest.mark.requirement("inbox:follow")
async def test_nobody_can_be_followed_who_is_not_there(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        with pytest.raises(AgentNotFoundError):
            await anext(sdk.follow("nobody"))


@pytest.mark.requirement("inbox:follow")
async def test_once_gives_all_that_is_there_however_much_and_ends(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, asyncio.timeout(60):
        await asyncio.gather(*(sdk.async_conversation.send("bob", "alice", word) for word in range(1_100)))
        given = [item.content async for item in sdk.follow("alice", once=True)]
        assert sorted(map(str, given)) == sorted(map(str, range(1_100)))
        assert [item async for item in sdk.follow("bob", once=True)] == []
