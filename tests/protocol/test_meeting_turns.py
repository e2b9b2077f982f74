"""Turns of a meeting over the database: what a signal says, what it proves, who is next, and what names are worth."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from agent_messaging import (
    AgentNotFoundError,
    AgentNotInMeetingError,
    InboxItemKind,
    InvalidMeetingStateError,
    MeetingTimeoutError,
    NotCurrentSpeakerError,
    WaitInterruptedError,
)
from tests.protocol.gathering import BOUND, Word, attends, contents, opened, says, speaks, speeches, started, turn_of
from tests.protocol.world import fetch


async def cursor(dsn: str, meeting: UUID, agent: str) -> int:
    sql = "SELECT b.cursor FROM meeting_members b JOIN agents a ON a.id = b.agent_id WHERE meeting_id = $1"
    return (await fetch(dsn, sql + " AND a.external_id = $2", meeting, agent))[0][0]


def said(signal: Any) -> list[str]:
    return [speech.message.text for speech in signal.said]


@pytest.mark.requirement("meeting:signal")
async def test_a_signal_says_whose_meeting_it_is_and_how_long_the_turn_lasts_and_who_is_next(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        limits: dict[str, Any] = {"title": "Plans", "agenda": "All", "turn_duration": 30, "max_turns": 9}
        meeting = await started(sdk, "alice", "bob", "carol", **limits)
        signal = await turn_of(sdk, "bob", meeting)

        assert (signal.meeting_id, signal.turn, signal.title, signal.agenda) == (meeting, 2, "Plans", "All")
        assert (signal.host, signal.current_speaker, signal.next_in_order) == ("alice", "bob", "carol")
        assert (signal.turns_left, signal.ended) == (7, None)
        assert isinstance(signal.deadline, datetime)
        assert signal.seconds_left is not None
        assert 20 < signal.seconds_left <= 30
        assert [(s.speaker, s.turn, s.seq, s.message) for s in signal.said] == [("alice", 1, 5, Word(text="welcome"))]
        assert signal.seq == 5


@pytest.mark.requirement("meeting:receipt")
async def test_a_signal_has_only_what_was_spoken_after_what_the_agent_has_proved_to_have(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        assert said(await turn_of(sdk, "bob", meeting)) == ["welcome"]
        await says(sdk, "bob", meeting, "one", turn=2)
        assert said(await turn_of(sdk, "carol", meeting)) == ["welcome", "one"]
        await says(sdk, "carol", meeting, "two", turn=3)
        assert said(await turn_of(sdk, "alice", meeting)) == ["one", "two"]
        await says(sdk, "alice", meeting, "three", turn=4)

        assert said(await turn_of(sdk, "bob", meeting)) == ["two", "three"]


@pytest.mark.requirement("meeting:receipt")
async def test_a_signal_that_was_lost_at_any_point_is_repeated_and_nothing_in_it_is_skipped(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob")
        lost = 0
        for steps in range(40):
            wait = asyncio.create_task(sdk.meeting.attend_meeting("bob", meeting, timeout=BOUND))
            for _ in range(steps):
                await asyncio.sleep(0)
            lost += not wait.done()
            wait.cancel()
            await asyncio.wait([wait])
        signal = await turn_of(sdk, "bob", meeting)

        assert lost
        assert (signal.turn, said(signal)) == (2, ["welcome"])
        assert await cursor(dsn, meeting, "bob") == 0


@pytest.mark.requirement("meeting:receipt")
async def test_the_cursor_moves_to_what_the_first_signal_covered_when_its_turn_is_named(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        first = await turn_of(sdk, "bob", meeting)
        await sdk.meeting.leave_meeting("carol", meeting)
        second = await turn_of(sdk, "bob", meeting)
        assert (second.turn, second.seq, second.system[-1]) == (2, first.seq + 1, "carol left")
        await says(sdk, "bob", meeting, "hm", turn=2)

        assert await cursor(dsn, meeting, "bob") == first.seq


@pytest.mark.requirement("meeting:receipt")
async def test_after_seq_moves_the_cursor_and_a_turn_that_nobody_named_does_not(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere:
        meeting = await started(sdk, "alice", "bob")
        assert said(await turn_of(sdk, "bob", meeting)) == ["welcome"]
        await says(elsewhere, "bob", meeting, "one")  # this object has signalled nothing
        await speaks(sdk, meeting, "alice")
        assert await cursor(dsn, meeting, "bob") == 0
        signal = await turn_of(sdk, "bob", meeting)
        assert said(signal) == ["welcome", "alice"]

        again = await sdk.meeting.attend_meeting("bob", meeting, BOUND, after_seq=signal.said[0].seq)
        assert (again.turn, said(again)) == (4, ["alice"])


@pytest.mark.requirement("meeting:speak:last-signalled")
async def test_without_a_number_the_turn_last_signalled_here_is_meant_even_if_it_is_long_over(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere:
        meeting = await started(sdk, "alice", "bob")
        await turn_of(sdk, "bob", meeting)
        await speaks(elsewhere, meeting, "bob", "alice")
        await turn_of(elsewhere, "bob", meeting)

        with pytest.raises(NotCurrentSpeakerError, match=r"turn 2 ended \d+ s ago"):
            await sdk.meeting.speak("bob", meeting, Word(text="stale"), timeout=0)
        await says(elsewhere, "bob", meeting, "fresh")
        assert await speeches(sdk, meeting) == [
            (1, "alice", "welcome"),
            (2, "bob", "bob"),
            (3, "alice", "alice"),
            (4, "bob", "fresh"),
        ]


def numbers(value: Any) -> list[int]:
    """Every number in what an agent is shown, in its texts too; times and ids are none."""
    match value:
        case bool() | None | datetime() | UUID() | float():
            return []
        case int():
            return [value]
        case str():
            return [int(word) for word in value.replace("[", " ").replace(";", " ").split() if word.isdigit()]
        case dict():
            return [number for item in value.values() for number in numbers(item)]
        case _:
            return [number for item in value for number in numbers(item)]


@pytest.mark.requirement("meeting:receipt:number")
async def test_nothing_but_a_signal_tells_a_holder_the_number_of_its_turn(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob", max_turns=90)
        for _ in range(20):
            await speaks(sdk, meeting, "bob", "alice")
        shown: list[object] = [(await sdk.meeting.get_meeting_status(meeting)).model_dump()]
        shown += [(await sdk.meeting.get_meeting(meeting)).model_dump()]
        shown += [item.model_dump() for item in (await sdk.inbox.page("bob")).items]
        assert any(item.kind is InboxItemKind.TURN for item in (await sdk.inbox.page("bob")).items)
        for turn in (None, 40, 43, 7):
            with pytest.raises(NotCurrentSpeakerError) as caught:
                await sdk.meeting.speak("bob", meeting, Word(text="?"), timeout=0, turn=turn or 41)
            shown += [str(caught.value), caught.value.turn, caught.value.holder]
            assert (caught.value.turn, caught.value.holder) == (None, "bob")
        with pytest.raises(WaitInterruptedError) as interrupted:
            await sdk.sync_conversation.send_and_wait("bob", "alice", Word(text="?"), BOUND, interruptible=True)
        shown += [str(interrupted.value), interrupted.value.item.model_dump()]

        assert 42 not in numbers(shown)
        assert 43 in numbers(shown)
        with pytest.raises(NotCurrentSpeakerError, match="bob has turn 42, and has not picked it up yet"):
            await sdk.meeting.speak("alice", meeting, Word(text="?"), timeout=0)
        assert (await turn_of(sdk, "bob", meeting)).turn == 42


@pytest.mark.requirement("meeting:speak:holder-only")
@pytest.mark.requirement("meeting:speak:not-started")
async def test_who_does_not_hold_the_floor_cannot_speak_and_learns_who_does(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        unstarted = await sdk.meeting.create_meeting("alice", ["bob"])
        with pytest.raises(InvalidMeetingStateError, match="the meeting has not started"):
            await sdk.meeting.speak("alice", unstarted, Word(text="x"), timeout=0)
        meeting = await started(sdk, "alice", "bob", "carol")
        before = await contents(dsn)
        with pytest.raises(NotCurrentSpeakerError, match="bob has turn 2") as caught:
            await sdk.meeting.speak("carol", meeting, Word(text="x"), timeout=0)
        assert (caught.value.turn, caught.value.holder) == (2, "bob")
        with pytest.raises(NotCurrentSpeakerError, match="not passed: bob has turn 2"):
            await sdk.meeting.speak("carol", meeting, None, timeout=0)
        assert await contents(dsn) == before


@pytest.mark.requirement("meeting:speak:timeout")
async def test_a_speaker_whose_window_ends_has_spoken_all_the_same(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob")
        with pytest.raises(MeetingTimeoutError, match="alice has the floor") as caught:
            await sdk.meeting.speak("bob", meeting, Word(text="done"), timeout=0.1)

        assert caught.value.status is not None
        assert caught.value.status.current_speaker == "alice"
        assert (await speeches(sdk, meeting))[-1] == (2, "bob", "done")


@pytest.mark.requirement("meeting:speak:waits")
async def test_speaking_waits_for_ones_next_turn_in_any_process(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere:
        meeting = await started(sdk, "alice", "bob")
        await turn_of(sdk, "bob", meeting)
        async with asyncio.timeout(BOUND):
            next_turn = asyncio.create_task(sdk.meeting.speak("bob", meeting, Word(text="one"), turn=2))
            await speaks(elsewhere, meeting, "alice")
            signal = await next_turn
        assert (signal.turn, said(signal)) == (4, ["alice"])


@pytest.mark.requirement("meeting:interruptible")
async def test_an_interruptible_wait_ends_with_the_question_that_needs_the_member_and_the_turn_of_another_meeting(
    dsn: str,
) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob")
        async with asyncio.timeout(BOUND):
            wait = asyncio.create_task(sdk.meeting.attend_meeting("alice", meeting, BOUND, interruptible=True))
            question = asyncio.create_task(sdk.sync_conversation.send_and_wait("bob", "alice", Word(text="?")))
            with pytest.raises(WaitInterruptedError) as caught:
                await wait
            assert caught.value.item.kind is InboxItemKind.QUESTION
            await sdk.sync_conversation.reply("alice", "bob", Word(text="!"))
            assert await question == Word(text="!")
            other = await started(sdk, "bob", "alice")
            with pytest.raises(WaitInterruptedError) as caught:
                await sdk.meeting.attend_meeting("alice", meeting, BOUND, interruptible=True)
        assert (caught.value.item.kind, caught.value.item.meeting_id) == (InboxItemKind.TURN, other)


@pytest.mark.requirement("meeting:next-speaker")
@pytest.mark.requirement("meeting:next-speaker:unknown")
@pytest.mark.requirement("meeting:next-speaker:not-a-member")
@pytest.mark.requirement("meeting:next-speaker:oneself")
async def test_a_next_speaker_who_cannot_be_is_refused_and_the_floor_is_kept(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", "eve") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        await turn_of(sdk, "bob", meeting)
        before = await contents(dsn)
        for name, error in [
            ("ghost", AgentNotFoundError),
            ("eve", AgentNotInMeetingError),
            ("bob", InvalidMeetingStateError),
        ]:
            for text in (Word(text="x"), None):
                with pytest.raises(error):
                    await sdk.meeting.speak("bob", meeting, text, name, 0, turn=2)
        assert await contents(dsn) == before
        await says(sdk, "bob", meeting, "after you", "alice", turn=2)
        assert (await turn_of(sdk, "alice", meeting)).turn == 3


@pytest.mark.requirement("meeting:next-speaker:not-attending")
@pytest.mark.requirement("meeting:order:late-joiner")
async def test_a_named_member_who_does_not_attend_is_passed_over_and_the_signal_says_so(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol", "dave") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol", "dave"])
        await attends(sdk, meeting, "bob", "carol")
        await sdk.meeting.start_meeting("alice", meeting, Word(text="hello"), "dave", force=True)
        signal = await turn_of(sdk, "bob", meeting)
        assert signal.system[-1] == "dave was named to speak next but does not attend, so the order chose bob"

        await attends(sdk, meeting, "dave")
        await speaks(sdk, meeting, "bob", "carol", "alice", "bob", "dave", "carol")


@pytest.mark.requirement("meeting:order")
@pytest.mark.requirement("meeting:order:fairness")
async def test_nobody_who_attends_is_passed_over_for_ever_and_the_signal_says_why_a_name_lapsed(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        holder, other = "bob", "alice"
        for _ in range(5):
            await turn_of(sdk, holder, meeting)
            await says(sdk, holder, meeting, "you", other)
            holder, other = other, holder
        signal = await turn_of(sdk, "carol", meeting)
        assert signal.system[-1] == "alice was named to speak next, but carol had waited for too long and goes first"
