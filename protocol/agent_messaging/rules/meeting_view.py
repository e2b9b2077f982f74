"""What follows from a meeting's rows without being stored: status, quorum, acting host, what is due."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from agent_messaging.rules.meeting_state import MeetingState
from agent_messaging_db.rows import MeetingPhase, MemberRow, MemberStatus

FEWEST_ATTENDING = 2


class Status(StrEnum):
    """The states of a meeting as callers know them."""

    CREATED = "created"
    READY = "ready"
    ACTIVE = "active"
    ENDED = "ended"


class Part(StrEnum):
    """A member's part as callers know it: with a floor, an attending member is `speaking` or `waiting`."""

    INVITED = "invited"
    ATTENDING = "attending"
    WAITING = "waiting"
    SPEAKING = "speaking"
    AWAY = "away"
    LEFT = "left"
    DECLINED = "declined"


def status(state: MeetingState) -> Status:
    """A meeting that was created is ready as soon as its host attends and the quorum does."""
    match state.meeting.phase:
        case MeetingPhase.CREATED:
            return Status.READY if not is_host_missing(state) and is_quorate(state) else Status.CREATED
        case MeetingPhase.ACTIVE:
            return Status.ACTIVE
        case MeetingPhase.ENDED:
            return Status.ENDED
        case _:
            assert_never(state.meeting.phase)


def participant_status(state: MeetingState, member: MemberRow) -> Part:
    """`waiting` and `speaking` exist while there is a floor; before and after it a member just attends."""
    if member.status is not MemberStatus.ATTENDING or state.meeting.phase is not MeetingPhase.ACTIVE:
        return Part(member.status.value)
    return Part.SPEAKING if member.agent_id == state.meeting.holder_id else Part.WAITING


def quorum(state: MeetingState) -> int:
    """How many must attend: as set, or by default everyone who has not declined, at least 2."""
    if state.meeting.quorum is not None:
        return state.meeting.quorum
    expected = sum(member.status is not MemberStatus.DECLINED for member in state.members)
    return max(FEWEST_ATTENDING, expected)


def is_quorate(state: MeetingState) -> bool:
    """Whether as many attend as must."""
    return len(state.attending) >= quorum(state)


def is_host_missing(state: MeetingState) -> bool:
    """Whether the host, not an acting one, does not attend."""
    return all(member.agent_id != state.meeting.host_id for member in state.attending)


def missing(state: MeetingState) -> tuple[UUID, ...]:
    """Who would have to attend before the meeting is ready.

    That is the host, and while the quorum is not met whoever was invited. Empty if it is ready, and if so
    many declined that nobody is left to come.
    """
    if state.meeting.phase is not MeetingPhase.CREATED:
        return ()
    quorate = is_quorate(state)
    return tuple(
        member.agent_id
        for member in state.members
        if member.status is MemberStatus.INVITED and (not quorate or member.agent_id == state.meeting.host_id)
    )


def acting_host(state: MeetingState) -> UUID:
    """Who has the rights of the host now.

    That is the host itself, but while it does not attend an active meeting, the member that has attended
    longest; then the host has no rights until it attends, so that there is one host at any time. Somebody
    attends every active meeting: its holder.
    """
    attending = state.attending
    if state.meeting.phase is not MeetingPhase.ACTIVE or not attending or not is_host_missing(state):
        return state.meeting.host_id
    return min(attending, key=lambda member: member.joined_seq).agent_id


def turns_left(state: MeetingState) -> int:
    """How many more times the floor can be granted."""
    if state.meeting.phase is MeetingPhase.ENDED:
        return 0
    return state.meeting.max_turns - state.meeting.turn


def next_due(state: MeetingState) -> datetime | None:
    """The earliest of `start_by`, `deadline` and `floor_deadline` that is in force; the column `next_due`."""
    meeting = state.meeting
    match meeting.phase:
        case MeetingPhase.CREATED:
            return meeting.deadline if meeting.start_by is None else min(meeting.start_by, meeting.deadline)
        case MeetingPhase.ACTIVE:
            return meeting.deadline if meeting.floor_deadline is None else min(meeting.floor_deadline, meeting.deadline)
        case MeetingPhase.ENDED:
            return None
        case _:
            assert_never(meeting.phase)
