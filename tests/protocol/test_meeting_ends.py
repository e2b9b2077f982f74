"""The clocks of a meeting and its ends, over the database: silence, absence, deadlines, leaving, handing over."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from agent_messaging import (
    AgentMessaging,
    EndReason,
    HostCannotLeaveError,
    InvalidMeetingStateError,
    MeetingEndedError,
    MeetingStatus,
    MeetingTimeoutError,
    NotCurrentSpeakerError,
    NotMeetingHostError,
    ParticipantStatus,
)
from agent_messaging.waiting import meeting_topic
from tests.protocol.gathering import (
    BOUND,
    Word,
    attends,
    comes_now,
    contents,
    lets_go_by,
    opened,
    says,
    speaks,
    speeches,
    started,
    turn_of,
)
from tests.protocol.world import eventually, fetch

SHORT = 0.2
LONG = 60.0


async def held_by(sdk: AgentMessaging[Word], meeting: UUID, agent: str) -> None:
    """The floor comes to this agent, and nobody is told."""

    async def holds() -> bool:
        return (await sdk.meeting.get_meeting_status(meeting)).current_speaker == agent

    await eventually(holds)


async def waits_for(sdk: AgentMessaging[Word], meeting: UUID) -> bool:
    """Whether a call of this process waits for the meeting to change."""
    return meeting_topic(meeting) in sdk._engine.waiting.topics


async def lines(sdk: AgentMessaging[Word], meeting: UUID) -> list[str]:
    return [entry.text for entry in await sdk.meeting.get_meeting_history(meeting) if entry.text]


async def ends(sdk: AgentMessaging[Word], agent: str, meeting: UUID) -> Any:
    """The reason, told to who attends."""
    signal = await sdk.meeting.attend_meeting(agent, meeting, timeout=BOUND)
    assert signal.ended is not None, signal
    assert (signal.reason, signal.turn, signal.turns_left) == ("meeting_ended", None, 0)
    return signal.ended.reason


@pytest.mark.requirement("meeting:silence")
@pytest.mark.requirement("meeting:clock:offer")
async def test_an_offer_that_nobody_picks_up_moves_on_and_every_waiting_member_learns_of_it(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        await lets_go_by(dsn, meeting, "bob")
        signal = await turn_of(sdk, "carol", meeting)

        assert (signal.turn, signal.system[-1]) == (3, "bob let turn 2 go by")
        with pytest.raises(NotCurrentSpeakerError, match=r"turn 2 ended .* s ago; carol has turn 3"):
            await sdk.meeting.speak("bob", meeting, Word(text="late"), timeout=0, turn=2)


@pytest.mark.requirement("meeting:clock:offer")
async def test_the_clock_of_a_turn_starts_with_its_signal_and_nothing_else(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await started(sdk, "alice", "bob", offer_timeout=LONG, turn_duration=SHORT)
        await sdk.meeting.get_meeting_status(meeting)
        await sdk.meeting.get_meeting_history(meeting)
        await sdk.meeting.get_participants(meeting)
        await sdk.inbox.page("bob")
        await sdk.inbox.wait("bob", 0)
        sql = "SELECT floor, floor_deadline - floor_at > interval '50 s' AS patient FROM meetings"
        assert [tuple(row) for row in await fetch(dsn, sql)] == [("offered", True)]

        assert (await turn_of(sdk, "bob", meeting)).turn == 2
        await held_by(sdk, meeting, "alice")
        assert (await lines(sdk, meeting))[-1] == "bob let turn 2 go by"


@pytest.mark.requirement("meeting:attend:idempotent")
async def test_attending_again_in_another_process_repeats_the_turn_and_restarts_no_clock(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk, opened(dsn) as elsewhere:
        meeting = await started(sdk, "alice", "bob", turn_duration=LONG)
        first = await turn_of(sdk, "bob", meeting)
        before = await contents(dsn)
        second = await turn_of(elsewhere, "bob", meeting)

        assert (second.turn, second.deadline, second.said) == (first.turn, first.deadline, first.said)
        assert await contents(dsn) == before


@pytest.mark.requirement("meeting:clock:no-turn-timeout")
async def test_without_a_turn_timeout_a_speaker_who_saw_the_floor_is_bounded_by_the_meeting_alone(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", enable_turn_timeout=False) as sdk:
        meeting = await started(sdk, "alice", "bob", turn_duration=SHORT, offer_timeout=LONG, deadline=LONG)
        signal = await turn_of(sdk, "bob", meeting)
        assert (signal.deadline, signal.seconds_left) == (None, None)
        assert await fetch(dsn, "SELECT FROM meetings WHERE floor = 'seen' AND floor_deadline IS NULL")

        await comes_now(dsn, meeting, "deadline")
        assert await ends(sdk, "alice", meeting) is EndReason.DEADLINE
        assert [entry.turn for entry in await sdk.meeting.get_meeting_history(meeting)][-1] == 2


@pytest.mark.requirement("meeting:away")
@pytest.mark.requirement("meeting:away:returns")
async def test_two_skips_make_a_member_away_and_only_attending_brings_it_back_to_its_place(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        for _ in range(2):
            await lets_go_by(dsn, meeting, "bob")
            await speaks(sdk, meeting, "carol", "alice")
        status = await sdk.meeting.get_meeting_status(meeting)
        assert status.participant_status["bob"] is ParticipantStatus.AWAY
        await turn_of(sdk, "carol", meeting)
        with pytest.raises(NotCurrentSpeakerError):
            await sdk.meeting.speak("bob", meeting, Word(text="here"), timeout=0)
        await sdk.inbox.page("bob")
        status = await sdk.meeting.get_meeting_status(meeting)
        assert status.participant_status["bob"] is ParticipantStatus.AWAY

        await attends(sdk, meeting, "bob")
        assert (await lines(sdk, meeting))[-1] == "bob is back"
        await says(sdk, "carol", meeting, "welcome back")
        assert (await turn_of(sdk, "bob", meeting)).system[-1] != "bob is back"


@pytest.mark.requirement("meeting:host:acting")
@pytest.mark.requirement("meeting:host:returns")
async def test_while_the_host_is_away_the_longest_attending_member_acts_until_the_host_attends(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        for _ in range(2):
            await speaks(sdk, meeting, "bob", "carol")
            await lets_go_by(dsn, meeting, "alice")
        signal = await turn_of(sdk, "bob", meeting)
        assert signal.host == "bob"
        assert signal.system[-2:] == ("alice let turn 7 go by and is away now", "bob is acting host")
        with pytest.raises(NotMeetingHostError, match="that is bob"):
            await sdk.meeting.end_meeting("alice", meeting)
        with pytest.raises(NotMeetingHostError):
            await sdk.meeting.end_meeting("carol", meeting)
        await attends(sdk, meeting, "alice")
        with pytest.raises(NotMeetingHostError, match="that is alice"):
            await sdk.meeting.end_meeting("bob", meeting)
        assert (await lines(sdk, meeting))[-2:] == ["alice is back", "alice is host"]
        await sdk.meeting.end_meeting("alice", meeting)


@pytest.mark.requirement("meeting:leave:host")
@pytest.mark.requirement("meeting:hand-over")
async def test_the_host_hands_over_to_an_attending_member_before_it_can_leave(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob", "carol"])
        await attends(sdk, meeting, "alice", "bob")
        before = await contents(dsn)
        with pytest.raises(HostCannotLeaveError, match="hand the meeting over"):
            await sdk.meeting.leave_meeting("alice", meeting)
        with pytest.raises(InvalidMeetingStateError, match="carol does not attend"):
            await sdk.meeting.hand_over_host("alice", meeting, "carol")
        assert await contents(dsn) == before

        await sdk.meeting.hand_over_host("alice", meeting, "bob")
        await sdk.meeting.leave_meeting("alice", meeting)
        status = await sdk.meeting.get_meeting_status(meeting)
        assert (status.host_external_id, status.participant_status["alice"]) == ("bob", ParticipantStatus.DECLINED)
        await attends(sdk, meeting, "alice")
        assert (await sdk.meeting.get_meeting_status(meeting)).host_external_id == "bob"


@pytest.mark.requirement("meeting:leave:speaker")
async def test_a_speaker_who_leaves_yields_the_floor_in_the_same_moment(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        await turn_of(sdk, "bob", meeting)
        await sdk.meeting.leave_meeting("bob", meeting)
        await sdk.meeting.leave_meeting("bob", meeting)

        signal = await turn_of(sdk, "carol", meeting)
        assert (signal.turn, signal.system[-1]) == (3, "bob left")
        with pytest.raises(NotCurrentSpeakerError):
            await sdk.meeting.speak("bob", meeting, Word(text="x"), timeout=0, turn=2)


@pytest.mark.requirement("meeting:leave:after-turn")
async def test_leaving_after_the_turn_waits_for_its_end_and_cut_short_changes_nothing(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk:
        meeting = await started(sdk, "alice", "bob", "carol")
        await turn_of(sdk, "bob", meeting)
        before = await contents(dsn)
        with pytest.raises(MeetingTimeoutError):
            await sdk.meeting.leave_meeting("bob", meeting, after_turn=True, timeout=SHORT)
        assert await contents(dsn) == before

        await sdk.meeting.leave_meeting("carol", meeting, after_turn=True, timeout=0)  # it does not have the floor
        async with asyncio.timeout(BOUND):
            leaving = asyncio.create_task(sdk.meeting.leave_meeting("bob", meeting, after_turn=True))
            await says(sdk, "bob", meeting, "goodbye")
            await leaving
        assert (await speeches(sdk, meeting))[-1] == (2, "bob", "goodbye")
        assert (await lines(sdk, meeting))[-1] == "bob left"


@pytest.mark.requirement("meeting:leave:after-turn")
async def test_who_is_alone_leaves_after_its_turn_too_although_the_floor_comes_back_to_it(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=3600) as sdk:
        meeting = await started(sdk, "alice", "bob")
        for _ in range(2):
            await speaks(sdk, meeting, "bob")
            await lets_go_by(dsn, meeting, "alice")
            await held_by(sdk, meeting, "bob")
        await turn_of(sdk, "bob", meeting)
        async with asyncio.timeout(BOUND):
            leaving = asyncio.create_task(sdk.meeting.leave_meeting("bob", meeting, after_turn=True))
            await eventually(lambda: waits_for(sdk, meeting))  # or it would mean the turn that comes next
            await says(sdk, "bob", meeting, "goodbye")
            await leaving
        assert (await sdk.meeting.get_meeting_status(meeting)).reason is EndReason.ABANDONED


@pytest.mark.requirement("meeting:end:by-host")
@pytest.mark.requirement("meeting:end:quiet")
@pytest.mark.requirement("meeting:after-end")
async def test_the_host_ends_a_meeting_and_every_wait_in_every_process_returns_with_the_outcome(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", "carol") as sdk, opened(dsn) as elsewhere:
        meeting = await started(sdk, "alice", "bob", "carol")
        await turn_of(elsewhere, "bob", meeting)
        async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
            waits = [group.create_task(s.meeting.attend_meeting("carol", meeting)) for s in (sdk, elsewhere)]
            await sdk.meeting.end_meeting("alice", meeting, outcome="agreed")
        for wait in waits:
            ended = wait.result().ended
            assert (ended and ended.reason, ended and ended.outcome) == (EndReason.BY_HOST, "agreed")
        before = await contents(dsn)
        await sdk.meeting.end_meeting("alice", meeting, outcome="not agreed")
        await sdk.meeting.leave_meeting("alice", meeting)
        with pytest.raises(MeetingEndedError, match="its host ended it"):
            await elsewhere.meeting.speak("bob", meeting, Word(text="still composing"), timeout=0, turn=2)
        assert await contents(dsn) == before
        status = await sdk.meeting.get_meeting_status(meeting)
        assert (status.state, status.reason, status.outcome) == (MeetingStatus.ENDED, EndReason.BY_HOST, "agreed")
        assert await speeches(sdk, meeting) == [(1, "alice", "welcome")]


@pytest.mark.requirement("meeting:end:cancelled")
async def test_ending_a_meeting_before_its_start_cancels_it(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        meeting = await sdk.meeting.create_meeting("alice", ["bob"])
        await sdk.meeting.end_meeting("alice", meeting)

        assert await ends(sdk, "bob", meeting) is EndReason.CANCELLED
        assert (await sdk.inbox.page("bob")).items == []
