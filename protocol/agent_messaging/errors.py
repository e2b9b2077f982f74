"""Every refusal of the protocol, grouped by what a caller can do about it; each class says what it means.

The message of an instance says what was attempted, what the state is and what to do next, with ids as the
caller knows them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agent_messaging_db.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from agent_messaging.models import InboxItem, MeetingStatusResponse


class AgentMessagingError(Exception):
    """Anything this library refuses or cannot do."""


# Not found: check the name.


class NotFoundError(AgentMessagingError):
    """Nothing of that name exists, or it is not yours to see."""


class OrganizationNotFoundError(NotFoundError):
    """No organization has this external id."""


class AgentNotFoundError(NotFoundError):
    """No agent has this external id."""


class SessionNotFoundError(NotFoundError):
    """The two agents have no live conversation."""


class MessageNotFoundError(NotFoundError):
    """No such message or question exists for this agent."""


class MeetingNotFoundError(NotFoundError):
    """No such meeting exists."""


class TokenNotFoundError(NotFoundError):
    """No token has this prefix."""


class TaskNotFoundError(NotFoundError):
    """The agent has no such task: it never did, or the task has expired."""


class HandlerNotRegisteredError(NotFoundError):
    """Nobody would receive it: the agent has no live handler and has never read an inbox.

    `agents` names every agent that cannot be reached.
    """

    def __init__(self, message: str, *, agents: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.agents = agents


# Not allowed: somebody else may.


class NotAllowedError(AgentMessagingError):
    """The caller does not have the part that this needs."""


class NotMeetingHostError(NotAllowedError):
    """Only the host of the meeting may do this."""


class AgentNotInMeetingError(NotAllowedError):
    """The agent is not a member of the meeting."""


class HostCannotLeaveError(NotAllowedError):
    """The host hands the meeting over, or ends it, before leaving."""


class NotCurrentSpeakerError(NotAllowedError):
    """The floor is somebody else's, or the turn that was named has passed.

    `turn` and `holder` say whose turn it is now.
    """

    def __init__(self, message: str, *, turn: int | None = None, holder: str | None = None) -> None:
        super().__init__(message)
        self.turn = turn
        self.holder = holder


class SilencedError(NotAllowedError):
    """An operator has silenced the agent, or its organization: it may read, and writes nothing. Nothing was stored.

    `until` says for how long, `seconds_left` by the database's clock; None: until that is lifted.
    """

    def __init__(self, message: str, *, until: datetime | None = None, seconds_left: float | None = None) -> None:
        super().__init__(message)
        self.until = until
        self.seconds_left = seconds_left


# Wrong state: look at the state, then do something else.


class InvalidStateError(AgentMessagingError):
    """The thing exists, but not in a state in which this can be done."""


class InvalidSessionStateError(InvalidStateError):
    """The question is not open, or too many are."""


class ConversationEndedError(InvalidStateError):
    """The conversation was ended while its question was waiting for an answer."""


class InvalidMeetingStateError(InvalidStateError):
    """The meeting is not in a state in which this can be done."""


class MeetingEndedError(InvalidMeetingStateError):
    """The meeting has ended."""


class InboxFullError(InvalidStateError):
    """The recipient's inbox holds as many unread messages as it may."""


class ExchangeBudgetError(InvalidStateError):
    """The two agents have written to each other as often as they may for now. Nothing was sent.

    `agent` is the other one; `paused_until` when there is room again, `seconds_left` by the database's clock.
    `questions_too`: even a question is not taken before that.
    """

    def __init__(
        self,
        message: str,
        *,
        agent: str,
        paused_until: datetime,
        seconds_left: float,
        questions_too: bool = False,
    ) -> None:
        super().__init__(message)
        self.agent = agent
        self.paused_until = paused_until
        self.seconds_left = seconds_left
        self.questions_too = questions_too


class HopLimitError(InvalidStateError):
    """As many messages as may follow from one another led to this one, which would be hop number `hop`. Nothing was
    sent.
    """

    def __init__(self, message: str, *, hop: int, limit: int) -> None:
        super().__init__(message)
        self.hop = hop
        self.limit = limit


class QuestionDeclinedError(InvalidStateError):
    """The one who was asked declined to answer.

    `reason` is what it said, as JSON value, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        question_id: UUID | None = None,
        handle: str | None = None,
        message_id: UUID | None = None,
        reason: object = None,
    ) -> None:
        super().__init__(message)
        self.question_id = question_id
        self.handle = handle
        self.message_id = message_id
        self.reason = reason


class HandlerFailedError(QuestionDeclinedError):
    """The handler of the one who was asked failed on every attempt.

    `looped`: there was one attempt only, for it was refused as part of a loop (ExchangeBudgetError, HopLimitError), or
    asked somebody whose handler was.
    """

    looped = False


# Timed out: nothing was lost; call again.


class WaitEndedError(AgentMessagingError):
    """The window of a wait ended. What is waited for stands; waiting again resumes."""


class ConversationTimeoutError(WaitEndedError):
    """No answer came within the window.

    The question `question_id` stays open until its `reply_by`, unless `expired` says that it has passed.
    """

    def __init__(
        self,
        message: str,
        *,
        question_id: UUID | None = None,
        handle: str | None = None,
        expired: bool = False,
    ) -> None:
        super().__init__(message)
        self.question_id = question_id
        self.handle = handle
        self.expired = expired


class MeetingTimeoutError(WaitEndedError):
    """The turn did not come within the window; `status` is the meeting as it stands."""

    def __init__(self, message: str, *, status: MeetingStatusResponse | None = None) -> None:
        super().__init__(message)
        self.status = status


class WaitInterruptedError(WaitEndedError):
    """An interruptible wait ended early because `item` needs the agent. What was asked or said before the
    wait stands.
    """

    def __init__(
        self,
        message: str,
        *,
        item: InboxItem[Any],
        question_id: UUID | None = None,
        handle: str | None = None,
    ) -> None:
        super().__init__(message)
        self.item = item
        self.question_id = question_id
        self.handle = handle


# Already there.


class AlreadyExistsError(AgentMessagingError):
    """The name is taken."""


class OrganizationAlreadyExistsError(AlreadyExistsError):
    """An organization has this external id already."""


class AgentAlreadyExistsError(AlreadyExistsError):
    """An agent has this external id already."""


class HandlerAlreadyRegisteredError(AlreadyExistsError):
    """This process has a handler for the agent already."""


class IdempotencyConflictError(AlreadyExistsError):
    """The idempotency key was used before with another payload."""


# Invalid: the call itself is wrong; correct it.


class InvalidError(AgentMessagingError):
    """The call's arguments cannot be accepted."""


class InvalidIdentifierError(InvalidError):
    """Not an external id: 1 to 128 letters, digits and . _ - : @ /, the first one a letter or digit."""


class InvalidMessageError(InvalidError):
    """The content cannot be stored and given back unchanged, or is not of the message type."""


class InvalidMeetingError(InvalidError):
    """The meeting's members or limits cannot be accepted."""


class InvalidArgumentError(InvalidError):
    """An argument is out of its range."""


class ConfigurationError(InvalidError):
    """The configuration cannot be used."""


# Unavailable: nothing is wrong with the call; try again later.


class UnavailableError(AgentMessagingError):
    """The service cannot be reached now."""


class DatabaseUnavailableError(UnavailableError, DatabaseUnavailable):
    """The database could not be reached. Whether a write in progress happened is unknown; its key tells."""


class NotInitializedError(UnavailableError):
    """The SDK is not open: use `async with AgentMessaging(...)` or call `initialize()` first."""
