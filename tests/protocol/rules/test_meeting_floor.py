"""The floor of a meeting: how long a turn lasts, silence, passing, and the ends they come to."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent_messaging.errors import (
    NotCurrentSpeakerError,
)
from agent_messaging.rules import meeting_view as view
from agent_messaging.rules.meeting import (
    Attend,
    Leave,
    RefusalReason,
    See,
    Speak,
    Start,
    next_in_order,
)
from agent_messaging_db.rows import EndReason, Floor, MeetingEvent, MeetingPhase, MemberStatus, Quiet
from tests.protocol.rules.playing import ALICE, BOB, CAROL, DAVE, Play, kinds, started


@pytest.mark.requirement("meeting:pass")
def test_a_pass_is_recorded_and_may_name_who_speaks_next() -> None:
    play = started(ALICE, BOB, CAROL, DAVE)
    (event,) = play.pass_on(naming=DAVE)

    assert (event.event, event.agent_id, event.turn) == (MeetingEvent.TURN_PASSED, BOB, 2)
    assert (play.meeting.holder_id, play.member(BOB).quiet) == (DAVE, Quiet.PASSED)


@pytest.mark.requirement("meeting:end:all-passed")
def test_when_everyone_attending_passed_or_was_skipped_the_meeting_ends_all_passed() -> None:
    play = started(ALICE, BOB, CAROL)
    play.pass_on()
    play.silence(120)
    assert play.meeting.phase is MeetingPhase.ACTIVE
    events = play.pass_on()

    assert kinds(events) == [MeetingEvent.TURN_PASSED, MeetingEvent.MEETING_ENDED]
    assert play.meeting.reason is EndReason.ALL_PASSED
    assert "next" not in events[0].data


@pytest.mark.requirement("meeting:end:all-passed")
def test_a_speech_ends_the_quiet_of_everybody_and_joining_ones_own() -> None:
    play = started(ALICE, BOB, CAROL)
    play.pass_on()
    play.speak()
    assert play.member(BOB).quiet is None
    play.pass_on()
    play.pass_on()
    play.does(Leave(BOB))
    play.attend(BOB)
    play.pass_on()

    assert play.meeting.phase is MeetingPhase.ACTIVE


@pytest.mark.requirement("meeting:end:all-passed")
def test_the_quiet_end_a_meeting_only_when_the_floor_is_to_move() -> None:
    play = started(ALICE, BOB, CAROL)
    play.pass_on()
    play.pass_on()
    play.does(Leave(CAROL))
    assert play.meeting.phase is MeetingPhase.ACTIVE
    play.pass_on()

    assert play.meeting.reason is EndReason.ALL_PASSED


@pytest.mark.requirement("meeting:end:abandoned")
def test_a_meeting_that_everyone_left_is_abandoned() -> None:
    play = started(ALICE, BOB)
    play.silence(120)
    play.speak()
    play.silence(120)
    assert play.member(BOB).status is MemberStatus.AWAY
    play.silence(120)

    assert play.meeting.reason is EndReason.ABANDONED


@pytest.mark.requirement("meeting:end:abandoned")
def test_the_pass_of_a_member_who_left_does_not_make_silence_a_decision() -> None:
    play = started(ALICE, BOB, CAROL)
    play.pass_on()
    play.does(Leave(BOB))
    play.silence(120)
    play.silence(120)

    assert play.meeting.reason is EndReason.ABANDONED


@pytest.mark.requirement("meeting:end:all-passed")
def test_a_last_pass_on_the_last_turn_ends_the_meeting_all_passed() -> None:
    play = started(ALICE, BOB, max_turns=3)
    play.pass_on()
    play.pass_on()

    assert (play.meeting.turn, play.meeting.reason) == (3, EndReason.ALL_PASSED)


@pytest.mark.requirement("meeting:max-turns")
def test_every_grant_counts_towards_max_turns() -> None:
    play = started(ALICE, BOB, CAROL, max_turns=4)
    assert view.turns_left(play.state) == 2
    play.pass_on()
    play.silence(120)
    assert next_in_order(play.state) is None
    events = play.speak()

    assert kinds(events) == [MeetingEvent.AGENT_SPOKE, MeetingEvent.MEETING_ENDED]
    assert (play.meeting.reason, play.meeting.turn) == (EndReason.MAX_TURNS, 4)


@pytest.mark.requirement("meeting:max-turns")
def test_the_opening_is_a_grant() -> None:
    play = Play(ALICE, BOB, max_turns=1).attend(ALICE, BOB)
    play.does(Start(ALICE))

    assert play.meeting.reason is EndReason.MAX_TURNS


@pytest.mark.requirement("meeting:clock:offer")
def test_an_offered_turn_waits_for_its_signal_and_then_has_its_whole_duration() -> None:
    play = started(ALICE, BOB)
    assert play.meeting.floor_deadline == play.now + timedelta(seconds=120)
    play.wait(100).signal()

    assert play.meeting.floor is Floor.SEEN
    assert play.meeting.floor_deadline == play.now + timedelta(seconds=60)
    assert view.next_due(play.state) == play.meeting.floor_deadline


@pytest.mark.requirement("meeting:clock:offer")
def test_seeing_a_turn_twice_keeps_its_clock_and_what_was_seen() -> None:
    play = started(ALICE, BOB, CAROL)
    play.signal()
    before = play.state
    play.wait(30)
    play.signal()

    assert play.state is before


@pytest.mark.requirement("meeting:clock:offer")
def test_a_signal_is_written_only_while_its_turn_stands() -> None:
    play = started(ALICE, BOB)
    refused = play.wait(120).refuses(See(BOB, 2), NotCurrentSpeakerError)

    assert refused.reason is RefusalReason.TURN_IS_OVER
    assert (play.meeting.turn, play.meeting.floor) == (3, Floor.OFFERED)


@pytest.mark.requirement("meeting:clock:outage")
def test_after_an_outage_the_floor_moves_once_and_the_next_holder_gets_its_whole_clock() -> None:
    play = started(ALICE, BOB, CAROL)
    events = play.silence(10_000)

    assert kinds(events) == [MeetingEvent.AGENT_TIMED_OUT]
    assert play.meeting.floor_deadline == play.now + timedelta(seconds=120)


@pytest.mark.requirement("meeting:clock:no-turn-timeout")
def test_without_a_turn_limit_a_seen_turn_is_bounded_by_the_meetings_deadline_alone() -> None:
    play = started(ALICE, BOB, turn_duration=None, deadline=3600.0)
    assert view.next_due(play.state) == play.now + timedelta(seconds=120)
    play.signal()
    assert play.meeting.floor_deadline is None
    assert play.silence(3599) == ()
    play.silence(1)

    assert play.meeting.reason is EndReason.DEADLINE


@pytest.mark.requirement("meeting:silence")
def test_silence_moves_the_floor_by_order_and_is_recorded() -> None:
    play = started(ALICE, BOB, CAROL)
    play.signal()
    (event,) = play.silence(60)

    assert (event.event, event.agent_id, event.turn) == (MeetingEvent.AGENT_TIMED_OUT, BOB, 2)
    assert (event.data["away"], event.data["seen"], event.data["next"]) == (False, True, str(CAROL))
    assert play.meeting.holder_id == CAROL


@pytest.mark.requirement("meeting:away")
def test_two_skips_with_nothing_of_its_own_between_make_a_member_away() -> None:
    play = started(ALICE, BOB)
    play.silence(120)
    play.speak()
    (event,) = play.silence(120)

    assert play.member(BOB).status is MemberStatus.AWAY
    assert event.data["away"] is True


@pytest.mark.requirement("meeting:away")
@pytest.mark.parametrize("passing", [False, True])
def test_a_speech_or_pass_between_two_skips_keeps_a_member_attending(passing: bool) -> None:
    play = started(ALICE, BOB)
    play.silence(120)
    play.speak()
    play.does(Speak(BOB, play.meeting.turn, passing=passing))
    play.speak()
    play.silence(120)

    assert play.member(BOB).status is MemberStatus.ATTENDING


@pytest.mark.requirement("meeting:away:returns")
def test_attending_brings_an_away_member_back_to_its_place_and_nothing_else_does() -> None:
    play = started(ALICE, BOB, CAROL)
    for _ in range(2):
        play.silence(120)
        play.speakers(2)
    position = play.member(BOB).position
    play.refuses(Speak(BOB), NotCurrentSpeakerError)
    assert play.member(BOB).status is MemberStatus.AWAY
    (event,) = play.does(Attend(BOB))

    assert event.data == {"returned": True}
    assert (play.member(BOB).position, play.member(BOB).quiet) == (position, None)
    play.speak()
    assert play.meeting.holder_id == BOB
