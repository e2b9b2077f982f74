"""The host of a meeting: handing over, vanishing, coming back."""

from __future__ import annotations

import pytest

from agent_messaging.errors import (
    AgentNotInMeetingError,
    HostCannotLeaveError,
    InvalidMeetingStateError,
    NotMeetingHostError,
)
from agent_messaging.rules import meeting_view as view
from agent_messaging.rules.meeting import (
    Attend,
    End,
    HandOver,
    Leave,
    Start,
)
from agent_messaging_db.rows import EndReason, MeetingEvent, MemberStatus
from tests.protocol.rules.playing import (
    ALICE,
    BOB,
    CAROL,
    STRANGER,
    Play,
    kinds,
    started,
)


@pytest.mark.requirement("meeting:leave:host")
def test_the_host_cannot_leave_before_it_handed_over() -> None:
    for play in (Play(ALICE, BOB).attend(ALICE, BOB), started(ALICE, BOB)):
        play.refuses(Leave(ALICE), HostCannotLeaveError)
        (event,) = play.does(HandOver(ALICE, BOB))
        assert (event.event, event.agent_id) == (MeetingEvent.HOST_CHANGED, BOB)
        assert event.data == {"from": str(ALICE), "to": str(BOB), "acting": False}
        play.does(Leave(ALICE))
        play.refuses(Leave(BOB), HostCannotLeaveError)


@pytest.mark.requirement("meeting:hand-over")
def test_a_meeting_is_handed_over_by_its_host_to_an_attending_member_only() -> None:
    play = Play(ALICE, BOB, CAROL).attend(ALICE, BOB)

    play.refuses(HandOver(BOB, ALICE), NotMeetingHostError)
    play.refuses(HandOver(ALICE, STRANGER), AgentNotInMeetingError)
    play.refuses(HandOver(ALICE, CAROL), InvalidMeetingStateError)
    assert play.does(HandOver(ALICE, ALICE)) == ()


def absent_host() -> Play:
    """Alice, the host, was skipped twice and is away; Carol attended before Bob did."""
    play = Play(ALICE, BOB, CAROL).attend(ALICE, CAROL, BOB)
    play.does(Start(ALICE))
    for _ in range(2):
        play.speakers(2)
        play.silence(120)
    assert play.member(ALICE).status is MemberStatus.AWAY
    return play


@pytest.mark.requirement("meeting:host:acting")
def test_while_the_host_is_away_the_longest_attending_member_acts_as_host() -> None:
    play = absent_host()

    assert kinds(tuple(play.events[-2:])) == [MeetingEvent.AGENT_TIMED_OUT, MeetingEvent.HOST_CHANGED]
    assert play.events[-1].data == {"from": str(ALICE), "to": str(CAROL), "acting": True}
    play.refuses(End(BOB), NotMeetingHostError)
    play.does(End(CAROL, "agreed"))
    assert (play.meeting.reason, play.meeting.outcome) == (EndReason.BY_HOST, "agreed")


@pytest.mark.requirement("meeting:host:acting")
def test_the_acting_host_is_free_to_leave_and_the_next_one_acts() -> None:
    play = absent_host()
    events = play.does(Leave(CAROL))

    assert kinds(events)[-1] is MeetingEvent.HOST_CHANGED
    assert view.acting_host(play.state) == BOB


@pytest.mark.requirement("meeting:host:returns")
def test_the_host_is_host_again_the_moment_it_attends_and_not_before() -> None:
    play = absent_host()
    play.refuses(End(ALICE), NotMeetingHostError)
    play.refuses(Leave(ALICE), HostCannotLeaveError)
    events = play.does(Attend(ALICE))

    assert kinds(events) == [MeetingEvent.AGENT_JOINED, MeetingEvent.HOST_CHANGED]
    play.refuses(End(CAROL), NotMeetingHostError)
    play.does(End(ALICE))


@pytest.mark.requirement("meeting:host:acting")
def test_an_acting_host_has_all_rights_so_it_can_make_another_the_host_for_good() -> None:
    play = absent_host()
    play.does(HandOver(CAROL, BOB))
    play.attend(ALICE)

    assert (play.meeting.host_id, view.acting_host(play.state)) == (BOB, BOB)
