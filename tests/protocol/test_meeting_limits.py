"""What bounds a meeting, over the database: its turns, its deadline, its quorum, and that somebody speaks."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from agent_messaging import AgentMessaging, EndReason, MeetingEndedError, MeetingStatus, ParticipantStatus
from tests.protocol.gathering import (
    BOUND,
    Word,
    attends,
    comes_now,
    opened,
    phase,
    says,
    speaks,
    speeches,
    started,
    turn_of,
)
from tests.protocol.world import eventually, fetch

LATER = 900.0
"""Of a deadline that comes when the test is ready for it."""
NEVER = 3600.0
"""Of a sweep: the process does nothing by itself."""


async def reason(sdk: AgentMessaging[Word], meeting: UUID) -> EndReason | None:
    """Why the meeting ended, once it has."""
    return (await phase(sdk, meeting, "ended")).reason


@pytest.mark.requirement("meeting:max-turns")
async def test_a_meeting_ends_when_its_turns_are_used_up(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob", max_turns=3)
        await speaks(sdk, meeting, "bob")
        async with asyncio.timeout(BOUND):
            assert (await turn_of(sdk, "alice", meeting)).turns_left == 0
            signal = await sdk.meeting.speak("alice", meeting, Word(text="last"), turn=3)
        assert signal.ended is not None
        assert signal.ended.reason is EndReason.MAX_TURNS
        assert (await speeches(sdk, meeting))[-1] == (3, "alice", "last")


@pytest.mark.requirement("meeting:deadline")
async def test_at_its_deadline_a_meeting_ends_whatever_it_is_in(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        unstarted = await sdk.meeting.create_meeting("alice", ["bob"], deadline=LATER)
        active = await started(sdk, "alice", "bob", deadline=LATER)
        await turn_of(sdk, "bob", active)
        for meeting in (unstarted, active):
            assert LATER - 100 < await comes_now(dsn, meeting, "deadline") <= LATER

        assert await reason(sdk, unstarted) is EndReason.NO_QUORUM
        assert await reason(sdk, active) is EndReason.DEADLINE
        with pytest.raises(MeetingEndedError, match="its deadline passed"):
            await sdk.meeting.speak("bob", active, Word(text="late"), timeout=0, turn=2)


@pytest.mark.requirement("meeting:due")
async def test_a_speech_that_comes_after_the_deadline_finds_it_applied_though_nobody_swept(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=NEVER) as sdk:
        meeting = await started(sdk, "alice", "bob", deadline=LATER)
        await comes_now(dsn, meeting, "deadline")

        with pytest.raises(MeetingEndedError):
            await sdk.meeting.speak("bob", meeting, Word(text="late"), timeout=0)
        assert await fetch(dsn, "SELECT FROM meetings WHERE phase = 'ended' AND reason = 'deadline'")


@pytest.mark.requirement("meeting:end:all-passed")
@pytest.mark.requirement("meeting:pass")
async def test_when_everyone_has_passed_since_the_last_speech_the_meeting_ends(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        for agent in ("bob", "carol"):
            await turn_of(sdk, agent, meeting)
            await says(sdk, agent, meeting, None)
        await speaks(sdk, meeting, "alice")  # somebody speaks, and nobody is quiet any more
        for agent, then in (("bob", "alice"), ("alice", "carol"), ("carol", None)):
            await turn_of(sdk, agent, meeting)
            await says(sdk, agent, meeting, None, then)

        assert await reason(sdk, meeting) is EndReason.ALL_PASSED
        entries = await sdk.meeting.get_meeting_history(meeting)
        assert [entry.text for entry in entries if entry.kind == "turn_passed"] == [
            f"{agent} passed" for agent in ("bob", "carol", "bob", "alice", "carol")
        ]


@pytest.mark.requirement("meeting:end:abandoned")
async def test_a_meeting_in_which_nobody_speaks_or_passes_any_more_is_abandoned(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob", offer_timeout=0.1)

        assert await reason(sdk, meeting) is EndReason.ABANDONED


@pytest.mark.requirement("meeting:start-by")
async def test_at_start_by_a_quorate_meeting_starts_with_the_host_and_without_an_opening(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol"], quorum=2, start_by=LATER)
        await attends(sdk, meeting, "bob", "alice")
        assert LATER - 100 < await comes_now(dsn, meeting, "start_by") <= LATER
        signal = await turn_of(sdk, "alice", meeting)

        assert (signal.turn, signal.said, signal.host) == (1, (), "alice")
        status = await sdk.meeting.get_meeting_status(meeting)
        assert status.state is MeetingStatus.ACTIVE
        assert status.participant_status["carol"] is ParticipantStatus.INVITED


@pytest.mark.requirement("meeting:start-by")
async def test_at_start_by_it_starts_without_its_host_under_an_acting_one(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol"], quorum=2, start_by=LATER)
        await attends(sdk, meeting, "carol", "bob")
        await comes_now(dsn, meeting, "start_by")
        signal = await turn_of(sdk, "bob", meeting)

        assert (signal.turn, signal.host) == (1, "carol")


@pytest.mark.requirement("meeting:start-by")
async def test_at_start_by_without_quorum_it_ends_and_everybody_is_told(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol"], start_by=LATER)
        await attends(sdk, meeting, "bob")
        await comes_now(dsn, meeting, "start_by")
        signal = await sdk.meeting.attend_meeting("bob", meeting, timeout=BOUND)

        assert signal.ended is not None
        assert signal.ended.reason is EndReason.NO_QUORUM
        assert (await sdk.meeting.get_meeting_status(meeting)).status is MeetingStatus.ENDED


@pytest.mark.requirement("meeting:waiting-for")
async def test_the_status_says_whom_it_waits_for_and_what_happens_next_and_when(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol"], start_by=900)

        async def waits() -> tuple[tuple[str, ...], str, str]:
            found = (await sdk.meeting.get_meeting_status(meeting)).waiting_for
            assert found is not None
            assert found.since is not None
            assert found.next_at is not None
            return found.agents, found.reason, found.next_event

        no_quorum = "the meeting ends: too few attended"
        assert await waits() == (("alice", "bob", "carol"), "to attend", no_quorum)
        await attends(sdk, meeting, "alice", "bob", "carol")
        assert await waits() == (("alice",), "to start the meeting", "the meeting starts, and alice gets the floor")
        await sdk.meeting.start_meeting("alice", meeting, Word(text="x"))
        assert await waits() == (("bob",), "to pick up the turn", "the floor goes to carol")
        await turn_of(sdk, "bob", meeting)
        assert await waits() == (("bob",), "to speak or pass", "the floor goes to carol")
        await sdk.meeting.end_meeting("alice", meeting)
        assert (await sdk.meeting.get_meeting_status(meeting)).waiting_for is None


@pytest.mark.requirement("meeting:clock:outage")
async def test_a_turn_passes_though_every_process_has_gone_and_the_next_holder_gets_its_whole_clock(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol", turn_duration=LATER, offer_timeout=LATER)
        await turn_of(sdk, "bob", meeting)
    await comes_now(dsn, meeting, "floor_deadline")
    assert await fetch(dsn, "SELECT FROM meetings WHERE turn = 2")

    async with opened(dsn) as sdk:
        sql = "SELECT FROM meetings WHERE turn = 3 AND floor_deadline > clock_timestamp() + interval '800 s'"
        await eventually(lambda: fetch(dsn, sql))
        signal = await turn_of(sdk, "carol", meeting)
        assert (signal.turn, signal.system[-1]) == (3, "bob let turn 2 go by")
