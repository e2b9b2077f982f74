"""What happens in a meeting, and why something is refused, in words; agents by their external ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from agent_messaging.errors import AgentMessagingError, NotCurrentSpeakerError
from agent_messaging.identifiers import HandleKind, handle
from agent_messaging.rules.meeting import Refusal, RefusalReason, Why
from agent_messaging.rules.meeting_state import AGENT_FIELDS, MeetingState
from agent_messaging.rules.meeting_view import acting_host, quorum
from agent_messaging_db.rows import EndReason, EventRow, Floor, MeetingEvent, MeetingPhase

_ENDINGS = {
    EndReason.BY_HOST: "its host ended it",
    EndReason.MAX_TURNS: "its turns were used up",
    EndReason.DEADLINE: "its deadline passed",
    EndReason.ALL_PASSED: "everybody passed",
    EndReason.ABANDONED: "nobody spoke any more",
    EndReason.NO_QUORUM: "too few attended",
    EndReason.CANCELLED: "its host cancelled it",
}


def ending(reason: EndReason) -> str:
    """Say why a meeting ended."""
    return _ENDINGS[reason]


def agents_in(event: EventRow) -> set[UUID]:
    """Give the agents that an entry speaks of."""
    data = json.loads(event.data)
    ids = {UUID(data[field]) for field in AGENT_FIELDS if data.get(field)}
    return ids | ({event.agent_id} if event.agent_id is not None else set())


def line_of(event: EventRow, names: Mapping[UUID, str]) -> str | None:
    """Say a system entry in one line; None for a speech that moved the floor as everybody expects."""
    data: dict[str, Any] = json.loads(event.data)
    who = names.get(event.agent_id, "?") if event.agent_id is not None else "the system"
    moved = _moved(data, names)
    match event.event:
        case MeetingEvent.AGENT_SPOKE:
            return moved
        case MeetingEvent.AGENT_JOINED:
            return f"{who} is back" if data.get("returned") else f"{who} joined"
        case MeetingEvent.TURN_PASSED:
            return _and(f"{who} passed", moved)
        case MeetingEvent.AGENT_TIMED_OUT:
            silence = f"{who} let turn {data.get('turn', event.turn)} go by"
            return _and(f"{silence} and is away now" if data.get("away") else silence, moved)
        case MeetingEvent.AGENT_LEFT:
            return _and(f"{who} declined" if data.get("declined") else f"{who} left", moved)
        case MeetingEvent.HOST_CHANGED:
            new = names.get(UUID(str(data["to"])), "?")
            return f"{new} is acting host" if data.get("acting") else f"{new} is host"
        case MeetingEvent.MEETING_STARTED:
            return "the meeting started without its quorum" if data.get("forced") else "the meeting started"
        case MeetingEvent.MEETING_ENDED:
            return f"the meeting ended: {ending(EndReason(data['reason']))}"


def _moved(data: Mapping[str, Any], names: Mapping[UUID, str]) -> str | None:
    if data.get("why") not in (Why.NOT_ATTENDING, Why.FAIRNESS):
        return None
    named, following = (names.get(UUID(str(data[field])), "?") for field in ("named", "next"))
    if data["why"] == Why.NOT_ATTENDING:
        return f"{named} was named to speak next but does not attend, so the order chose {following}"
    return f"{named} was named to speak next, but {following} had waited for too long and goes first"


def _and(first: str, second: str | None) -> str:
    return first if second is None else f"{first}; {second}"


def refused(
    refusal: Refusal, meeting: UUID, names: Mapping[UUID, str], *, attempted: str, ago: float | None = None
) -> AgentMessagingError:
    """Make the error of a refused command: what was attempted, what the state is, what to do next.

    `ago`: how many seconds ago the turn that was named ended.
    """
    state = refusal.state
    name = str(meeting) if state is None else f"{handle(HandleKind.MEETING, state.meeting.number)} ({meeting})"
    text = f"{attempted}: {_reason(refusal, names, ago)} [meeting {name}]"
    if issubclass(refusal.error, NotCurrentSpeakerError):
        holder = None if state is None else state.meeting.holder_id
        others = holder is not None and holder != refusal.agent
        return NotCurrentSpeakerError(
            text,
            turn=state.meeting.turn if state is not None and others else None,
            holder=None if holder is None else names.get(holder),
        )
    return refusal.error(text)


def _reason(refusal: Refusal, names: Mapping[UUID, str], ago: float | None) -> str:
    state = refusal.state
    agent = names.get(refusal.agent, "?") if refusal.agent is not None else "?"
    match refusal.reason:
        case RefusalReason.NOT_A_MEMBER:
            return f"{agent} was not invited to this meeting"
        case RefusalReason.NOT_STARTED:
            return f"the meeting has not started{_missing(refusal, names)}"
        case RefusalReason.ALREADY_STARTED:
            return "the meeting has started already; attend it to get a turn"
        case RefusalReason.MEETING_ENDED:
            return _ended(state)
        case RefusalReason.NOT_HOST:
            host = "?" if state is None else names.get(acting_host(state), "?")
            return f"only the host may, and that is {host}"
        case RefusalReason.HOST_CANNOT_LEAVE:
            return "the host cannot leave; hand the meeting over to an attending member, or end it"
        case RefusalReason.NOT_READY:
            needed = "?" if state is None else quorum(state)
            missing = _missing(refusal, names)
            return f"not enough attend: {needed} are needed{missing}; wait for them, or start with force=True"
        case RefusalReason.TOO_FEW_ATTEND:
            return f"at least two must attend, even by force{_missing(refusal, names)}"
        case RefusalReason.NOT_THE_SPEAKER | RefusalReason.TURN_IS_OVER | RefusalReason.NO_SUCH_TURN:
            return _not_your_turn(refusal, names, ago)
        case RefusalReason.NEXT_SPEAKER_NOT_A_MEMBER:
            return f"{agent} was never invited and cannot speak next; name a member, or nobody"
        case RefusalReason.NEXT_SPEAKER_IS_ONESELF:
            return "name another member as the next speaker, or nobody"
        case RefusalReason.NEW_HOST_NOT_A_MEMBER:
            return f"{agent} is no member of the meeting"
        case RefusalReason.NEW_HOST_NOT_ATTENDING:
            return f"{agent} does not attend now; hand over to a member that does"
        case RefusalReason.SILENCED:
            return f"an operator has silenced {agent}"
        case RefusalReason.DUPLICATE_AGENTS:
            return f"{agent} is named twice"
        case RefusalReason.TOO_FEW_AGENTS:
            return "a meeting needs at least two agents, its host included"
        case RefusalReason.TOO_MANY_AGENTS:
            return f"a meeting has at most {refusal.limit:g} members"
        case RefusalReason.QUORUM_OUT_OF_RANGE:
            return f"the quorum is a whole number between 2 and the number of members ({refusal.limit:g})"
        case RefusalReason.DURATION_OUT_OF_RANGE:
            return f"{refusal.field} is a number of seconds, more than 0"
        case RefusalReason.DEADLINE_TOO_FAR:
            return f"the deadline is at most {refusal.limit:g} seconds after creation (max_meeting_duration)"
        case RefusalReason.START_AFTER_DEADLINE:
            return f"start_by comes before the deadline ({refusal.limit:g} seconds after creation)"
        case RefusalReason.MAX_TURNS_OUT_OF_RANGE:
            return "max_turns is a whole number, 1 or more"


def _ended(state: MeetingState | None) -> str:
    if state is None or state.meeting.reason is None:
        return "the meeting has ended"
    return f"the meeting has ended ({ending(state.meeting.reason)}); its history stays readable"


def _missing(refusal: Refusal, names: Mapping[UUID, str]) -> str:
    missing = ", ".join(names.get(agent, "?") for agent in refusal.missing)
    return f" (missing: {missing})" if missing else ""


def _not_your_turn(refusal: Refusal, names: Mapping[UUID, str], ago: float | None) -> str:
    state = refusal.state
    if state is None or state.meeting.phase is not MeetingPhase.ACTIVE or state.meeting.holder_id is None:
        return "nobody has the floor"
    holder = names.get(state.meeting.holder_id, "?")
    if state.meeting.holder_id == refusal.agent:
        now = f"{holder} has the floor under another turn; attend the meeting to be told which"
    else:
        seen = "" if state.meeting.floor is Floor.SEEN else ", and has not picked it up yet"
        now = f"{holder} has turn {state.meeting.turn}{seen}; attend the meeting to wait for yours"
    if refusal.reason is RefusalReason.NOT_THE_SPEAKER:
        return now
    if refusal.reason is RefusalReason.NO_SUCH_TURN:
        return f"there is no turn {refusal.turn}; {now}"
    when = "is over" if ago is None else f"ended {max(0, round(ago))} s ago"
    return f"turn {refusal.turn} {when}; {now}"
