"""The machine of meetings: `decide(state, command, now)` gives the transition that follows, or the refusal.

Rules about this file and its neighbours `meeting_*`: everything that decides a meeting's next state is here.
Nothing here performs I/O or reads a clock; nothing is imported but rows and errors. The tables say what may
follow what, the guards who may ask, the order who speaks next; this file carries it out.

Time is the argument `now`, read from the database under the row's lock. What is due at `now` is applied
before the command, is part of the same transition, and is recorded even when the command is refused
(`Refusal.due`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from agent_messaging.rules import meeting_view as view
from agent_messaging.rules.meeting_draft import Draft
from agent_messaging.rules.meeting_floor import destination, end, grant, yield_floor
from agent_messaging.rules.meeting_guards import refusal
from agent_messaging.rules.meeting_order import Grant, by_order, next_in_order
from agent_messaging.rules.meeting_state import (
    AGENT_FIELDS,
    JSON,
    MeetingState,
    NewEvent,
    Refusal,
    RefusalReason,
    Transition,
    Why,
)
from agent_messaging.rules.meeting_tables import (
    FLOOR,
    MEMBERS,
    PHASES,
    ApplyDue,
    Attend,
    Command,
    End,
    FloorStep,
    HandOver,
    Leave,
    MemberStep,
    See,
    Speak,
    Start,
)
from agent_messaging_db.rows import (
    EndReason,
    Floor,
    MeetingEvent,
    MeetingPhase,
    MemberRow,
    MemberStatus,
    Quiet,
)

__all__ = [
    "AGENT_FIELDS",
    "FLOOR",
    "MEMBERS",
    "PHASES",
    "ApplyDue",
    "Attend",
    "Command",
    "End",
    "Grant",
    "HandOver",
    "Leave",
    "MeetingState",
    "NewEvent",
    "Refusal",
    "RefusalReason",
    "See",
    "Speak",
    "Start",
    "Transition",
    "Why",
    "apply_due",
    "decide",
    "next_in_order",
]

SKIPS_UNTIL_AWAY = 2


def decide(state: MeetingState, command: Command, now: datetime) -> Transition | Refusal:
    """Apply what is due, then the command.

    Nothing to do (attending again, seeing a turn twice, leaving twice, ending an ended meeting) is a
    transition to the very same state without events.
    """
    draft = Draft(state, now)
    _apply_due(draft)
    refused = refusal(draft.state, command, before=state)
    if refused is not None:
        due = draft.transition()
        return refused if due.state is state else replace(refused, due=due, state=due.state)
    _carry_out(draft, command)
    return draft.transition()


def apply_due(state: MeetingState, now: datetime) -> Transition | None:
    """Everything that is due at `now`, or None.

    A grant dates from `now`, never back, so the floor moves once at most: after an outage each holder gets
    its whole clock. When several deadlines have passed, the meeting's own comes first, as nothing may happen
    after it.
    """
    draft = Draft(state, now)
    _apply_due(draft)
    due = draft.transition()
    return None if due.state is state else due


def _apply_due(draft: Draft) -> None:
    due = view.next_due(draft.state)
    if due is None or due > draft.now:
        return
    before = draft.state
    meeting = draft.meeting
    created = meeting.phase is MeetingPhase.CREATED
    if meeting.deadline <= draft.now:
        end(draft, EndReason.NO_QUORUM if created else EndReason.DEADLINE)
    elif created:
        _start_by_itself(draft)
    elif (holder := before.member(meeting.holder_id)) is not None:
        _skip(draft, holder)
    _record_host_change(draft, before)


def _carry_out(draft: Draft, command: Command) -> None:
    before = draft.state
    match command:
        case Attend():
            _attend(draft, command)
        case Start():
            _start(draft, command)
        case See():
            _see(draft)
        case Speak():
            _speak(draft, command)
        case Leave():
            _leave(draft, command.agent)
        case HandOver():
            draft.change_meeting(host_id=command.to)
        case End():
            if draft.meeting.phase is not MeetingPhase.ENDED:
                created = draft.meeting.phase is MeetingPhase.CREATED
                reason = EndReason.CANCELLED if created else EndReason.BY_HOST
                end(draft, reason, host=command.host, outcome=command.outcome)
        case ApplyDue():
            pass
        case _:
            assert_never(command)
    _record_host_change(draft, before)


def _attend(draft: Draft, command: Attend) -> None:
    """The cursor moves forward only and never past what there is. An ended meeting is read, not joined."""
    if command.after_seq is not None:
        received = min(command.after_seq, draft.meeting.last_seq)
        draft.change_member(command.agent, cursor=max(draft.member(command.agent).cursor, received))
    attends = draft.member(command.agent).status is MemberStatus.ATTENDING
    if not attends and draft.meeting.phase is not MeetingPhase.ENDED:
        _join(draft, command.agent)


def _join(draft: Draft, agent: UUID) -> None:
    """Begin to attend.

    Coming back from away is to the old place: position and last grant stay. Everybody else who joins an
    active meeting, and who declined or left before, goes to the end of the order: a position behind all
    others, and joining counts as a grant. Only those who are invited and come before the start keep the place
    that the invitation gave them.
    """
    member = draft.member(agent)
    meeting = draft.meeting
    returned = member.status is MemberStatus.AWAY
    in_place = returned or (meeting.phase is MeetingPhase.CREATED and member.status is MemberStatus.INVITED)
    seq = draft.record(MeetingEvent.AGENT_JOINED, agent, {"returned": returned})
    draft.change_member(
        agent,
        status=MEMBERS[member.status][MemberStep.ATTENDS],
        position=member.position if in_place else draft.last_position() + 1,
        last_grant=member.last_grant if returned else meeting.turn,
        present_since=meeting.turn,
        joined_seq=seq,
        quiet=None,
        joined_at=member.joined_at if returned else draft.now,
        left_at=None,
    )


def _start(draft: Draft, command: Start) -> None:
    """The host's call counts as attending, and its opening message as turn 1, a speech like any other."""
    host = command.host
    if draft.member(host).status is not MemberStatus.ATTENDING:
        _join(draft, host)
    forced = command.force and not view.is_quorate(draft.state)
    draft.change_meeting(phase=MeetingPhase.ACTIVE, started_at=draft.now)
    draft.record(MeetingEvent.MEETING_STARTED, host, {"forced": forced})
    grant(draft, host)
    yield_floor(draft, MeetingEvent.AGENT_SPOKE, {"turn": 1}, named=command.next_speaker)


