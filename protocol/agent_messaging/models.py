"""What callers are given: the design's models, and the ones that the protocol adds."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from agent_messaging_db.rows import (
    EndReason,
    MeetingEvent,
    MemberStatus,
    MessageKind,
    QuestionState,
    SessionType,
    TaskState,
    TokenState,
)

MessageType = TypeVar("MessageType")

__all__ = [
    "Agent",
    "Answer",
    "EndReason",
    "InboxItem",
    "InboxItemKind",
    "Meeting",
    "MeetingEnding",
    "MeetingEvent",
    "MeetingMessage",
    "MeetingParticipant",
    "MeetingStatus",
    "MeetingStatusResponse",
    "MemberStatus",
    "Message",
    "MessageContext",
    "MessageKind",
    "NewToken",
    "Organization",
    "OrganizationListing",
    "ParticipantStatus",
    "QuestionState",
    "Reply",
    "Session",
    "SessionStatus",
    "SessionType",
    "Silence",
    "Speech",
    "Task",
    "TaskState",
    "Token",
    "TokenState",
    "TurnSignal",
    "WaitingFor",
]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Organization(Model):
    """An organization of agents."""

    id: UUID
    external_id: str
    name: str
    created_at: datetime
    updated_at: datetime


class OrganizationListing(Organization):
    """An organization in a list of all. `allows`: whom it lets reach its agents; `reaches`: those of them that
    let its agents reach theirs, too.
    """

    agent_count: int
    allows: tuple[str, ...]
    reaches: tuple[str, ...]


class Agent(Model):
    """An agent, with its presence.

    `online`: it has a live handler, an open wait, a connection, or called in the last 60 seconds.
    `reachable`: a live process holds a handler for it, or it reads its own inbox. `silenced`: an operator has
    silenced it, or its organization, until `silenced_until` (None: until that is lifted).
    """

    id: UUID
    external_id: str
    organization_id: UUID
    organization_external_id: str
    name: str
    created_at: datetime
    updated_at: datetime
    online: bool = False
    reachable: bool = False
    last_seen_at: datetime | None = None
    silenced: bool = False
    silenced_until: datetime | None = None


class Silence(Model):
    """A silence in force: of one agent, or of an organization (then `agent_external_id` is None). `until` None: until
    it is lifted.
    """

    agent_external_id: str | None = None
    organization_external_id: str
    since: datetime
    until: datetime | None = None


class SessionStatus(StrEnum):
    """`waiting`: at least one of the two waits for an answer."""

    ACTIVE = "active"
    WAITING = "waiting"
    ENDED = "ended"


class Session(Model):
    """The state between two agents, of one type; at most one is live. `locked_agent_id` is the agent that
    waits.
    """

    id: UUID
    agent_a_id: UUID
    agent_b_id: UUID
    session_type: SessionType
    status: SessionStatus
    locked_agent_id: UUID | None = None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None


class Message(Model, Generic[MessageType]):
    """A stored message. `sender` and `recipient` are external ids; `seq` counts the messages of the pair. `hop`: how
    many messages led to it, each sent because of the one before.
    """

    id: UUID
    sender: str
    recipient: str
    sender_id: UUID
    recipient_id: UUID | None = None
    session_id: UUID | None = None
    meeting_id: UUID | None = None
    message_type: MessageKind
    seq: int | None = None
    content: MessageType
    reply_to: UUID | None = None
    late: bool = False
    hop: int = 0
    read_at: datetime | None = None
    created_at: datetime
    metadata: dict[str, Any] | None = None


class MessageContext(Model):
    """What a handler is told about the message it handles.

    `requires_reply` is true for a question, `reply_by` its deadline. `attempt` counts the deliveries of this
    message, from 1. `hop`: how many messages led to it; what the handler sends has one more.
    """

    message_id: UUID
    sender_external_id: str
    sender_name: str
    recipient_external_id: str
    recipient_name: str
    session_id: UUID | None = None
    meeting_id: UUID | None = None
    message_type: MessageKind
    requires_reply: bool = False
    is_meeting_message: bool = False
    hop: int = 0
    attempt: int = 1
    reply_by: datetime | None = None
    metadata: dict[str, Any] | None = None


class Answer(Model, Generic[MessageType]):
    """The answer to a question. `late`: it came after the question's `reply_by`."""

    question_id: UUID
    handle: str
    message_id: UUID
    sender: str
    content: MessageType
    late: bool = False
    created_at: datetime


class Reply(Model):
    """What became of a reply."""

    message_id: UUID
    question_id: UUID | None
    asker: str
    late: bool = False


class MeetingStatus(StrEnum):
    """The states of a meeting; `ready` follows from who attends."""

    CREATED = "created"
    READY = "ready"
    ACTIVE = "active"
    ENDED = "ended"


class ParticipantStatus(StrEnum):
    """A member as the design names it: `waiting` and `speaking` are an attending member without and with the
    floor.
    """

    INVITED = "invited"
    ATTENDING = "attending"
    WAITING = "waiting"
    SPEAKING = "speaking"
    AWAY = "away"
    LEFT = "left"
    DECLINED = "declined"


class Meeting(Model):
    """A meeting."""

    id: UUID
    host_id: UUID
    status: MeetingStatus
    title: str | None = None
    agenda: str | None = None
    current_speaker_id: UUID | None = None
    turn_duration: float | None = None
    turn_started_at: datetime | None = None
    reason: EndReason | None = None
    outcome: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


