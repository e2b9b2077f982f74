"""Who speaks next in a meeting."""

from __future__ import annotations

import pytest

from agent_messaging.errors import (
    AgentNotInMeetingError,
    InvalidMeetingStateError,
)
from agent_messaging.rules.meeting import (
    Leave,
    RefusalReason,
    Speak,
    Start,
    Why,
    next_in_order,
)
from agent_messaging_db.rows import MeetingEvent, MemberStatus
from tests.protocol.rules.playing import ALICE, BOB, CAROL, DAVE, EVE, STRANGER, Play, started


@pytest.mark.requirement("meeting:order")
def test_the_order_is_round_robin_when_nobody_is_named() -> None:
    play = started(ALICE, BOB, CAROL)
    assert next_in_order(play.state) == CAROL

    assert play.speakers(7) == [BOB, CAROL, ALICE, BOB, CAROL, ALICE, BOB]


@pytest.mark.requirement("meeting:order")
def test_who_was_least_recently_granted_the_floor_goes_next_even_if_it_passed_or_was_skipped() -> None:
    play = started(ALICE, BOB, CAROL, DAVE)
    play.speak(naming=DAVE)
    play.pass_on()
    assert play.meeting.holder_id == CAROL
    play.silence(120)

    assert play.speakers(4) == [ALICE, BOB, DAVE, CAROL]


@pytest.mark.requirement("meeting:order:late-joiner")
def test_a_late_joiner_goes_to_the_end_of_the_order() -> None:
    play = Play(ALICE, BOB, CAROL, DAVE).attend(ALICE, CAROL)
    play.does(Start(ALICE, force=True))
    play.attend(DAVE, BOB)

    assert play.speakers(5) == [CAROL, ALICE, CAROL, DAVE, BOB]


@pytest.mark.requirement("meeting:order:late-joiner")
def test_who_left_comes_back_at_the_end_of_the_order() -> None:
    play = started(ALICE, BOB, CAROL)
    play.does(Leave(CAROL))
    play.attend(CAROL)

    assert play.speakers(4) == [BOB, ALICE, BOB, CAROL]


@pytest.mark.requirement("meeting:order")
def test_a_lone_speaker_yields_to_whoever_joined_during_its_turn() -> None:
    play = started(ALICE, BOB)
    play.speak()
    play.does(Leave(BOB))
    play.attend(BOB)

    assert play.speakers(3) == [ALICE, BOB, ALICE]


@pytest.mark.requirement("meeting:order:fairness")
def test_whoever_saw_twice_as_many_grants_as_attend_goes_next_whoever_is_named() -> None:
    play = started(ALICE, BOB, CAROL)
    for turn in range(2, 6):
        play.speak(naming=ALICE if turn % 2 == 0 else BOB)
    assert play.meeting.turn == 6
    (event,) = play.speak(naming=ALICE)

    assert (play.meeting.turn, play.meeting.holder_id) == (7, CAROL)
    assert (event.data["next"], event.data["why"], event.data["named"]) == (
        str(CAROL),
        Why.FAIRNESS,
        str(ALICE),
    )


@pytest.mark.requirement("meeting:order:fairness")
def test_a_member_does_not_count_the_grants_from_before_it_attended() -> None:
    play = Play(ALICE, BOB, CAROL).attend(ALICE, BOB)
    play.does(Start(ALICE, force=True))
    play.speakers(10)
    play.attend(CAROL)
    named = ALICE if play.meeting.holder_id == BOB else BOB
    play.speak(naming=named)

    assert play.meeting.holder_id == named


@pytest.mark.requirement("meeting:order:fairness")
def test_a_member_does_not_count_the_grants_that_went_by_while_it_was_away() -> None:
    play = started(ALICE, BOB, CAROL)
    for _ in range(2):
        play.silence(120)
        play.speakers(2)
    assert play.member(BOB).status is MemberStatus.AWAY
    play.speakers(10)
    play.attend(BOB)
    named = ALICE if play.meeting.holder_id == CAROL else CAROL
    play.speak(naming=named)

    assert play.meeting.holder_id == named


@pytest.mark.requirement("meeting:order:fairness")
def test_of_several_who_waited_too_long_the_one_who_waited_longest_goes_first() -> None:
    play = started(ALICE, BOB, CAROL, DAVE, EVE)
    for name in (CAROL, BOB, ALICE, BOB, ALICE, BOB, ALICE):
        play.speak(naming=name)
    play.does(Leave(BOB))
    play.does(Leave(EVE))
    play.speak(naming=CAROL)
    assert play.meeting.holder_id == DAVE
    play.speak(naming=ALICE)

    assert play.meeting.holder_id == CAROL


@pytest.mark.requirement("meeting:next-speaker")
def test_the_speaker_may_name_who_speaks_next() -> None:
    play = started(ALICE, BOB, CAROL, DAVE)
    (event,) = play.speak(naming=DAVE)

    assert play.meeting.holder_id == DAVE
    assert event.data == {
        "turn": 2,
        "next": str(DAVE),
        "next_turn": 3,
        "why": Why.NAMED,
        "named": str(DAVE),
    }


@pytest.mark.requirement("meeting:next-speaker:not-a-member")
def test_naming_who_was_never_invited_records_nothing_and_the_floor_is_kept() -> None:
    play = started(ALICE, BOB)
    before = play.state
    refused = play.refuses(Speak(BOB, 2, next_speaker=STRANGER), AgentNotInMeetingError)

    assert refused.reason is RefusalReason.NEXT_SPEAKER_NOT_A_MEMBER
    assert play.state is before


@pytest.mark.requirement("meeting:next-speaker:oneself")
def test_naming_oneself_is_refused_unless_one_is_alone() -> None:
    play = started(ALICE, BOB)
    before = play.state
    play.refuses(Speak(BOB, 2, next_speaker=BOB), InvalidMeetingStateError)
    assert play.state is before
    play.speak()
    play.does(Leave(BOB))
    (event,) = play.speak(naming=ALICE)

    assert (play.meeting.holder_id, event.data["why"]) == (ALICE, Why.NAMED)


@pytest.mark.requirement("meeting:next-speaker:not-attending")
@pytest.mark.parametrize("status", [MemberStatus.INVITED, MemberStatus.DECLINED, MemberStatus.LEFT])
def test_naming_a_member_who_does_not_attend_lapses_and_the_speech_is_recorded(status: MemberStatus) -> None:
    play = Play(ALICE, BOB, CAROL, DAVE).attend(ALICE, BOB, CAROL)
    if status is MemberStatus.LEFT:
        play.attend(DAVE)
    play.does(Start(ALICE, force=True))
    if status is not MemberStatus.INVITED:
        play.does(Leave(DAVE))
    assert play.member(DAVE).status is status
    (event,) = play.speak(naming=DAVE)

    assert (event.event, event.agent_id) == (MeetingEvent.AGENT_SPOKE, BOB)
    assert (play.meeting.holder_id, event.data["why"]) == (CAROL, Why.NOT_ATTENDING)
