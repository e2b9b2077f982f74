"""The closed vocabularies of the database and one frozen dataclass for each shape of row; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class MessageKind(StrEnum):
    """What a message is."""

    ONE_WAY = "one_way"
    ASYNC = "async"
    QUESTION = "question"
    ANSWER = "answer"
    DECLINE = "decline"
    INVITATION = "invitation"


class SessionType(StrEnum):
    """The two types of a conversation."""

    SYNC = "sync"
    ASYNC = "async"


class QuestionState(StrEnum):
    """The life of a question: open -> answered | declined | expired | cancelled; expired -> answered, once,
    late.
    """

    OPEN = "open"
    ANSWERED = "answered"
    DECLINED = "declined"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class TaskState(StrEnum):
    """The life of a task: working, then completed or cancelled."""

    WORKING = "working"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class AttachmentKind(StrEnum):
    """How a process stands for an agent."""

    HANDLER = "handler"
    CONNECTION = "connection"
    WAIT = "wait"


class MeetingPhase(StrEnum):
    """The stored part of a meeting's status; `ready` follows from its members."""

    CREATED = "created"
    ACTIVE = "active"
    ENDED = "ended"


class EndReason(StrEnum):
    """Why a meeting ended."""

    BY_HOST = "by_host"
    MAX_TURNS = "max_turns"
    DEADLINE = "deadline"
    ALL_PASSED = "all_passed"
    ABANDONED = "abandoned"
    NO_QUORUM = "no_quorum"
    CANCELLED = "cancelled"


class MemberStatus(StrEnum):
    """A member of a meeting: invited -> attending <-> away -> left; also declined."""

    INVITED = "invited"
    ATTENDING = "attending"
    AWAY = "away"
    LEFT = "left"
    DECLINED = "declined"


class Floor(StrEnum):
    """The floor of a meeting: nobody's, offered to its holder, or seen by it."""

    NONE = "none"
    OFFERED = "offered"
    SEEN = "seen"


class Quiet(StrEnum):
    """How a member's last turn went by without a speech."""

    PASSED = "passed"
    SKIPPED = "skipped"


class MeetingEvent(StrEnum):
    """What happens in a meeting: one row each, in the transaction of the transition."""

    AGENT_JOINED = "agent_joined"
    AGENT_SPOKE = "agent_spoke"
    TURN_PASSED = "turn_passed"
    AGENT_TIMED_OUT = "agent_timed_out"
    AGENT_LEFT = "agent_left"
    HOST_CHANGED = "host_changed"
    MEETING_STARTED = "meeting_started"
    MEETING_ENDED = "meeting_ended"


class TokenState(StrEnum):
    """What a bearer token is worth; whether it is expired is for the database's clock to say."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class OrganizationRow:
    id: UUID
    external_id: str
    name: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class OrganizationListRow:
    """An organization in a list of all. `allows` holds external ids."""

    id: UUID
    external_id: str
    name: str
    created_at: datetime
    updated_at: datetime
    agent_count: int
    allows: list[str]


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent and its presence, as of the statement that read it."""

    id: UUID
    external_id: str
    organization_id: UUID
    organization_external_id: str
    name: str
    created_at: datetime
    updated_at: datetime
    reads_inbox: bool
    has_handler: bool
    online: bool
    last_seen_at: datetime | None
    silenced: bool
    silenced_until: datetime | None


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message. `content` and `metadata` are JSON text exactly as it was sent."""

    id: UUID
    pair_id: int | None
    seq: int | None
    session_id: UUID | None
    meeting_id: UUID | None
    sender_id: UUID
    recipient_id: UUID
    kind: MessageKind
    content: str | None
    metadata: str | None
    reply_to: UUID | None
    late: bool
    hop: int
    created_at: datetime
    read_at: datetime | None


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """A question. `awaited_by` is the process with a wait on it; `answer_id` the message that settled it."""

    id: UUID
    number: int
    session_id: UUID
    asker_id: UUID
    answerer_id: UUID
    state: QuestionState
    reply_by: datetime
    awaited_by: UUID | None
    answer_id: UUID | None
    failure: str | None
    late: bool


class MeetingRow(NamedTuple):
    """A meeting; durations in seconds. The floor's holder has it for turn number `turn`.

    `seen_seq` is the last entry that the first signal for this turn covered. `version` counts transitions; each makes
    several of these, so it is a tuple, changed in a fifth of the time.
    """

    id: UUID
    number: int
    host_id: UUID
    title: str | None
    agenda: str | None
    phase: MeetingPhase
    reason: EndReason | None
    outcome: str | None
    turn_duration: float | None
    offer_timeout: float
    quorum: int | None
    start_by: datetime | None
    deadline: datetime
    max_turns: int
    turn: int
    floor: Floor
    holder_id: UUID | None
    floor_at: datetime | None
    floor_deadline: datetime | None
    seen_seq: int | None
    last_seq: int
    version: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class MemberRow(NamedTuple):
    """A member of a meeting.

    `position` is its place in the order of joining, `last_grant` the turn at which it was last granted the
    floor (or joined), `present_since` the turn and `joined_seq` the entry at which it last began to attend.
    `skips` counts skipped turns since its own last speech or pass. `cursor` is the last entry it has proved
    to have received.
    """

    agent_id: UUID
    position: int
    status: MemberStatus
    last_grant: int
    present_since: int
    joined_seq: int
    quiet: Quiet | None
    skips: int
    cursor: int
    joined_at: datetime | None
    left_at: datetime | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One entry of a meeting. `content` is the JSON text of a speech, `data` JSON text of what else there is
    to say.
    """

    meeting_id: UUID
    seq: int
    event: MeetingEvent
    agent_id: UUID | None
    turn: int
    message_id: UUID | None
    content: str | None
    metadata: str | None
    data: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """What never changes about an agent."""

    id: UUID
    external_id: str
    organization_id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A bearer token and whose it is. `state` is as of the statement that read it."""

    id: UUID
    prefix: str
    sha256: bytes
    agent_external_id: str
    organization_external_id: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    state: TokenState


@dataclass(frozen=True, slots=True)
class SilenceRow:
    """A silence in force: of one agent, or of an organization (then `agent_external_id` is None). `until` None: until
    it is lifted.
    """

    agent_external_id: str | None
    organization_external_id: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as its owner sees it. `resume` and `result` are JSON; `is_due` and `age_seconds` are as of the statement
    that read it.
    """

    id: str
    resume: str
    state: TaskState
    result: str | None
    created_at: datetime
    updated_at: datetime
    is_due: bool
    kept_seconds: float
    age_seconds: float
