"""What callers are shown of a meeting: turn signals, status, history, members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from agent_messaging.content import decode_metadata
from agent_messaging.engine import Engine
from agent_messaging.identifiers import HandleKind, handle
from agent_messaging.meeting_moments import Moment, Sighting, cursor_of
from agent_messaging.meeting_words import agents_in, ending, line_of
from agent_messaging.models import (
    Meeting,
    MeetingEnding,
    MeetingMessage,
    MeetingParticipant,
    MeetingStatus,
    MeetingStatusResponse,
    ParticipantStatus,
    Speech,
    TurnSignal,
    WaitingFor,
)
from agent_messaging.rules import meeting_view as view
from agent_messaging.rules.meeting import next_in_order
from agent_messaging.rules.meeting_waiting import NextStep, WaitReason, waiting_for
from agent_messaging.rules.meeting_waiting import WaitingFor as RulesWaitingFor
from agent_messaging_db.rows import EndReason, EventRow, MeetingEvent, MeetingPhase

M = TypeVar("M")

# Subscribing a generic model takes longer than making one.
_MeetingMessage = MeetingMessage[Any]
_Speech = Speech[Any]
_TurnSignal = TurnSignal[Any]

_REASONS = {
    WaitReason.ATTENDANCE: "to attend",
    WaitReason.START: "to start the meeting",
    WaitReason.PICK_UP: "to pick up the turn",
    WaitReason.SPEECH: "to speak or pass",
}


class MeetingViews(Generic[M]):
    """Makes models of the rows of meetings."""

    def __init__(self, engine: Engine[M]) -> None:
        self._engine = engine

    async def signal(self, sighting: Sighting, agent: UUID) -> TurnSignal[M]:
        """Tell an agent that it has the floor, or that the meeting has ended, with what it has not proved to
        have received.
        """
        moment, events = sighting.moment, sighting.events
        state = moment.state
        meeting = state.meeting
        host, following = view.acting_host(state), next_in_order(state)
        names = await self._names(events, [agent, host, following, meeting.holder_id])
        ended = meeting.phase is MeetingPhase.ENDED
        deadline = None if ended else meeting.floor_deadline
        ending = (
            None if meeting.reason is None else MeetingEnding(reason=EndReason(meeting.reason), outcome=meeting.outcome)
        )
        return _TurnSignal.model_construct(
            reason="meeting_ended" if ended else "your_turn",
            meeting_id=meeting.id,
            handle=handle(HandleKind.MEETING, meeting.number),
            title=meeting.title,
            agenda=meeting.agenda,
            turn=None if ended else meeting.turn,
            deadline=deadline,
            seconds_left=None if deadline is None else max(0.0, (deadline - moment.now).total_seconds()),
            seq=events[-1].seq if events else cursor_of(moment, agent),
            said=tuple(self._speech(event, names) for event in events if _spoken_by_others(event, agent)),
            system=tuple(
                line for event in events if _is_news(event, agent) and (line := line_of(event, names)) is not None
            ),
            host=names[host],
            current_speaker=None if ended or meeting.holder_id is None else names[meeting.holder_id],
            next_in_order=None if following is None or ended else names[following],
            turns_left=view.turns_left(state),
            ended=ending,
        )

    async def status(self, moment: Moment) -> MeetingStatusResponse:
        """Say how a meeting stands."""
        state = moment.state
        meeting = state.meeting
        names = await self._names((), [member.agent_id for member in state.members])
        following = next_in_order(state) if meeting.phase is not MeetingPhase.ENDED else None
        waits = waiting_for(state, moment.now)
        return MeetingStatusResponse(
            meeting_id=meeting.id,
            handle=handle(HandleKind.MEETING, meeting.number),
            title=meeting.title,
            agenda=meeting.agenda,
            status=MeetingStatus(view.status(state).value),
            host_external_id=names[view.acting_host(state)],
            current_speaker_external_id=None if meeting.holder_id is None else names[meeting.holder_id],
            next_in_order=None if following is None else names[following],
            participants=[names[member.agent_id] for member in state.members],
            participant_status={
                names[member.agent_id]: ParticipantStatus(view.participant_status(state, member).value)
                for member in state.members
            },
            participant_count=len(state.members),
            quorum=view.quorum(state),
            max_turns=meeting.max_turns,
            turn_duration=meeting.turn_duration,
            turn_started_at=meeting.floor_at if meeting.phase is MeetingPhase.ACTIVE else None,
            turn_deadline=meeting.floor_deadline if meeting.phase is MeetingPhase.ACTIVE else None,
            waiting_for=None if waits is None else _waiting_for(waits, names),
            last_seq=meeting.last_seq,
            reason=None if meeting.reason is None else EndReason(meeting.reason),
            outcome=meeting.outcome,
            created_at=meeting.created_at,
            started_at=meeting.started_at,
            ended_at=meeting.ended_at,
        )

    async def history(self, events: Iterable[EventRow]) -> list[MeetingMessage[M]]:
        """Make the entries of a history, the system's included."""
        events = list(events)
        names = await self._names(events, [])
        return [self.message(event, names) for event in events]

    def message(self, event: EventRow, names: Mapping[UUID, str]) -> MeetingMessage[M]:
        spoken = event.event is MeetingEvent.AGENT_SPOKE
        agent = None if event.agent_id is None else names[event.agent_id]
        return _MeetingMessage.model_construct(
            meeting_id=event.meeting_id,
            seq=event.seq,
            turn=event.turn,
            kind=event.event,
            sender=agent if spoken else None,
            agent=agent,
            content=self._engine.codec.decode(cast("str", event.content)) if spoken else None,
            text=None if spoken else line_of(event, names),
            metadata=decode_metadata(event.metadata),
            created_at=event.created_at,
        )

    def model(self, moment: Moment) -> Meeting:
        """Make the design's `Meeting`."""
        meeting = moment.state.meeting
        active = meeting.phase is MeetingPhase.ACTIVE
        return Meeting(
            id=meeting.id,
            host_id=view.acting_host(moment.state),
            status=MeetingStatus(view.status(moment.state).value),
            title=meeting.title,
            agenda=meeting.agenda,
            current_speaker_id=meeting.holder_id,
            turn_duration=meeting.turn_duration,
            turn_started_at=meeting.floor_at if active else None,
            reason=None if meeting.reason is None else EndReason(meeting.reason),
            outcome=meeting.outcome,
            created_at=meeting.created_at,
            started_at=meeting.started_at,
            ended_at=meeting.ended_at,
        )

    async def participants(self, moment: Moment) -> list[MeetingParticipant]:
        """Make the design's `MeetingParticipant`s, in the order of joining."""
        state = moment.state
        names = await self._names((), [member.agent_id for member in state.members])
        parts = [(member, ParticipantStatus(view.participant_status(state, member).value)) for member in state.members]
        return [
            MeetingParticipant(
                agent_id=member.agent_id,
                meeting_id=state.meeting.id,
                external_id=names[member.agent_id],
                status=part,
                join_order=member.position,
                is_locked=part is ParticipantStatus.WAITING,
                joined_at=member.joined_at,
                left_at=member.left_at,
            )
            for member, part in parts
        ]

    async def names_of(self, moment: Moment) -> dict[UUID, str]:
        """Give the external ids of a meeting's members."""
        return await self._names((), [member.agent_id for member in moment.state.members])

    def _speech(self, event: EventRow, names: Mapping[UUID, str]) -> Speech[M]:
        return _Speech.model_construct(
            speaker=names[cast("UUID", event.agent_id)],
            turn=event.turn,
            seq=event.seq,
            message=self._engine.codec.decode(cast("str", event.content)),
            at=event.created_at,
        )

    async def _names(self, events: Iterable[EventRow], others: Iterable[UUID | None]) -> dict[UUID, str]:
        ids = {id for event in events for id in agents_in(event)} | {id for id in others if id is not None}
        return await self._engine.names.of(ids)


