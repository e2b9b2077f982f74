"""Who speaks next: the order of speaking, the name a speaker gives, and the fairness that outranks it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from agent_messaging.rules.meeting_state import MeetingState, Why
from agent_messaging_db.rows import EndReason, MeetingPhase, MemberRow, Quiet


@dataclass(frozen=True, slots=True)
class Grant:
    """Who gets the floor next, and why. `named` is whom the speaker wished for."""

    agent: UUID
    why: Why
    named: UUID | None = None


def grants_seen(state: MeetingState, member: MemberRow) -> int:
    """How many grants went by while the member attended without getting one."""
    return state.meeting.turn - max(member.last_grant, member.present_since)


def next_in_order(state: MeetingState) -> UUID | None:
    """Whom the order gives the floor next if nobody is named; None if there is no floor or no turn left."""
    meeting = state.meeting
    if meeting.phase is not MeetingPhase.ACTIVE or meeting.turn >= meeting.max_turns:
        return None
    return by_order(state)


def onward(state: MeetingState, *, named: UUID | None = None) -> Grant | EndReason:
    """Where the floor goes when it is to move, or why the meeting ends instead.

    If everyone attending is quiet, or nobody attends, the meeting ends, whatever else holds: `all_passed` if
    somebody attending passed, else `abandoned`. Every grant counts towards `max_turns`.
    """
    attending = state.attending
    if all(member.quiet is not None for member in attending):
        passed = any(member.quiet is Quiet.PASSED for member in attending)
        return EndReason.ALL_PASSED if passed else EndReason.ABANDONED
    if state.meeting.turn >= state.meeting.max_turns:
        return EndReason.MAX_TURNS
    if named is None:
        return Grant(by_order(state), Why.ORDER)
    if all(member.agent_id != named for member in attending):
        return Grant(by_order(state), Why.NOT_ATTENDING, named)
    overdue = _overdue(state)
    if overdue is not None and overdue != named:
        return Grant(overdue, Why.FAIRNESS, named)
    return Grant(named, Why.NAMED, named)


def _overdue(state: MeetingState) -> UUID | None:
    """Who must go next whoever is named: of those who saw 2n grants go by (n attending), who saw the most.

    Whoever began to wait before a member can go before it once, and nobody who began later can, so it sees at
    most 2n + (n - 1) grants go by.
    """
    attending = state.attending
    waited = [member for member in attending if grants_seen(state, member) >= 2 * len(attending)]
    if not waited:
        return None
    return max(waited, key=lambda member: (grants_seen(state, member), -member.position)).agent_id


def by_order(state: MeetingState) -> UUID:
    """Who has least recently been granted the floor, in the order of positions where that is equal.

    Joining counts as a grant at that moment and takes a new position behind all others, so among equal
    `last_grant` the holder comes before those who joined during its turn. The holder follows itself only when
    it is alone.
    """
    overdue = _overdue(state)
    if overdue is not None:
        return overdue
    attending = state.attending
    others = [member for member in attending if member.agent_id != state.meeting.holder_id]
    return min(others or attending, key=lambda member: (member.last_grant, member.position)).agent_id
