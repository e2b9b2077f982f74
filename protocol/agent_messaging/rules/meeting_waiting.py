"""Whom a meeting waits for, and what happens next if nothing comes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from agent_messaging.rules import meeting_view as view
from agent_messaging.rules.meeting import apply_due
from agent_messaging.rules.meeting_state import MeetingState, Transition
from agent_messaging_db.rows import EndReason, Floor, MeetingPhase


class WaitReason(StrEnum):
    """What a meeting waits for.

    `attendance`: members to attend. `start`: the host to start it. `pick_up`: the speaker to pick up its
    turn. `speech`: the speaker, which has been told, to speak or pass.
    """

    ATTENDANCE = "attendance"
    START = "start"
    PICK_UP = "pick_up"
    SPEECH = "speech"


class NextStep(StrEnum):
    """What happens by itself."""

    STARTS = "starts"
    FLOOR_MOVES = "floor_moves"
    ENDS = "ends"


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """Who, since when, for what; and what happens at `next_at` if nothing comes.

    `agents` is empty if those who could come have declined.

    `next_speaker` gets the floor then; `goes_away` is the speaker whom that makes away; `end_reason` is why
    it ends then.
    """

    agents: tuple[UUID, ...]
    since: datetime
    reason: WaitReason
    next_at: datetime
    next_step: NextStep
    next_speaker: UUID | None = None
    goes_away: UUID | None = None
    end_reason: EndReason | None = None


def waiting_for(state: MeetingState, now: datetime) -> WaitingFor | None:
    """None once the meeting has ended. What happens next is what the rules do then: `apply_due` is asked."""
    next_at = view.next_due(state)
    then = None if next_at is None else apply_due(state, max(next_at, now))
    if next_at is None or then is None:
        return None
    agents, since, reason = _whom(state)
    step, speaker, away = _what(then)
    return WaitingFor(agents, since, reason, next_at, step, speaker, away, then.state.meeting.reason)


def _whom(state: MeetingState) -> tuple[tuple[UUID, ...], datetime, WaitReason]:
    meeting = state.meeting
    if meeting.phase is MeetingPhase.CREATED:
        if view.status(state) is view.Status.READY:
            arrived = (member.joined_at for member in state.attending if member.joined_at is not None)
            return (meeting.host_id,), max(arrived, default=meeting.created_at), WaitReason.START
        return view.missing(state), meeting.created_at, WaitReason.ATTENDANCE
    speaker = () if meeting.holder_id is None else (meeting.holder_id,)
    reason = WaitReason.SPEECH if meeting.floor is Floor.SEEN else WaitReason.PICK_UP
    return speaker, meeting.floor_at or meeting.created_at, reason


def _what(then: Transition) -> tuple[NextStep, UUID | None, UUID | None]:
    meeting = then.state.meeting
    first = then.events[0]
    away = first.agent_id if first.data.get("away") else None
    if meeting.phase is MeetingPhase.ENDED:
        return NextStep.ENDS, None, away
    started = meeting.turn == 1
    return (NextStep.STARTS if started else NextStep.FLOOR_MOVES), meeting.holder_id, away
