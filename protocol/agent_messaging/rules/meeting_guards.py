"""Who may ask what of a meeting: every refusal of a command, in one place."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never
from uuid import UUID

from agent_messaging.errors import (
    AgentNotInMeetingError,
    HostCannotLeaveError,
    InvalidMeetingStateError,
    MeetingEndedError,
    NotCurrentSpeakerError,
    NotMeetingHostError,
)
from agent_messaging.rules import meeting_view as view
from agent_messaging.rules.meeting_state import MeetingState, Refusal, RefusalReason
from agent_messaging.rules.meeting_tables import (
    PHASES,
    ApplyDue,
    Attend,
    Command,
    End,
    HandOver,
    Leave,
    See,
    Speak,
    Start,
)
from agent_messaging_db.rows import Floor, MeetingPhase, MemberStatus


def refusal(state: MeetingState, command: Command, *, before: MeetingState) -> Refusal | None:
    """Why the command is refused, or None. `state` has the due deadlines applied, `before` has not."""
    return _stranger(state, command) or _untimely(state, command) or _guarded(state, command, before)


def _stranger(state: MeetingState, command: Command) -> Refusal | None:
    """Who was never invited can ask nothing."""
    match command:
        case ApplyDue():
            return None
        case Attend(agent=agent) | See(agent=agent) | Speak(agent=agent) | Leave(agent=agent):
            if state.member(agent) is None:
                return Refusal(AgentNotInMeetingError, RefusalReason.NOT_A_MEMBER, state, agent=agent)
            return None
        case Start(host=host) | HandOver(host=host) | End(host=host):
            return _not_host(state, host) if state.member(host) is None else None
        case _:
            assert_never(command)


def _untimely(state: MeetingState, command: Command) -> Refusal | None:
    """The table of phases has no entry for it."""
    phase = state.meeting.phase
    if type(command) in PHASES[phase]:
        return None
    match phase:
        case MeetingPhase.CREATED:
            return Refusal(InvalidMeetingStateError, RefusalReason.NOT_STARTED, state, missing=view.missing(state))
        case MeetingPhase.ACTIVE:
            return Refusal(InvalidMeetingStateError, RefusalReason.ALREADY_STARTED, state)
        case MeetingPhase.ENDED:
            return Refusal(MeetingEndedError, RefusalReason.MEETING_ENDED, state)
        case _:
            assert_never(phase)


def _guarded(state: MeetingState, command: Command, before: MeetingState) -> Refusal | None:
    match command:
        case Attend() | ApplyDue():
            return None
        case Start():
            return _cannot_start(state, command) or _next_speaker(state, command.host, command.next_speaker)
        case See():
            return _not_speaker(state, command.agent, command.turn, before)
        case Speak():
            return _not_speaker(state, command.agent, command.turn, before) or _next_speaker(
                state, command.agent, command.next_speaker
            )
        case Leave():
            return _cannot_leave(state, command.agent)
        case HandOver():
            return _cannot_hand_over(state, command)
        case End():
            # Whoever was acting host when it ended may ask again, and that is no longer known.
            return None if state.meeting.phase is MeetingPhase.ENDED else _not_host(state, command.host)
        case _:
            assert_never(command)


def _not_host(state: MeetingState, agent: UUID) -> Refusal | None:
    if agent == view.acting_host(state):
        return None
    return Refusal(NotMeetingHostError, RefusalReason.NOT_HOST, state, agent=agent)


def _cannot_start(state: MeetingState, command: Start) -> Refusal | None:
    """Its call counts as attending, so the host is there; now the quorum, or by force any two, must be."""
    if (refused := _not_host(state, command.host)) is not None:
        return refused
    others = sum(member.agent_id != command.host for member in state.attending)
    needed = view.FEWEST_ATTENDING if command.force else view.quorum(state)
    if others + 1 >= needed:
        return None
    reason = RefusalReason.TOO_FEW_ATTEND if command.force else RefusalReason.NOT_READY
    missing = tuple(agent for agent in view.missing(state) if agent != command.host)
    return Refusal(InvalidMeetingStateError, reason, state, missing=missing, limit=needed)


def _not_speaker(state: MeetingState, agent: UUID, turn: int | None, before: MeetingState) -> Refusal | None:
    """The floor is compared by holder and, where the caller names one, by turn.

    A turn may be spoken on while it is offered and not yet seen: its holder need not have waited for it.
    """
    meeting = state.meeting
    if meeting.holder_id == agent and turn in (None, meeting.turn):
        return None
    if turn is not None and turn < meeting.turn:
        reason = RefusalReason.TURN_IS_OVER
    elif meeting.holder_id == agent:
        reason = RefusalReason.NO_SUCH_TURN
    else:
        reason = RefusalReason.NOT_THE_SPEAKER
    ended_at = None if turn is None else _turn_ended_at(state, turn, before)
    return Refusal(NotCurrentSpeakerError, reason, state, agent=agent, turn=turn, turn_ended_at=ended_at)


def _turn_ended_at(state: MeetingState, turn: int, before: MeetingState) -> datetime | None:
    """When a turn ended, if the rows tell: it was skipped just now, or the turn after it is unseen."""
    if turn >= state.meeting.turn:
        return None
    if turn == before.meeting.turn:
        return before.meeting.floor_deadline
    if turn == state.meeting.turn - 1 and state.meeting.floor is Floor.OFFERED:
        return state.meeting.floor_at
    return None


def _next_speaker(state: MeetingState, speaker: UUID, named: UUID | None) -> Refusal | None:
    """Only a member can be named, and oneself only when alone. Whether it attends is no matter of refusal."""
    if named is None:
        return None
    if state.member(named) is None:
        return Refusal(AgentNotInMeetingError, RefusalReason.NEXT_SPEAKER_NOT_A_MEMBER, state, agent=named)
    if named == speaker and any(member.agent_id != speaker for member in state.attending):
        return Refusal(InvalidMeetingStateError, RefusalReason.NEXT_SPEAKER_IS_ONESELF, state, agent=named)
    return None


def _cannot_leave(state: MeetingState, agent: UUID) -> Refusal | None:
    """The host hands over first, even if it is away or never came; an acting host may go.

    An ended meeting holds nobody.
    """
    if state.meeting.phase is MeetingPhase.ENDED or agent != state.meeting.host_id:
        return None
    return Refusal(HostCannotLeaveError, RefusalReason.HOST_CANNOT_LEAVE, state, agent=agent)


def _cannot_hand_over(state: MeetingState, command: HandOver) -> Refusal | None:
    if (refused := _not_host(state, command.host)) is not None:
        return refused
    successor = state.member(command.to)
    if successor is None:
        return Refusal(AgentNotInMeetingError, RefusalReason.NEW_HOST_NOT_A_MEMBER, state, agent=command.to)
    if successor.status is not MemberStatus.ATTENDING:
        return Refusal(InvalidMeetingStateError, RefusalReason.NEW_HOST_NOT_ATTENDING, state, agent=command.to)
    return None
