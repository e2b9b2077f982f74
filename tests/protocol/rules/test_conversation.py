"""A question has exactly one outcome; only an answer may come after it expired."""

from __future__ import annotations

import pytest

from agent_messaging.errors import InvalidSessionStateError
from agent_messaging.rules.conversation import QUESTION, QuestionCommand, QuestionOutcome, Refusal, decide
from agent_messaging_db.rows import QuestionState

pytestmark = pytest.mark.requirement("question:states")


@pytest.mark.parametrize(
    ("command", "after"),
    [
        (QuestionCommand.ANSWER, QuestionState.ANSWERED),
        (QuestionCommand.DECLINE, QuestionState.DECLINED),
        (QuestionCommand.EXPIRE, QuestionState.EXPIRED),
        (QuestionCommand.CANCEL, QuestionState.CANCELLED),
    ],
)
def test_an_open_question_takes_any_one_outcome_in_time(command: QuestionCommand, after: QuestionState) -> None:
    assert decide(QuestionState.OPEN, command) == QuestionOutcome(after, late=False)


@pytest.mark.requirement("question:late-answer")
def test_an_expired_question_is_answered_late_and_only_once() -> None:
    outcome = decide(QuestionState.EXPIRED, QuestionCommand.ANSWER)

    assert outcome == QuestionOutcome(QuestionState.ANSWERED, late=True)
    assert isinstance(decide(outcome.state, QuestionCommand.ANSWER), Refusal)


@pytest.mark.requirement("question:late-answer")
@pytest.mark.parametrize("command", [QuestionCommand.DECLINE, QuestionCommand.EXPIRE, QuestionCommand.CANCEL])
def test_an_expired_question_takes_nothing_but_an_answer(command: QuestionCommand) -> None:
    assert decide(QuestionState.EXPIRED, command) == Refusal(InvalidSessionStateError, QuestionState.EXPIRED, command)


@pytest.mark.requirement("question:one-outcome")
@pytest.mark.parametrize("state", [QuestionState.ANSWERED, QuestionState.DECLINED, QuestionState.CANCELLED])
@pytest.mark.parametrize("command", QuestionCommand)
def test_a_settled_question_takes_nothing(state: QuestionState, command: QuestionCommand) -> None:
    assert decide(state, command) == Refusal(InvalidSessionStateError, state, command)


def test_every_state_of_a_question_has_its_row() -> None:
    assert set(QUESTION) == set(QuestionState)
