"""How the floor moves: a turn ends, the next one is granted, or the meeting ends instead."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from agent_messaging.rules.meeting_draft import Draft
from agent_messaging.rules.meeting_order import Grant, onward
from agent_messaging.rules.meeting_state import JSON
from agent_messaging.rules.meeting_tables import FLOOR, FloorStep
from agent_messaging_db.rows import EndReason, MeetingEvent, MeetingPhase


def yield_floor(draft: Draft, event: MeetingEvent, data: Mapping[str, JSON], *, named: UUID | None = None) -> None:
    """Record how the holder's turn ended and where the floor goes, and bring it there; or end the meeting."""
    holder = draft.meeting.holder_id
    match onward(draft.state, named=named):
        case EndReason() as reason:
            draft.record(event, holder, data)
            end(draft, reason)
        case Grant() as onto:
            draft.record(event, holder, {**data, **destination(draft, onto)})
            grant(draft, onto.agent)


def destination(draft: Draft, onto: Grant) -> dict[str, JSON]:
    """The fields of an event's data that say where the floor goes next, and why."""
    fields: dict[str, JSON] = {
        "next": str(onto.agent),
        "next_turn": draft.meeting.turn + 1,
        "why": onto.why.value,
    }
    return fields if onto.named is None else {**fields, "named": str(onto.named)}


def grant(draft: Draft, agent: UUID) -> None:
    """Offer the floor under the next number, from `now`."""
    meeting = draft.meeting
    turn = meeting.turn + 1
    draft.change_meeting(
        turn=turn,
        floor=FLOOR[meeting.floor][FloorStep.GRANTED],
        holder_id=agent,
        floor_at=draft.now,
        floor_deadline=draft.now + timedelta(seconds=meeting.offer_timeout),
        seen_seq=None,
    )
    draft.change_member(agent, last_grant=turn)


def end(draft: Draft, reason: EndReason, *, host: UUID | None = None, outcome: str | None = None) -> None:
    """End the meeting. The turn keeps its number; `host` is who ended it, if anybody did."""
    draft.change_meeting(
        phase=MeetingPhase.ENDED,
        reason=reason,
        outcome=outcome,
        floor=FLOOR[draft.meeting.floor][FloorStep.MEETING_ENDED],
        holder_id=None,
        floor_at=None,
        floor_deadline=None,
        seen_seq=None,
        ended_at=draft.now,
    )
    draft.record(MeetingEvent.MEETING_ENDED, host, {"reason": reason.value, "outcome": outcome})