def _start_by_itself(draft: Draft) -> None:
    """At `start_by`, with or without the host: turn 1 is offered to the host if it attends, else by order."""
    if not view.is_quorate(draft.state):
        end(draft, EndReason.NO_QUORUM)
        return
    first = by_order(draft.state) if view.is_host_missing(draft.state) else draft.meeting.host_id
    draft.change_meeting(phase=MeetingPhase.ACTIVE, started_at=draft.now)
    data: dict[str, JSON] = {"forced": False, **destination(draft, Grant(first, Why.ORDER))}
    draft.record(MeetingEvent.MEETING_STARTED, None, data)
    grant(draft, first)


def _see(draft: Draft) -> None:
    """The first signal starts the clock and says how far it went; later ones repeat it."""
    meeting = draft.meeting
    if meeting.floor is Floor.SEEN:
        return
    limit = meeting.turn_duration
    draft.change_meeting(
        floor=FLOOR[meeting.floor][FloorStep.SEEN],
        floor_at=draft.now,
        floor_deadline=None if limit is None else draft.now + timedelta(seconds=limit),
        seen_seq=meeting.last_seq,
    )


def _speak(draft: Draft, command: Speak) -> None:
    """Naming a seen turn proves that its signal came, so the cursor moves to where that went.

    On a turn that is offered and unseen there was no signal, so nothing is proved. A speech ends all quiet.
    """
    meeting = draft.meeting
    member = draft.member(command.agent)
    if command.turn is not None and meeting.seen_seq is not None:
        draft.change_member(command.agent, cursor=max(member.cursor, meeting.seen_seq))
    if command.passing:
        draft.change_member(command.agent, skips=0, quiet=Quiet.PASSED)
        event = MeetingEvent.TURN_PASSED
    else:
        draft.change_member(command.agent, skips=0)
        draft.clear_quiet()
        event = MeetingEvent.AGENT_SPOKE
    yield_floor(draft, event, {"turn": meeting.turn}, named=command.next_speaker)


def _skip(draft: Draft, holder: MemberRow) -> None:
    """The holder let its time run out. Twice with no speech or pass of its own between, and it is away."""
    meeting = draft.meeting
    away = holder.skips + 1 >= SKIPS_UNTIL_AWAY
    draft.change_member(
        holder.agent_id,
        status=MEMBERS[holder.status][MemberStep.SKIPPED_TWICE] if away else holder.status,
        skips=holder.skips + 1,
        quiet=Quiet.SKIPPED,
    )
    seen = meeting.floor is Floor.SEEN
    yield_floor(draft, MeetingEvent.AGENT_TIMED_OUT, {"turn": meeting.turn, "away": away, "seen": seen})


def _leave(draft: Draft, agent: UUID) -> None:
    """The holder yields and leaves at once. Nobody else's leaving moves the floor, or ends the meeting."""
    status = draft.member(agent).status
    if draft.meeting.phase is MeetingPhase.ENDED:
        return
    before_start = draft.meeting.phase is MeetingPhase.CREATED
    after = MEMBERS[status][MemberStep.LEAVES_BEFORE_START if before_start else MemberStep.LEAVES]
    if after is status:
        return
    draft.change_member(agent, status=after, left_at=draft.now)
    yielded = draft.meeting.holder_id == agent
    data: dict[str, JSON] = {"declined": after is MemberStatus.DECLINED, "yielded": yielded}
    if yielded:
        yield_floor(draft, MeetingEvent.AGENT_LEFT, data)
    else:
        draft.record(MeetingEvent.AGENT_LEFT, agent, data)


def _record_host_change(draft: Draft, before: MeetingState) -> None:
    """The acting host is never stored, so its coming and going is recorded with whatever brought it about."""
    after = draft.state
    if after.meeting.phase is MeetingPhase.ENDED:
        return
    old, new = view.acting_host(before), view.acting_host(after)
    if (old, before.meeting.host_id == old) != (new, after.meeting.host_id == new):
        acting = new != after.meeting.host_id
        draft.record(MeetingEvent.HOST_CHANGED, new, {"from": str(old), "to": str(new), "acting": acting})
