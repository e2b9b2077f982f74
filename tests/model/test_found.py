"""What random histories found, each as the short story that it shrank to."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.model import clock
from tests.model.operations import (
    Answer,
    Ask,
    Attend,
    Crash,
    Create,
    Cut,
    MarkRead,
    Operation,
    Pass,
    Speak,
    Start,
    Unread,
)
from tests.model.processes import LocalProcess
from tests.model.world import Laboratory, World


@asynccontextmanager
async def world(dsn: str) -> AsyncGenerator[World]:
    """A history, of which every step is held against the model."""
    await clock.install(dsn)
    laboratory = await Laboratory.open(dsn, lambda _: LocalProcess.open(dsn))
    told = World(laboratory)
    try:
        await told.begin()
        yield told
        await told.ends()
    finally:
        await told.abandon()
        await laboratory.close()


async def tells(dsn: str, *operations: Operation, looks: bool = True) -> None:
    async with world(dsn) as told:
        for operation in operations:
            await told.do(operation, looks=looks)


@pytest.mark.requirement("idempotency:refusals")
async def test_a_refused_reply_is_refused_again_with_its_key(dsn: str) -> None:
    """It was told as done the second time, with the id of an answer that nobody had stored."""
    await tells(
        dsn,
        Ask(1, 0, "ann", "ben", 300.0, stay=False),
        Answer(2, 0, "ben", "ann", 1, decline=False),
        Answer(3, 0, "ben", "ann", 1, decline=False, key="k"),
        Answer(4, 1, "ben", "ann", 1, decline=False, key="k", says=3),
    )


@pytest.mark.requirement("sync:session-waiting")
async def test_nobody_waits_in_a_conversation_whose_waiter_died(dsn: str) -> None:
    """It was shown as waiting for as long as the question stood, a year if need be."""
    await tells(
        dsn,
        Ask(1, 0, "ann", "ben", 100_000.0, stay=True),
        Crash(2, 0),
        Pass(3, 60.0, sweep=False),
        Answer(4, 1, "ben", "ann", None, decline=False),
    )


@pytest.mark.requirement("question:several")
async def test_questions_whose_time_has_passed_leave_room_for_others_before_anybody_sweeps(dsn: str) -> None:
    """The ninth question was refused for eight that were open no more."""
    asked = (Ask(number, 0, "ann", "ben", 10.0, stay=False) for number in range(1, 9))
    await tells(dsn, *asked, Pass(9, 60.0, sweep=False), Ask(10, 1, "ann", "ben", 300.0, stay=False))


@pytest.mark.requirement("inbox:cancelled-read")
@pytest.mark.parametrize("rounds", [13, 34, 55])
async def test_an_acknowledgement_that_was_taken_back_leaves_the_answer_of_a_dead_waiter_in_the_inbox(
    dsn: str, rounds: int
) -> None:
    """The model had it kept for the dead waiter still."""
    await tells(
        dsn,
        Unread(1, 1, "ann", None, take=False, limit=None),
        Ask(2, 0, "ann", "ben", 300.0, stay=True),
        Crash(3, 0),
        Answer(4, 1, "ben", "ann", 2, decline=False),
        Cut(5, MarkRead(5, 1, "ann", (4,), cursor=False), rounds),
    )


IN_A_MEETING = (
    Create(1, 1, "ann", ("ann", "dan"), turn_duration=30.0, quorum=None, start_by=None, deadline=None, max_turns=None),
    Attend(2, 0, "ann", 1, stay=True, after_seq=None),
    Attend(3, 0, "dan", 1, stay=True, after_seq=None),
    Start(4, 1, "ann", 1, following=None, force=True),
)


def cut(number: int, agent: str, turn: int, *, passing: bool, stay: bool, rounds: int) -> Cut:
    """A speech that may have been sent to the server when its caller goes."""
    return Cut(number, Speak(number, 0, agent, 1, passing, None, turn, stay), rounds)


@pytest.mark.requirement("meeting:speak:last-signalled")
@pytest.mark.parametrize("rounds", [1, 3, 13])
async def test_the_turn_that_a_cut_speech_gave_to_another_was_signalled_to_that_one(dsn: str, rounds: int) -> None:
    """The model had it forgotten, and took a speech without a turn for one on a later turn."""
    await tells(
        dsn,
        *IN_A_MEETING,
        cut(5, "dan", 2, passing=False, stay=False, rounds=rounds),
        cut(6, "ann", 3, passing=False, stay=False, rounds=rounds),
        Speak(7, 1, "dan", 1, passing=False, following=None, turn=None, stay=False),
        Speak(8, 0, "ann", 1, passing=False, following="ann", turn=None, stay=True),
    )


@pytest.mark.requirement("waiting:cancel")
@pytest.mark.parametrize("rounds", [1, 3, 13])
async def test_a_cut_pass_that_ends_the_meeting_tells_its_caller_nothing(dsn: str, rounds: int) -> None:
    """The model had it told so."""
    await tells(
        dsn,
        *IN_A_MEETING,
        cut(5, "dan", 2, passing=True, stay=True, rounds=rounds),
        cut(6, "ann", 3, passing=True, stay=True, rounds=rounds),
    )


@pytest.mark.requirement("question:taken")
async def test_an_answer_that_was_given_is_acknowledged_before_anything_else_is_looked_at(dsn: str) -> None:
    """The model took it for acknowledged while the process was still to say so."""
    await tells(
        dsn,
        Ask(1, 1, "ann", "ben", 300.0, stay=True),
        Answer(2, 1, "ben", "ann", None, decline=False),
        MarkRead(3, 0, "ann", (2,), cursor=True),
        Ask(4, 1, "ann", "ben", 300.0, stay=True),
        Answer(5, 1, "ben", "ann", None, decline=False, key="k"),
        Crash(6, 1),
        Answer(7, 0, "ben", "ann", None, decline=False, key="k", says=5),
        looks=False,
    )
