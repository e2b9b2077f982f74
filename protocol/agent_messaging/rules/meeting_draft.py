"""A transition in the making: the rows as they stand so far, and what has been recorded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from agent_messaging.rules.meeting_state import JSON, MeetingState, NewEvent, Transition
from agent_messaging_db.rows import MeetingEvent, MeetingRow, MemberRow


class Draft:
    """Lives for one decision only. The state it began with is never touched."""

    __slots__ = ("_before", "_events", "_members", "meeting", "now")

    def __init__(self, state: MeetingState, now: datetime) -> None:
        self._before = state
        self._members = {member.agent_id: member for member in state.members}
        self._events: list[NewEvent] = []
        self.meeting: MeetingRow = state.meeting
        self.now = now

    @property
    def state(self) -> MeetingState:
        """The rows as they stand now."""
        members = sorted(self._members.values(), key=lambda member: member.position)
        return MeetingState(self.meeting, tuple(members))

    def member(self, agent: UUID) -> MemberRow:
        """The row of a member."""
        return self._members[agent]

    def change_meeting(self, **changes: Any) -> None:
        """Replace these columns of the meeting."""
        self.meeting = self.meeting._replace(**changes)

    def change_member(self, agent: UUID, **changes: Any) -> None:
        """Replace these columns of a member."""
        self._members[agent] = self._members[agent]._replace(**changes)

    def clear_quiet(self) -> None:
        """Somebody spoke: nobody is quiet any more."""
        for agent, member in self._members.items():
            if member.quiet is not None:
                self._members[agent] = member._replace(quiet=None)

    def last_position(self) -> int:
        """The position of the last in the order."""
        return max(member.position for member in self._members.values())

    def record(self, event: MeetingEvent, agent: UUID | None, data: Mapping[str, JSON]) -> int:
        """Record what happened in the current turn and return the number of the entry."""
        self._events.append(NewEvent(event, agent, self.meeting.turn, data))
        self.change_meeting(last_seq=self.meeting.last_seq + 1)
        return self.meeting.last_seq

    def transition(self) -> Transition:
        """What came of it: one version further however much happened, or the very same state if nothing."""
        after = self.state
        if after == self._before:
            return Transition(self._before, ())
        self.change_meeting(version=self._before.meeting.version + 1)
        return Transition(self.state, tuple(self._events))
