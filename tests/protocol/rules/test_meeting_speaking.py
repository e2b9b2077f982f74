"""Who may speak in a meeting, what a late or repeated call does, and what it proves."""

from __future__ import annotations

import pytest

from agent_messaging.errors import (
    InvalidMeetingStateError,
    MeetingEndedError,
    NotCurrentSpeakerError,
)
from agent_messaging.rules.meeting import (
    Attend,
    Leave,
    RefusalReason,
    Speak,
)
from agent_messaging_db.rows import EndReason, MeetingEvent, MemberStatus
from tests.protocol.rules.playing import ALICE, BOB, CAROL, Play, kinds, started


@pytest.mark.requirement("meeting:speak:holder-only")
def test_only_the_holder_speaks_and_only_on_the_turn_that_it_holds() -> None:
    play = started(ALICE, BOB, CAROL)
    before = play.state
    for command, reason in [
        (Speak(CAROL), RefusalReason.NOT_THE_SPEAKER),
        (Speak(CAROL, 2), RefusalReason.NOT_THE_SPEAKER),
        (Speak(ALICE, 1), RefusalReason.TURN_IS_OVER),
        (Speak(BOB, 1), RefusalReason.TURN_IS_OVER),
        (Speak(BOB, 3), RefusalReason.NO_SUCH_TURN),
    ]:
        refused = play.refuses(command, NotCurrentSpeakerError)
        assert (refused.reason, refused.state, refused.due) == (reason, before, None)


@pytest.mark.requirement("meeting:speak:stale")
def test_a_speech_that_comes_too_late_is_refused_with_when_its_turn_ended() -> None:
    play = started(ALICE, BOB, CAROL)
    play.signal()
    ended_at = play.meeting.floor_deadline
    play.wait(80)
    first = play.refuses(Speak(BOB, 2), NotCurrentSpeakerError)
    again = play.refuses(Speak(BOB, 2), NotCurrentSpeakerError)

    assert (first.reason, first.turn, first.turn_ended_at) == (RefusalReason.TURN_IS_OVER, 2, ended_at)
    assert first.due is not None
    assert first.state == first.due.state == play.state
    assert (again.due, again.turn_ended_at) == (None, play.now)
    assert play.meeting.holder_id == CAROL


@pytest.mark.requirement("meeting:speak:stale")
def test_of_two_speeches_on_one_turn_exactly_one_wins() -> None:
    play = started(ALICE, BOB)
    play.speak()

    assert play.refuses(Speak(BOB, 2), NotCurrentSpeakerError).reason is RefusalReason.TURN_IS_OVER


@pytest.mark.requirement("meeting:speak:stale")
def test_a_speech_after_the_deadline_finds_the_meeting_ended() -> None:
    play = started(ALICE, BOB, deadline=100.0)
    play.wait(100).refuses(Speak(BOB, 2), MeetingEndedError)

    assert play.meeting.reason is EndReason.DEADLINE


@pytest.mark.requirement("meeting:speak:not-started")
def test_nobody_speaks_before_the_start() -> None:
    play = Play(ALICE, BOB).attend(ALICE, BOB)

    assert play.refuses(Speak(ALICE), InvalidMeetingStateError).reason is RefusalReason.NOT_STARTED


@pytest.mark.requirement("meeting:receipt")
def test_naming_the_turn_proves_what_its_first_signal_covered() -> None:
    play = started(ALICE, BOB, CAROL)
    play.signal()
    covered = play.meeting.last_seq
    play.does(Leave(CAROL))
    play.signal()
    play.does(Speak(BOB, 2))

    assert play.member(BOB).cursor == covered < play.meeting.last_seq


@pytest.mark.requirement("meeting:receipt")
def test_a_turn_that_was_not_named_or_not_signalled_proves_nothing() -> None:
    play = started(ALICE, BOB)
    play.signal()
    play.does(Speak(BOB))
    play.does(Speak(ALICE, 3))

    assert (play.member(BOB).cursor, play.member(ALICE).cursor) == (0, 0)


@pytest.mark.requirement("meeting:receipt")
def test_the_cursor_moves_forward_only_and_never_past_the_last_entry() -> None:
    play = started(ALICE, BOB)
    last = play.meeting.last_seq
    for after_seq, cursor in [(2, 2), (1, 2), (-5, 2), (10**9, last)]:
        assert play.does(Attend(BOB, after_seq=after_seq)) == ()
        assert play.member(BOB).cursor == cursor


@pytest.mark.requirement("meeting:attend:idempotent")
def test_attending_again_changes_nothing_and_restarts_no_clock() -> None:
    play = started(ALICE, BOB)
    play.signal()
    before = play.state
    play.wait(30).attend(BOB, ALICE)

    assert play.state is before


@pytest.mark.requirement("meeting:leave:speaker")
def test_a_speaker_who_leaves_yields_at_once() -> None:
    play = started(ALICE, BOB, CAROL)
    (event,) = play.does(Leave(BOB))

    assert (event.event, event.data["yielded"], event.data["next"]) == (
        MeetingEvent.AGENT_LEFT,
        True,
        str(CAROL),
    )
    assert (play.meeting.turn, play.meeting.holder_id) == (3, CAROL)
    assert play.member(BOB).status is MemberStatus.LEFT


@pytest.mark.requirement("meeting:transitions")
def test_what_was_due_and_the_command_are_one_transition() -> None:
    play = started(ALICE, BOB, CAROL)
    version, last = play.meeting.version, play.meeting.last_seq
    events = play.wait(120).does(Speak(CAROL, 3))

    assert kinds(events) == [MeetingEvent.AGENT_TIMED_OUT, MeetingEvent.AGENT_SPOKE]
    assert (play.meeting.version, play.meeting.last_seq) == (version + 1, last + 2)
