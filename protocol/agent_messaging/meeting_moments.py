"""A meeting at a moment, and what a transition of it changes in the rows. Nothing here reads or writes any."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agent_messaging.rules.meeting import MeetingState, NewEvent, Refusal, Transition
from agent_messaging.rules.meeting_view import next_due
from agent_messaging.waiting import agent_topic, ending_topic, meeting_topic
from agent_messaging_db.meetings import Clocks, NewEventRow
from agent_messaging_db.rows import EventRow, Floor, MeetingEvent, MeetingPhase, MeetingRow, MemberRow


@dataclass(frozen=True, slots=True)
class Words:
    """A speech, or a pass, which has no content: its id, its JSON text and metadata."""

    message_id: UUID
    content: str | None
    metadata: str | None


@dataclass(frozen=True, slots=True)
class Moment:
    """A meeting as it stood at a moment of the database's clock, and which members an operator has silenced."""

    state: MeetingState
    now: datetime
    silenced: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class Sighting:
    """A meeting as an agent is to be told of it: with what has happened that it has not proved to have received."""

    moment: Moment
    events: list[EventRow]


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal, at the moment of it."""

    refusal: Refusal
    now: datetime


def cursor_of(moment: Moment, agent: UUID) -> int:
    """Give the number of the last entry that an agent has proved to have received."""
    member = moment.state.member(agent)
    return 0 if member is None else member.cursor


def nothing_due(moment: Moment) -> bool:
    """Has nothing come due since the meeting was read?"""
    due = next_due(moment.state)
    return due is None or due > moment.now


def is_only_seen(moment: Moment, transition: Transition) -> bool:
    """Does nothing change but that the holder has seen its turn?"""
    before, after = moment.state.meeting, transition.state.meeting
    return (
        not transition.events
        and transition.state.members == moment.state.members
        and (before.floor, after.floor) == (Floor.OFFERED, Floor.SEEN)
    )


def as_saved(moment: Moment, transition: Transition, deadline: datetime | None, now: datetime) -> Moment:
    """The meeting as the save has left it, at a moment a little after the reading."""
    # The clock that the save started runs from its own moment, a little after the reading.
    version = moment.state.meeting.version + 1
    meeting = transition.state.meeting._replace(floor_deadline=deadline, version=version)
    return Moment(MeetingState(meeting, transition.state.members), now, moment.silenced)


def changed_members(before: Sequence[MemberRow], after: Sequence[MemberRow]) -> list[MemberRow]:
    """The members that a transition changes, as they are after it."""
    old = {member.agent_id: member for member in before}
    return [member for member in after if old.get(member.agent_id) != member]


def concerned(before: MeetingRow, after: MeetingRow) -> set[str]:
    """The topics of those whom a transition concerns."""
    topics = {meeting_topic(after.id)}
    if (holder := granted_to(before, after)) is not None:
        topics.add(agent_topic(holder))
    if after.phase is MeetingPhase.ENDED:
        topics.add(ending_topic(after.id))
    return topics


def granted_to(before: MeetingRow, after: MeetingRow) -> UUID | None:
    """Who is given the floor by a transition, if anybody is."""
    return None if (after.holder_id, after.turn) == (before.holder_id, before.turn) else after.holder_id


def event_rows(before: MeetingRow, events: Sequence[NewEvent], words: Words | None) -> list[NewEventRow]:
    """The entries that a transition writes, numbered."""
    rows: list[NewEventRow] = []
    for seq, event in enumerate(events, before.last_seq + 1):
        spoken = words if event.event in (MeetingEvent.AGENT_SPOKE, MeetingEvent.TURN_PASSED) else None
        rows.append(
            NewEventRow(
                seq=seq,
                event=event.event,
                agent_id=event.agent_id,
                turn=event.turn,
                data=json.dumps(dict(event.data), separators=(",", ":")),
                message_id=None if spoken is None else spoken.message_id,
                content=None if spoken is None else spoken.content,
                metadata=None if spoken is None else spoken.metadata,
            )
        )
    return rows


def clocks_of(before: MeetingRow, after: MeetingRow, now: datetime) -> Clocks:
    """The clocks that a transition starts."""
    seconds = None if after.floor_deadline is None else (after.floor_deadline - now).total_seconds()
    return Clocks(
        floor=after.floor_at != before.floor_at,
        resets_deadline=after.floor_deadline != before.floor_deadline,
        floor_deadline=seconds,
        started=after.started_at != before.started_at,
        ended=after.ended_at != before.ended_at,
    )