def _spoken_by_others(event: EventRow, agent: UUID) -> bool:
    return event.event is MeetingEvent.AGENT_SPOKE and event.agent_id != agent


def _is_news(event: EventRow, agent: UUID) -> bool:
    """What an agent did itself, and that it began, it knows."""
    if event.event in (MeetingEvent.MEETING_STARTED, MeetingEvent.MEETING_ENDED):
        return False
    return event.agent_id != agent or event.event in (
        MeetingEvent.AGENT_TIMED_OUT,
        MeetingEvent.HOST_CHANGED,
        MeetingEvent.AGENT_SPOKE,
    )


def _waiting_for(waits: RulesWaitingFor, names: Mapping[UUID, str]) -> WaitingFor:
    return WaitingFor(
        agents=tuple(names[agent] for agent in waits.agents),
        since=waits.since,
        reason=_REASONS[waits.reason],
        next_at=waits.next_at,
        next_event=_next_event(waits, names),
    )


def _next_event(waits: RulesWaitingFor, names: Mapping[UUID, str]) -> str:
    speaker = "?" if waits.next_speaker is None else names[waits.next_speaker]
    away = "" if waits.goes_away is None else f"; {names[waits.goes_away]} is away then"
    match waits.next_step:
        case NextStep.STARTS:
            return f"the meeting starts, and {speaker} gets the floor"
        case NextStep.FLOOR_MOVES:
            return f"the floor goes to {speaker}{away}"
        case NextStep.ENDS:
            return f"the meeting ends: {ending(waits.end_reason) if waits.end_reason else 'its time is over'}{away}"


def seconds_since(then: datetime | None, now: datetime) -> float | None:
    return None if then is None else (now - then).total_seconds()
