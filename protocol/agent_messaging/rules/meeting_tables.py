"""What can be asked of a meeting, and the tables of what may follow. A missing key is the error.

`docs/states.md` is drawn from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from agent_messaging_db.rows import Floor, MeetingPhase, MemberStatus


@dataclass(frozen=True, slots=True)
class Attend:
    """Join, come back, or go on waiting. `after_seq` is the last entry that the agent says it received."""

    agent: UUID
    after_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Open the meeting with a message by its host, which is turn 1. `force` does without the quorum."""

    host: UUID
    next_speaker: UUID | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class See:
    """Be told of one's turn: done just before its signal is returned, and starts the clock of the turn."""

    agent: UUID
    turn: int


@dataclass(frozen=True, slots=True)
class Speak:
    """Speak or pass, and hand the floor on. `turn` is None if the caller could not name the one it holds."""

    agent: UUID
    turn: int | None = None
    passing: bool = False
    next_speaker: UUID | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the meeting; decline it, while invited or before the start."""

    agent: UUID


@dataclass(frozen=True, slots=True)
class HandOver:
    """Make another attending member the host."""

    host: UUID
    to: UUID


@dataclass(frozen=True, slots=True)
class End:
    """End the meeting; before the start, cancel it. `outcome` is kept and told."""

    host: UUID
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class ApplyDue:
    """Apply the deadlines that have passed: the system's own command, which every other one does first."""


Command: TypeAlias = Attend | Start | See | Speak | Leave | HandOver | End | ApplyDue


class MemberStep(StrEnum):
    """What can happen to a member's part in a meeting."""

    ATTENDS = "attends"
    LEAVES_BEFORE_START = "leaves before the start"
    LEAVES = "leaves"
    SKIPPED_TWICE = "is skipped twice"


class FloorStep(StrEnum):
    """What can happen to the floor."""

    GRANTED = "granted"
    SEEN = "signal returned"
    MEETING_ENDED = "meeting ended"


PHASES: dict[MeetingPhase, dict[type[Command], tuple[MeetingPhase, ...]]] = {
    MeetingPhase.CREATED: {
        Attend: (MeetingPhase.CREATED,),
        Start: (MeetingPhase.ACTIVE, MeetingPhase.ENDED),
        Leave: (MeetingPhase.CREATED,),
        HandOver: (MeetingPhase.CREATED,),
        End: (MeetingPhase.ENDED,),
        ApplyDue: (MeetingPhase.CREATED, MeetingPhase.ACTIVE, MeetingPhase.ENDED),
    },
    MeetingPhase.ACTIVE: {
        Attend: (MeetingPhase.ACTIVE,),
        See: (MeetingPhase.ACTIVE,),
        Speak: (MeetingPhase.ACTIVE, MeetingPhase.ENDED),
        Leave: (MeetingPhase.ACTIVE, MeetingPhase.ENDED),
        HandOver: (MeetingPhase.ACTIVE,),
        End: (MeetingPhase.ENDED,),
        ApplyDue: (MeetingPhase.ACTIVE, MeetingPhase.ENDED),
    },
    MeetingPhase.ENDED: {
        Attend: (MeetingPhase.ENDED,),
        Leave: (MeetingPhase.ENDED,),
        End: (MeetingPhase.ENDED,),
        ApplyDue: (MeetingPhase.ENDED,),
    },
}
"""Which commands a phase takes, and the phases that may follow; the guards and the floor decide which."""

MEMBERS: dict[MemberStatus, dict[MemberStep, MemberStatus]] = {
    MemberStatus.INVITED: {
        MemberStep.ATTENDS: MemberStatus.ATTENDING,
        MemberStep.LEAVES_BEFORE_START: MemberStatus.DECLINED,
        MemberStep.LEAVES: MemberStatus.DECLINED,
    },
    MemberStatus.ATTENDING: {
        MemberStep.ATTENDS: MemberStatus.ATTENDING,
        MemberStep.LEAVES_BEFORE_START: MemberStatus.DECLINED,
        MemberStep.LEAVES: MemberStatus.LEFT,
        MemberStep.SKIPPED_TWICE: MemberStatus.AWAY,
    },
    MemberStatus.AWAY: {
        MemberStep.ATTENDS: MemberStatus.ATTENDING,
        MemberStep.LEAVES: MemberStatus.LEFT,
    },
    MemberStatus.LEFT: {
        MemberStep.ATTENDS: MemberStatus.ATTENDING,
        MemberStep.LEAVES: MemberStatus.LEFT,
    },
    MemberStatus.DECLINED: {
        MemberStep.ATTENDS: MemberStatus.ATTENDING,
        MemberStep.LEAVES_BEFORE_START: MemberStatus.DECLINED,
        MemberStep.LEAVES: MemberStatus.DECLINED,
    },
}
"""Leaving while invited, or before the start, is declining; leaving again changes nothing; everybody may
attend again.
"""

FLOOR: dict[Floor, dict[FloorStep, Floor]] = {
    Floor.NONE: {
        FloorStep.GRANTED: Floor.OFFERED,
        FloorStep.MEETING_ENDED: Floor.NONE,
    },
    Floor.OFFERED: {
        FloorStep.SEEN: Floor.SEEN,
        FloorStep.GRANTED: Floor.OFFERED,
        FloorStep.MEETING_ENDED: Floor.NONE,
    },
    Floor.SEEN: {
        FloorStep.SEEN: Floor.SEEN,
        FloorStep.GRANTED: Floor.OFFERED,
        FloorStep.MEETING_ENDED: Floor.NONE,
    },
}
"""A grant is the next holder's turn, so a floor that moves is offered again, under the next number."""
