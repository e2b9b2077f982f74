"""What a new meeting must be like."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from agent_messaging.errors import InvalidMeetingError
from agent_messaging.rules.meeting_state import MeetingState, Refusal, RefusalReason
from agent_messaging_db.rows import Floor, MeetingPhase, MeetingRow, MemberRow, MemberStatus

FEWEST_MEMBERS = 2
MOST_MEMBERS = 100
FEWEST_IN_QUORUM = 2
LONGEST_DURATION = 1e9
"""In seconds, some thirty years: what can safely be added to a time."""
MOST_TURNS = 2**31 - 1
"""What the database can count."""


def create(
    meeting_id: UUID,
    host: UUID,
    agents: Sequence[UUID],
    now: datetime,
    *,
    turn_duration: float | None,
    offer_timeout: float,
    max_turns: int,
    max_meeting_duration: float,
    title: str | None = None,
    agenda: str | None = None,
    quorum: int | None = None,
    start_by: float | None = None,
    deadline: float | None = None,
    number: int = 0,
) -> MeetingState | Refusal:
    """A new meeting, to which everybody is invited.

    Durations are seconds; `start_by` and `deadline` count from `now`.

    The host comes first in the order, and is added if `agents` leaves it out. `turn_duration=None` puts no
    limit on a turn once seen. `deadline=None` is `max_meeting_duration`, the bound that no meeting can lift.
    `number` is the database's to give.
    """
    refused = (
        _bad_members(host, agents)
        or _bad_numbers(len({host, *agents}), quorum, max_turns)
        or _bad_durations(
            turn_duration=turn_duration, offer_timeout=offer_timeout, start_by=start_by, deadline=deadline
        )
        or _bad_limits(start_by, deadline, max_meeting_duration)
    )
    if refused is not None:
        return refused
    meeting = MeetingRow(
        id=meeting_id,
        number=number,
        host_id=host,
        title=title,
        agenda=agenda,
        phase=MeetingPhase.CREATED,
        reason=None,
        outcome=None,
        turn_duration=turn_duration,
        offer_timeout=offer_timeout,
        quorum=quorum,
        start_by=None if start_by is None else now + timedelta(seconds=start_by),
        deadline=now + timedelta(seconds=max_meeting_duration if deadline is None else deadline),
        max_turns=max_turns,
        turn=0,
        floor=Floor.NONE,
        holder_id=None,
        floor_at=None,
        floor_deadline=None,
        seen_seq=None,
        last_seq=0,
        version=1,
        created_at=now,
        started_at=None,
        ended_at=None,
    )
    in_order = (host, *(agent for agent in agents if agent != host))
    return MeetingState(meeting, tuple(_invited(agent, position) for position, agent in enumerate(in_order)))


def _invited(agent: UUID, position: int) -> MemberRow:
    return MemberRow(
        agent_id=agent,
        position=position,
        status=MemberStatus.INVITED,
        last_grant=0,
        present_since=0,
        joined_seq=0,
        quiet=None,
        skips=0,
        cursor=0,
        joined_at=None,
        left_at=None,
    )


def _invalid(
    reason: RefusalReason, *, agent: UUID | None = None, field: str | None = None, limit: float | None = None
) -> Refusal:
    return Refusal(InvalidMeetingError, reason, agent=agent, field=field, limit=limit)


def _bad_members(host: UUID, agents: Sequence[UUID]) -> Refusal | None:
    for index, agent in enumerate(agents):
        if agent in agents[:index]:
            return _invalid(RefusalReason.DUPLICATE_AGENTS, agent=agent, field="agents")
    members = len({host, *agents})
    if members < FEWEST_MEMBERS:
        return _invalid(RefusalReason.TOO_FEW_AGENTS, field="agents", limit=FEWEST_MEMBERS)
    if members > MOST_MEMBERS:
        return _invalid(RefusalReason.TOO_MANY_AGENTS, field="agents", limit=MOST_MEMBERS)
    return None


def _bad_numbers(members: int, quorum: int | None, max_turns: int) -> Refusal | None:
    if quorum is not None and not (_is_whole(quorum) and FEWEST_IN_QUORUM <= quorum <= members):
        return _invalid(RefusalReason.QUORUM_OUT_OF_RANGE, field="quorum", limit=members)
    if not (_is_whole(max_turns) and 1 <= max_turns <= MOST_TURNS):
        return _invalid(RefusalReason.MAX_TURNS_OUT_OF_RANGE, field="max_turns", limit=MOST_TURNS)
    return None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _bad_durations(**durations: float | None) -> Refusal | None:
    for field, seconds in durations.items():
        # Written so that NaN, which no comparison holds for, is refused.
        if seconds is not None and not (_is_number(seconds) and 0 < seconds <= LONGEST_DURATION):
            return _invalid(RefusalReason.DURATION_OUT_OF_RANGE, field=field, limit=LONGEST_DURATION)
    return None


def _bad_limits(start_by: float | None, deadline: float | None, longest: float) -> Refusal | None:
    if deadline is not None and deadline > longest:
        return _invalid(RefusalReason.DEADLINE_TOO_FAR, field="deadline", limit=longest)
    ends = longest if deadline is None else deadline
    if start_by is not None and start_by >= ends:
        return _invalid(RefusalReason.START_AFTER_DEADLINE, field="start_by", limit=ends)
    return None
