"""A meeting from its start to its end: who may come, start it and end it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent_messaging.errors import (
    AgentNotInMeetingError,
    InvalidMeetingStateError,
    MeetingEndedError,
    NotMeetingHostError,
)
from agent_messaging.rules import meeting_view as view
from agent_messaging.rules.meeting import (
    FLOOR,
    MEMBERS,
    PHASES,
    Attend,
    End,
    HandOver,
    Leave,
    RefusalReason,
    See,
    Speak,
    Start,
)
from agent_messaging_db.rows import EndReason, Floor, MeetingEvent, MeetingPhase, MemberStatus
from tests.protocol.rules.playing import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    DAY,
    NOON,
    STRANGER,
    Play,
    kinds,
    started,
)


@pytest.mark.requirement("meeting:deadline")
def test_without_a_deadline_of_its_own_a_meeting_has_the_longest_one() -> None:
    assert Play(ALICE, BOB).meeting.deadline == NOON + timedelta(seconds=DAY)


@pytest.mark.requirement("meeting:ready")
def test_a_meeting_is_ready_when_everyone_who_has_not_declined_attends() -> None:
    play = Play(ALICE, BOB, CAROL).attend(ALICE, BOB)
    assert view.status(play.state) is view.Status.CREATED
    assert view.missing(play.state) == (CAROL,)

    play.does(Leave(CAROL))
    assert view.status(play.state) is view.Status.READY
    assert view.missing(play.state) == ()


@pytest.mark.requirement("meeting:ready")
def test_a_meeting_is_not_ready_without_its_host_or_with_fewer_than_two() -> None:
    play = Play(ALICE, BOB, CAROL, quorum=2).attend(BOB, CAROL)
    assert view.status(play.state) is view.Status.CREATED
    assert view.missing(play.state) == (ALICE,)

    play = Play(ALICE, BOB).attend(ALICE)
    play.does(Leave(BOB))
    assert view.status(play.state) is view.Status.CREATED
    assert view.quorum(play.state) == 2


@pytest.mark.requirement("meeting:ready")
def test_an_explicit_quorum_is_enough() -> None:
    play = Play(ALICE, BOB, CAROL, DAVE, quorum=3).attend(ALICE, DAVE)
    assert view.missing(play.state) == (BOB, CAROL)

    assert view.status(play.attend(BOB).state) is view.Status.READY


@pytest.mark.requirement("meeting:decline")
@pytest.mark.parametrize("attended", [False, True])
def test_leaving_before_the_start_is_declining(attended: bool) -> None:
    play = Play(ALICE, BOB, CAROL)
    if attended:
        play.attend(BOB)
    (event,) = play.does(Leave(BOB))

    assert play.member(BOB).status is MemberStatus.DECLINED
    assert (event.event, event.data["declined"]) == (MeetingEvent.AGENT_LEFT, True)
    assert play.does(Leave(BOB)) == ()


@pytest.mark.requirement("meeting:decline")
def test_leaving_an_active_meeting_while_invited_is_declining() -> None:
    play = Play(ALICE, BOB, CAROL).attend(ALICE, BOB)
    play.does(Start(ALICE, force=True))
    play.does(Leave(CAROL))

    assert play.member(CAROL).status is MemberStatus.DECLINED


@pytest.mark.requirement("meeting:decline")
def test_who_declined_may_attend_at_the_end_of_the_order() -> None:
    play = Play(ALICE, BOB, CAROL)
    play.does(Leave(BOB))
    play.attend(ALICE, BOB, CAROL)
    play.does(Start(ALICE))

    assert play.speakers(3) == [CAROL, BOB, ALICE]


@pytest.mark.requirement("meeting:start:host-only")
def test_only_the_host_starts_and_only_once() -> None:
    play = Play(ALICE, BOB).attend(ALICE, BOB)
    for agent in (BOB, STRANGER):
        assert play.refuses(Start(agent), NotMeetingHostError).reason is RefusalReason.NOT_HOST
    play.does(Start(ALICE))

    assert play.refuses(Start(ALICE), InvalidMeetingStateError).reason is RefusalReason.ALREADY_STARTED


@pytest.mark.requirement("meeting:start:not-ready")
def test_starting_an_unready_meeting_is_refused_with_who_is_missing() -> None:
    play = Play(ALICE, BOB, CAROL, DAVE).attend(BOB)
    refused = play.refuses(Start(ALICE), InvalidMeetingStateError)

    assert (refused.reason, refused.missing) == (RefusalReason.NOT_READY, (CAROL, DAVE))
    assert play.member(ALICE).status is MemberStatus.INVITED


@pytest.mark.requirement("meeting:start:opening")
def test_calling_start_counts_as_attending_and_the_opening_is_turn_one() -> None:
    play = Play(ALICE, BOB).attend(BOB)
    events = play.does(Start(ALICE))

    assert kinds(events) == [
        MeetingEvent.AGENT_JOINED,
        MeetingEvent.MEETING_STARTED,
        MeetingEvent.AGENT_SPOKE,
    ]
    assert (events[-1].agent_id, events[-1].turn) == (ALICE, 1)
    assert (play.meeting.turn, play.meeting.holder_id) == (2, BOB)


@pytest.mark.requirement("meeting:start:opening")
def test_the_opening_may_name_who_speaks_next() -> None:
    play = Play(ALICE, BOB, CAROL).attend(ALICE, BOB, CAROL)
    play.does(Start(ALICE, next_speaker=CAROL))

    assert play.meeting.holder_id == CAROL


@pytest.mark.requirement("meeting:start:force")
def test_force_starts_with_any_two_and_never_with_one() -> None:
    play = Play(ALICE, BOB, CAROL, DAVE)
    refused = play.refuses(Start(ALICE, force=True), InvalidMeetingStateError)
    assert refused.reason is RefusalReason.TOO_FEW_ATTEND

    events = play.attend(DAVE).does(Start(ALICE, force=True))
    assert next(e for e in events if e.event is MeetingEvent.MEETING_STARTED).data["forced"] is True
    assert play.meeting.holder_id == DAVE


@pytest.mark.requirement("meeting:start-by")
def test_at_start_by_a_quorate_meeting_starts_and_the_host_is_offered_turn_one() -> None:
    play = Play(ALICE, BOB, CAROL, quorum=2, start_by=300.0).attend(BOB, ALICE)
    assert play.silence(299) == ()
    (event,) = play.silence(1)

    assert (event.event, event.agent_id) == (MeetingEvent.MEETING_STARTED, None)
    assert event.data == {"forced": False, "next": str(ALICE), "next_turn": 1, "why": "order"}
    assert (play.meeting.turn, play.meeting.holder_id, play.meeting.floor) == (1, ALICE, Floor.OFFERED)


@pytest.mark.requirement("meeting:start-by")
def test_at_start_by_a_meeting_starts_without_its_host_under_an_acting_one() -> None:
    play = Play(ALICE, BOB, CAROL, quorum=2, start_by=300.0).attend(CAROL, BOB)
    events = play.silence(300)

    assert kinds(events) == [MeetingEvent.MEETING_STARTED, MeetingEvent.HOST_CHANGED]
    assert (play.meeting.holder_id, view.acting_host(play.state)) == (BOB, CAROL)


@pytest.mark.requirement("meeting:start-by")
def test_at_start_by_a_meeting_without_quorum_ends() -> None:
    play = Play(ALICE, BOB, start_by=300.0).attend(ALICE)

    assert kinds(play.silence(300)) == [MeetingEvent.MEETING_ENDED]
    assert play.meeting.reason is EndReason.NO_QUORUM


@pytest.mark.requirement("meeting:deadline")
def test_the_deadline_ends_any_meeting_whatever_else_is_due() -> None:
    play = started(ALICE, BOB, deadline=3600.0)
    assert kinds(play.silence(3600)) == [MeetingEvent.MEETING_ENDED]
    assert play.meeting.reason is EndReason.DEADLINE

    play = Play(ALICE, BOB, start_by=60.0, deadline=3600.0).attend(ALICE, BOB)
    play.silence(3600)
    assert play.meeting.reason is EndReason.NO_QUORUM


@pytest.mark.requirement("meeting:members-only")
def test_who_was_never_invited_can_do_nothing() -> None:
    play = started(ALICE, BOB)
    for command in (Attend(STRANGER), Speak(STRANGER, 2), See(STRANGER, 2), Leave(STRANGER)):
        play.refuses(command, AgentNotInMeetingError)
    for command in (End(STRANGER), HandOver(STRANGER, BOB)):
        play.refuses(command, NotMeetingHostError)


@pytest.mark.requirement("meeting:end:host-only")
def test_only_the_host_ends_a_meeting_and_before_the_start_that_cancels_it() -> None:
    for play, reason in [
        (Play(ALICE, BOB), EndReason.CANCELLED),
        (started(ALICE, BOB), EndReason.BY_HOST),
    ]:
        play.refuses(End(BOB), NotMeetingHostError)
        (event,) = play.does(End(ALICE, "done"))
        assert event.data == {"reason": reason.value, "outcome": "done"}
        assert (play.meeting.phase, play.meeting.floor) == (MeetingPhase.ENDED, Floor.NONE)


@pytest.mark.requirement("meeting:end:quiet")
def test_ending_an_ended_meeting_changes_nothing_and_the_first_reason_stands() -> None:
    play = started(ALICE, BOB)
    play.does(End(ALICE, "first"))
    before = play.state
    play.wait(DAY * 2).does(End(ALICE, "second"))
    play.does(End(BOB))

    assert play.state is before


@pytest.mark.requirement("meeting:end:wins")
def test_a_speech_that_comes_after_the_end_is_refused() -> None:
    play = started(ALICE, BOB)
    play.does(End(ALICE))

    for command in (Speak(BOB, 2), See(BOB, 2), Start(ALICE), HandOver(ALICE, BOB)):
        assert play.refuses(command, MeetingEndedError).due is None


@pytest.mark.requirement("meeting:after-end")
def test_attending_an_ended_meeting_is_reading_it() -> None:
    play = started(ALICE, BOB)
    play.does(End(ALICE))
    last = play.meeting.last_seq

    assert play.does(Attend(BOB, after_seq=last)) == ()
    assert play.member(BOB).cursor == last
    assert play.does(Leave(BOB)) == play.does(Leave(ALICE)) == ()
    assert view.participant_status(play.state, play.member(BOB)) is view.Part.ATTENDING


def test_every_phase_status_and_floor_has_its_row() -> None:
    assert (set(PHASES), set(MEMBERS), set(FLOOR)) == (set(MeetingPhase), set(MemberStatus), set(Floor))
