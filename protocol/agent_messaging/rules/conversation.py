"""The machine of questions: the table of what may become of one. A missing key is the error.

Rules about this file: everything that decides a question's next state is here. No I/O, no clock; deadlines
come as `Expire`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent_messaging.errors import AgentMessagingError, InvalidSessionStateError
from agent_messaging_db.rows import QuestionState


class QuestionCommand(StrEnum):
    """What can be done to a question.

    `answer`: it is replied to. `decline`: the one who was asked, or its handler by failing, gives no answer.
    `expire`: its `reply_by` passed. `cancel`: the conversation was ended.
    """

    ANSWER = "answer"
    DECLINE = "decline"
    EXPIRE = "expire"
    CANCEL = "cancel"


QUESTION: dict[QuestionState, dict[QuestionCommand, QuestionState]] = {
    QuestionState.OPEN: {
        QuestionCommand.ANSWER: QuestionState.ANSWERED,
        QuestionCommand.DECLINE: QuestionState.DECLINED,
        QuestionCommand.EXPIRE: QuestionState.EXPIRED,
        QuestionCommand.CANCEL: QuestionState.CANCELLED,
    },
    QuestionState.EXPIRED: {
        QuestionCommand.ANSWER: QuestionState.ANSWERED,
    },
    QuestionState.ANSWERED: {},
    QuestionState.DECLINED: {},
    QuestionState.CANCELLED: {},
}
"""Exactly one outcome. Only an answer may come after expiry, once, and is flagged late."""


@dataclass(frozen=True, slots=True)
class QuestionOutcome:
    """The state that follows. `late`: the answer came after the question had expired."""

    state: QuestionState
    late: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that the question's state does not take; nothing is stored."""

    error: type[AgentMessagingError]
    state: QuestionState
    command: QuestionCommand


def decide(state: QuestionState, command: QuestionCommand) -> QuestionOutcome | Refusal:
    """What becomes of a question in this state."""
    after = QUESTION[state].get(command)
    if after is None:
        return Refusal(InvalidSessionStateError, state, command)
    return QuestionOutcome(after, late=state is QuestionState.EXPIRED)
