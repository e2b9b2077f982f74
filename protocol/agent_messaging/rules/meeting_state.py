"""What a meeting is to its rules, and what a decision about it looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from agent_messaging.errors import AgentMessagingError
from agent_messaging_db.rows import MeetingEvent, MeetingRow, MemberRow, MemberStatus

JSON: TypeAlias = "str | int | float | bool | list[JSON] | dict[str, JSON] | None"

AGENT_FIELDS = frozenset({"next", "named", "from", "to"})
"""The fields of an event's data that hold an agent, as the text of its UUID."""


@dataclass(frozen=True, slots=True)
class MeetingState:
    """A meeting and its members, in the order of their positions."""

    meeting: MeetingRow
    members: tuple[MemberRow, ...]

    def member(self, agent: UUID | None) -> MemberRow | None:
        """The row of this agent, or None if it was never invited."""
        return next((member for member in self.members if member.agent_id == agent), None)

    @property
    def attending(self) -> tuple[MemberRow, ...]:
        """Who attends, in the order of positions."""
        return tuple(member for member in self.members if member.status is MemberStatus.ATTENDING)


class Why(StrEnum):
    """Why the floor went to the one it went to.

    `named`: the speaker named it. `order`: nobody was named. `not_attending`: the one who was named does not
    attend, so the order decided. `fairness`: somebody had waited for so long that the name lapsed.
    """

    NAMED = "named"
    ORDER = "order"
    NOT_ATTENDING = "not_attending"
    FAIRNESS = "fairness"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One entry to be written; the first of a transition is number `last_seq + 1` of the state before.

    `turn` is the turn during which it happened. Fields of `data`:
    every event that moves the floor has `next`, `next_turn`, `why` and, if somebody was named, `named`;
    agent_joined has `returned` (from away), agent_left has `declined` and `yielded` (it held the floor),
    agent_timed_out has `turn`, `away` and `seen` (the turn was), agent_spoke and turn_passed have `turn`,
    meeting_started has `forced`, meeting_ended has `reason` and `outcome`,
    host_changed has `from`, `to` and `acting` (the new one stands in for an absent host).
    """

    event: MeetingEvent
    agent_id: UUID | None
    turn: int
    data: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Transition:
    """The state that follows, and what is to be recorded. No change: the same state and no events."""

    state: MeetingState
    events: tuple[NewEvent, ...]


class RefusalReason(StrEnum):
    """Why a command is refused, more finely than its error tells."""

    NOT_A_MEMBER = "not_a_member"
    NOT_STARTED = "not_started"
    ALREADY_STARTED = "already_started"
    MEETING_ENDED = "meeting_ended"
    NOT_HOST = "not_host"
    HOST_CANNOT_LEAVE = "host_cannot_leave"
    NOT_READY = "not_ready"
    TOO_FEW_ATTEND = "too_few_attend"
    NOT_THE_SPEAKER = "not_the_speaker"
    TURN_IS_OVER = "turn_is_over"
    NO_SUCH_TURN = "no_such_turn"
    NEXT_SPEAKER_NOT_A_MEMBER = "next_speaker_not_a_member"
    NEXT_SPEAKER_IS_ONESELF = "next_speaker_is_oneself"
    NEW_HOST_NOT_A_MEMBER = "new_host_not_a_member"
    NEW_HOST_NOT_ATTENDING = "new_host_not_attending"
    SILENCED = "silenced"

    DUPLICATE_AGENTS = "duplicate_agents"
    TOO_FEW_AGENTS = "too_few_agents"
    TOO_MANY_AGENTS = "too_many_agents"
    QUORUM_OUT_OF_RANGE = "quorum_out_of_range"
    DURATION_OUT_OF_RANGE = "duration_out_of_range"
    DEADLINE_TOO_FAR = "deadline_too_far"
    START_AFTER_DEADLINE = "start_after_deadline"
    MAX_TURNS_OUT_OF_RANGE = "max_turns_out_of_range"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that is refused, and the facts that say why.

    It records nothing, but what was due (`due`) is recorded all the same.

    `state` is the meeting with the due deadlines applied (None: it was never created): whose turn it is, who
    attends and why it ended are read from there.

    An error names the holder, and the number of the turn only
    if the holder is somebody else than the one who is refused: only a signal may tell an agent the number of
    a turn that it holds.

    `agent` is whom the refusal is about (the one named as next speaker or new host;
    otherwise the caller). `turn` is the turn that the caller named, `turn_ended_at` when that one ended if
    the state still tells (the history always does). `missing` is who would have to attend. `field` and
    `limit` say which argument of a creation is out of range, and the bound.
    """

    error: type[AgentMessagingError]
    reason: RefusalReason
    state: MeetingState | None = None
    due: Transition | None = None
    agent: UUID | None = None
    turn: int | None = None
    turn_ended_at: datetime | None = None
    missing: tuple[UUID, ...] = ()
    field: str | None = None
    limit: float | None = None
