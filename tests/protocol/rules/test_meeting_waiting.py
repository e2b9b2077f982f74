"""What a meeting says about itself: whom it waits for, what is due, who has which part."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent_messaging.rules import meeting_view as view
from agent_messaging.rules.meeting import (
    Start,
    apply_due,
)
from agent_messaging.rules.meeting_waiting import NextStep, WaitReason, waiting_for
from agent_messaging_db.rows import EndReason
from tests.protocol.rules.playing import ALICE, BOB, CAROL, Play, started


@pytest.mark.requirement("meeting:due")
def test_nothing_is_due_a_moment_before_it_is() -> None:
    play = started(ALICE, BOB)
    due = view.next_due(play.state)
    assert due is not None

    assert apply_due(play.state, due - timedelta(microseconds=1)) is None
    assert apply_due(play.state, due) is not None


@pytest.mark.requirement("meeting:parts")
def test_waiting_and_speaking_are_attending_with_and_without_the_floor() -> None:
    play = Play(ALICE, BOB, CAROL).attend(ALICE, BOB)
    parts = [view.participant_status(play.state, member) for member in play.state.members]
    assert parts == [view.Part.ATTENDING, view.Part.ATTENDING, view.Part.INVITED]

    play.does(Start(ALICE, force=True))
    parts = [view.participant_status(play.state, member) for member in play.state.members]
    assert parts == [view.Part.WAITING, view.Part.SPEAKING, view.Part.INVITED]


@pytest.mark.requirement("meeting:waiting-for")
def test_a_meeting_says_whom_it_waits_for_and_what_happens_next_and_when() -> None:
    play = Play(ALICE, BOB, CAROL, start_by=300.0).attend(ALICE)
    waiting = waiting_for(play.state, play.now)
    assert waiting is not None
    assert (waiting.agents, waiting.reason) == ((BOB, CAROL), WaitReason.ATTENDANCE)
    assert (waiting.next_step, waiting.end_reason) == (NextStep.ENDS, EndReason.NO_QUORUM)

    waiting = waiting_for(play.attend(BOB, CAROL).state, play.now)
    assert waiting is not None
    assert (waiting.agents, waiting.reason, waiting.next_step) == (
        (ALICE,),
        WaitReason.START,
        NextStep.STARTS,
    )

    play.does(Start(ALICE))
    play.wait(5).signal()
    waiting = waiting_for(play.state, play.now)
    assert waiting is not None
    assert (waiting.agents, waiting.reason, waiting.since) == ((BOB,), WaitReason.SPEECH, play.now)
    assert (waiting.next_step, waiting.next_speaker, waiting.goes_away) == (
        NextStep.FLOOR_MOVES,
        CAROL,
        None,
    )
    assert waiting.next_at == play.now + timedelta(seconds=60)


@pytest.mark.requirement("meeting:waiting-for")
def test_a_second_silence_is_announced_as_going_away_and_an_ended_meeting_waits_for_nobody() -> None:
    play = started(ALICE, BOB)
    play.silence(120)
    play.speak()
    waiting = waiting_for(play.state, play.now)
    assert waiting is not None
    assert (waiting.reason, waiting.goes_away, waiting.next_speaker) == (WaitReason.PICK_UP, BOB, ALICE)

    play.silence(100_000)
    assert waiting_for(play.state, play.now) is None
