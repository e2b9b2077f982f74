"""A meeting played against the rules alone: a state, a clock that the test moves, and what was recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from agent_messaging.errors import AgentMessagingError
from agent_messaging.rules.meeting import (
    ApplyDue,
    Attend,
    Command,
    MeetingState,
    NewEvent,
    Refusal,
    See,
    Speak,
    Start,
    Transition,
    decide,
)
from agent_messaging.rules.meeting_creation import create
from agent_messaging_db.rows import MeetingEvent, MeetingPhase, MeetingRow, MemberRow

ALICE, BOB, CAROL, DAVE, EVE, STRANGER = (UUID(int=number) for number in range(1, 7))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
OFFER = 120.0
TURN = 60.0
DAY = 86_400.0


def created(*agents: UUID, **settings: Any) -> MeetingState | Refusal:
    """What comes of creating a meeting of these agents; the first one is its host unless `host` is."""
    host = settings.pop("host", agents[0] if agents else ALICE)
    defaults = {"turn_duration": TURN, "offer_timeout": OFFER, "max_turns": 200, "max_meeting_duration": DAY}
    return create(UUID(int=99), host, list(agents), NOON, **(defaults | settings))


class Play:
    """A meeting of these agents, the first one its host."""

    def __init__(self, *agents: UUID, **settings: Any) -> None:
        state = created(*agents, **settings)
        assert isinstance(state, MeetingState), state
        self.state = state
        self.now = NOON
        self.events: list[NewEvent] = []

    @property
    def meeting(self) -> MeetingRow:
        return self.state.meeting

    def member(self, agent: UUID) -> MemberRow:
        member = self.state.member(agent)
        assert member is not None
        return member

    def does(self, command: Command) -> tuple[NewEvent, ...]:
        """The command is accepted; returns what it recorded."""
        result = decide(self.state, command, self.now)
        assert isinstance(result, Transition), result
        return self._follow(result)

    def refuses(self, command: Command, error: type[AgentMessagingError]) -> Refusal:
        """The command is refused with exactly this error; what was due is recorded all the same."""
        result = decide(self.state, command, self.now)
        assert isinstance(result, Refusal), result
        assert result.error is error, result.reason
        if result.due is not None:
            self._follow(result.due)
        return result

    def wait(self, seconds: float) -> Play:
        """Time passes, and nobody looks."""
        self.now += timedelta(seconds=seconds)
        return self

    def silence(self, seconds: float) -> tuple[NewEvent, ...]:
        """Time passes, and the sweep applies what is due then; returns what it recorded."""
        return self.wait(seconds).does(ApplyDue())

    def attend(self, *agents: UUID) -> Play:
        for agent in agents:
            self.does(Attend(agent))
        return self

    def signal(self) -> int:
        """The holder is given the signal for its turn; returns the number."""
        assert self.meeting.holder_id is not None
        self.does(See(self.meeting.holder_id, self.meeting.turn))
        return self.meeting.turn

    def speak(self, *, naming: UUID | None = None) -> tuple[NewEvent, ...]:
        """The holder speaks."""
        assert self.meeting.holder_id is not None
        return self.does(Speak(self.meeting.holder_id, self.meeting.turn, next_speaker=naming))

    def pass_on(self, *, naming: UUID | None = None) -> tuple[NewEvent, ...]:
        """The holder passes."""
        assert self.meeting.holder_id is not None
        command = Speak(self.meeting.holder_id, self.meeting.turn, passing=True, next_speaker=naming)
        return self.does(command)

    def speakers(self, turns: int) -> list[UUID]:
        """Who gets the next turns if everybody just speaks."""
        held: list[UUID] = []
        for _ in range(turns):
            assert self.meeting.holder_id is not None
            held.append(self.meeting.holder_id)
            self.speak()
        return held

    def _follow(self, transition: Transition) -> tuple[NewEvent, ...]:
        self.state = transition.state
        self.events += transition.events
        return transition.events


def started(*agents: UUID, **settings: Any) -> Play:
    """Everybody attends and the host has opened; the second agent is offered turn 2."""
    play = Play(*agents, **settings).attend(*agents)
    play.does(Start(agents[0]))
    assert play.meeting.phase is MeetingPhase.ACTIVE
    return play


def kinds(events: tuple[NewEvent, ...]) -> list[MeetingEvent]:
    return [event.event for event in events]