class MeetingParticipant(Model):
    """A member of a meeting. `is_locked`: it attends and does not hold the floor."""

    agent_id: UUID
    meeting_id: UUID
    external_id: str
    status: ParticipantStatus
    join_order: int
    is_locked: bool
    joined_at: datetime | None = None
    left_at: datetime | None = None


class WaitingFor(Model):
    """Whom a meeting waits for: `agents`, since when, for what; and what happens next at what time if nothing
    comes.
    """

    agents: tuple[str, ...]
    since: datetime | None
    reason: str
    next_at: datetime | None
    next_event: str


class MeetingStatusResponse(Model):
    """The state of a meeting as `get_meeting_status` gives it. `host_external_id` is the acting host while
    there is one.

    It names the holder of the floor but not the number of the turn, which only a `TurnSignal` tells.
    """

    meeting_id: UUID
    handle: str
    title: str | None = None
    agenda: str | None = None
    status: MeetingStatus
    host_external_id: str
    current_speaker_external_id: str | None = None
    next_in_order: str | None = None
    participants: list[str]
    participant_status: dict[str, ParticipantStatus]
    participant_count: int
    quorum: int
    max_turns: int
    turn_duration: float | None = None
    turn_started_at: datetime | None = None
    turn_deadline: datetime | None = None
    waiting_for: WaitingFor | None = None
    last_seq: int = 0
    reason: EndReason | None = None
    outcome: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def current_speaker(self) -> str | None:
        """The design's example spells it so."""
        return self.current_speaker_external_id

    @property
    def state(self) -> MeetingStatus:
        """The design's example spells it so."""
        return self.status


class MeetingMessage(Model, Generic[MessageType]):
    """One entry of a meeting's history; `sender` is None for the system's. `text` says a system entry in
    words.
    """

    meeting_id: UUID
    seq: int
    turn: int
    kind: MeetingEvent
    sender: str | None
    agent: str | None = None
    content: MessageType | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = None
    created_at: datetime


class Speech(Model, Generic[MessageType]):
    """Something that was said in a meeting."""

    speaker: str
    turn: int
    seq: int
    message: MessageType
    at: datetime


class MeetingEnding(Model):
    """Why a meeting ended, and what its host said came out of it."""

    reason: EndReason
    outcome: str | None = None


class TurnSignal(Model, Generic[MessageType]):
    """The design's "message indicating turn signal or meeting ended".

    `said` holds only what was spoken after what this agent has proved that it received; `system` what else
    happened since, as lines. `turn` and `deadline` are those of the agent's own turn. `seq` is the last entry
    that the signal covers.
    """

    reason: Literal["your_turn", "meeting_ended"]
    meeting_id: UUID
    handle: str
    title: str | None = None
    agenda: str | None = None
    turn: int | None = None
    deadline: datetime | None = None
    seconds_left: float | None = None
    seq: int = 0
    said: tuple[Speech[MessageType], ...] = ()
    system: tuple[str, ...] = ()
    host: str
    current_speaker: str | None = None
    next_in_order: str | None = None
    turns_left: int = 0
    ended: MeetingEnding | None = None


class InboxItemKind(StrEnum):
    """What needs an agent."""

    MESSAGE = "message"
    QUESTION = "question"
    ANSWER = "answer"
    DECLINE = "decline"
    INVITATION = "invitation"
    TURN = "turn"


class InboxItem(Model, Generic[MessageType]):
    """One thing that needs an agent: an unread message, a question it owes an answer, an answer, an
    invitation, a turn.

    `message_id` is what `mark_read` takes (None for a turn). `handle` names the question or meeting. `owed`
    items stay listed after they were read. `dead_letter` flags a message that its handler failed on.
    `hop`: how many messages led to it.
    """

    kind: InboxItemKind
    message_id: UUID | None = None
    handle: str | None = None
    sender: str | None = None
    seq: int | None = None
    content: MessageType | None = None
    metadata: dict[str, Any] | None = None
    created_at: datetime | None = None
    read: bool = False
    shown: bool = False
    owed: bool = False
    late: bool = False
    hop: int = 0
    dead_letter: bool = False
    question_id: UUID | None = None
    reply_by: datetime | None = None
    seconds_left: float | None = None
    meeting_id: UUID | None = None
    meeting_title: str | None = None


class Token(Model):
    """A bearer token, without what its holder keeps secret. `state` is as of when it was read."""

    id: UUID
    prefix: str
    agent_external_id: str
    organization_external_id: str
    name: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    state: TokenState


class NewToken(Model):
    """A token that was just made. `token` is the secret itself: this is the only time that it is given."""

    token: str = Field(repr=False)
    info: Token


class Task(Model):
    """A wait that goes on without the call that began it.

    `resume` says which call goes on waiting, in the words of whoever made the task, and `result` what came of it.
    `is_due`: it has waited as long as it may. `age_seconds` count from `created_at` by the database's clock, and after
    `kept_seconds` it is forgotten.
    """

    id: str
    resume: dict[str, Any]
    state: TaskState
    result: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    is_due: bool
    kept_seconds: float
    age_seconds: float


class Pruned(Model):
    """What `prune` removed, or would have. `questions` are among the `messages`, and so are their answers; `events` is
    what happened in the `meetings`; `sessions` are the ended ones of which nothing was left.
    """

    older_than: datetime
    messages: int = 0
    questions: int = 0
    meetings: int = 0
    events: int = 0
    sessions: int = 0
