"""Random histories of meetings: whatever agents do, or cease to do, the promises hold."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from agent_messaging.rules.meeting import ApplyDue, Attend, End, HandOver, Leave, See, Speak, Start, apply_due
from tests.promises import kept, tries
from tests.protocol.rules.playing import OFFER, TURN
from tests.protocol.rules.watched import Watched

HISTORIES = tries(100, 10_000)
MOST = 6
LENGTH = 80

MOODS: dict[str, dict[str, float]] = {
    "talk": {"speak": 10, "name": 5, "see": 8, "pass": 1, "attend": 2, "leave": 0.5, "sleep": 0.5, "wake": 2},
    "clique": {"name_friend": 30, "see": 5, "attend": 1, "leave": 0.5, "name": 1},
    "fading": {"speak": 3, "see": 4, "pass": 4, "attend": 2, "sleep": 2, "wake": 1, "leave": 1, "wait": 2},
    "unruly": {"speak": 4, "stray": 5, "leave": 2, "attend": 4, "host": 3, "wait": 2, "name": 2, "sleep": 0.5},
}
"""How likely each move is while the holder is awake."""


class Crowd:
    """Agents with a will of their own; those that sleep have crashed, and the time of their turns runs out."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        count = self.random.randint(2, MOST)
        quorum = self.random.choice([None, self.random.randint(2, count)])
        self.meeting = Watched(
            count,
            quorum=quorum,
            start_by=self.random.choice([None, 300.0]),
            deadline=self.random.choice([None, None, None, 5_000.0]),
            max_turns=self.random.choice([200, 200, 200, 30, 3]),
            turn_duration=self.random.choice([TURN, TURN, None]),
        )
        self.asleep: set[UUID] = set()
        self.friends = self.random.sample(self.meeting.everybody, 2)

    def play(self, length: int) -> None:
        """They gather, mostly; somebody starts the meeting, mostly; and then they take their moves."""
        everybody = self.meeting.everybody
        some = everybody if self.chance(0.7) else everybody[: self.random.randint(0, len(everybody))]
        for agent in self.random.sample(some, len(some)):
            self.meeting.do(Leave(agent) if self.chance(0.1) else Attend(agent))
        self.meeting.do(Start(everybody[0], force=self.chance(0.7)))
        mood = self.random.choice(list(MOODS))
        for _ in range(length):
            if self.chance(0.1):
                mood = self.random.choice(list(MOODS))
            self.move(mood)
            if self.meeting.has_ended and self.chance(0.3):
                break

    def move(self, mood: str) -> None:
        if not self.meeting.is_active:
            self.stray()
            if self.chance(0.05):
                self.meeting.wait_until_due()
        elif self.meeting.holder in self.asleep and self.chance(0.8):
            self.meeting.wait_until_due()
        else:
            weights = MOODS[mood]
            (name,) = self.random.choices(list(weights), list(weights.values()))
            moves: dict[str, Callable[[], None]] = {
                "speak": lambda: self.speak(None),
                "name": lambda: self.speak(self.anybody()),
                "name_friend": self.name_friend,
                "see": lambda: self.meeting.do(See(self.meeting.holder, self.meeting.turn)),
                "pass": lambda: self.speak(self.anybody_or_none(), passing=True),
                "attend": lambda: self.meeting.do(Attend(self.anybody())),
                "leave": lambda: self.meeting.do(Leave(self.anybody())),
                "sleep": lambda: self.asleep.add(self.anybody()),
                "wake": self.wake,
                "wait": lambda: self.meeting.wait(self.random.choice([0.5, 40.0, 70.0, 130.0, 3_000.0])),
                "stray": self.stray,
                "host": lambda: self.meeting.do(HandOver(self.anybody(), self.anybody())),
            }
            moves[name]()

    def speak(self, name: UUID | None, *, passing: bool = False) -> None:
        turn = self.random.choice([None, self.meeting.turn])
        self.meeting.do(Speak(self.meeting.holder, turn, passing, name))

    def name_friend(self) -> None:
        one, other = self.friends
        self.speak(other if self.meeting.holder == one else one)

    def wake(self) -> None:
        agent = self.anybody()
        self.asleep.discard(agent)
        self.meeting.do(Attend(agent, self.random.choice([None, 2, 10, 1_000])))

    def stray(self) -> None:
        """Anybody, a stranger too, asks for anything."""
        agent = self.anybody(strangers=1)
        turn = self.meeting.turn + self.random.randint(-2, 1)
        command = self.random.choice(
            [
                Attend(agent, self.random.choice([None, -1, 3, 1_000])),
                Start(agent, self.anybody_or_none(), self.chance(0.5)),
                See(agent, turn),
                Speak(agent, self.random.choice([None, turn]), self.chance(0.5), self.anybody_or_none()),
                Leave(agent),
                HandOver(agent, self.anybody(strangers=1)),
                End(agent, "outcome") if self.chance(0.1) else ApplyDue(),
            ]
        )
        self.meeting.do(command)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def anybody(self, *, strangers: int = 0) -> UUID:
        return UUID(int=self.random.randint(1, len(self.meeting.everybody) + strangers))

    def anybody_or_none(self) -> UUID | None:
        return self.random.choice([None, None, self.anybody(strangers=1)])


@pytest.mark.requirement("meeting:histories")
@pytest.mark.timeout(tries(300, 3600))
def test_no_crowd_breaks_a_promise_and_every_meeting_ends_in_silence() -> None:
    played = 0

    @settings(max_examples=HISTORIES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(seed=st.integers(0, 2**64), length=st.integers(1, LENGTH).map(lambda less: LENGTH + 1 - less))
    def play(seed: int, length: int) -> None:
        nonlocal played
        Crowd(seed).play(length)
        played += 1

    play()
    kept("R8", "histories of a crowd, by the pure rules", tried=played)


agents = st.integers(1, MOST + 1).map(lambda number: UUID(int=number))
names = st.none() | agents
moments = st.sampled_from([0.000001, 1.0, TURN, OFFER, 10_000.0])


class Histories(RuleBasedStateMachine):
    """One step at a time, so that a broken promise shrinks to the shortest history that breaks it."""

    meeting: Watched
    played: ClassVar[int]

    @initialize(
        count=st.integers(2, MOST),
        start_by=st.none() | st.just(300.0),
        max_turns=st.sampled_from([200, 7, 1]),
        turn_duration=st.sampled_from([TURN, None]),
        opened=st.sampled_from([True, True, False]),
    )
    def create(
        self, count: int, start_by: float | None, max_turns: int, turn_duration: float | None, opened: bool
    ) -> None:
        self.meeting = Watched(count, start_by=start_by, max_turns=max_turns, turn_duration=turn_duration)
        if opened:
            for agent in self.meeting.everybody:
                self.meeting.do(Attend(agent))
            self.meeting.do(Start(self.meeting.everybody[0]))

    def is_active(self) -> bool:
        return self.meeting.is_active

    def is_open(self) -> bool:
        return not self.meeting.has_ended

    @rule(agent=agents, after_seq=st.none() | st.integers(-1, 50))
    def attend(self, agent: UUID, after_seq: int | None) -> None:
        self.meeting.do(Attend(agent, after_seq))

    @precondition(is_open)
    @rule(agent=agents, force=st.booleans(), name=names)
    def start(self, agent: UUID, force: bool, name: UUID | None) -> None:
        self.meeting.do(Start(agent, name, force))

    @precondition(is_active)
    @rule()
    def the_holder_is_signalled(self) -> None:
        self.meeting.do(See(self.meeting.holder, self.meeting.turn))

    @precondition(is_active)
    @rule(named=st.booleans(), passing=st.booleans(), name=names)
    def the_holder_speaks_or_passes(self, named: bool, passing: bool, name: UUID | None) -> None:
        self.meeting.do(Speak(self.meeting.holder, self.meeting.turn if named else None, passing, name))

    @precondition(is_active)
    @rule(one=st.integers(1, MOST), other=st.integers(1, MOST), turns=st.integers(1, 4 * MOST))
    def two_name_each_other(self, one: int, other: int, turns: int) -> None:
        for _ in range(turns):
            if self.meeting.is_active:
                name = UUID(int=other if self.meeting.holder == UUID(int=one) else one)
                self.meeting.do(Speak(self.meeting.holder, next_speaker=name))

    @precondition(is_active)
    @rule()
    def the_holder_leaves(self) -> None:
        self.meeting.do(Leave(self.meeting.holder))

    @rule(agent=agents, lag=st.integers(-2, 1), passing=st.booleans(), name=names)
    def somebody_speaks_out_of_turn(self, agent: UUID, lag: int, passing: bool, name: UUID | None) -> None:
        self.meeting.do(Speak(agent, self.meeting.turn + lag, passing, name))

    @precondition(is_open)
    @rule(agent=agents, lag=st.integers(-2, 1))
    def somebody_looks(self, agent: UUID, lag: int) -> None:
        self.meeting.do(See(agent, self.meeting.turn + lag))

    @rule(agent=agents)
    def leave(self, agent: UUID) -> None:
        self.meeting.do(Leave(agent))

    @precondition(is_open)
    @rule(agent=agents, to=agents)
    def hand_over(self, agent: UUID, to: UUID) -> None:
        self.meeting.do(HandOver(agent, to))

    @rule(agent=agents, really=st.sampled_from([False] * 15 + [True]))
    def end(self, agent: UUID, really: bool) -> None:
        if really or self.meeting.has_ended:
            self.meeting.do(End(agent, "outcome"))

    @rule(seconds=moments)
    def time_passes(self, seconds: float) -> None:
        self.meeting.wait(seconds)

    @precondition(is_open)
    @rule()
    def somebody_sweeps(self) -> None:
        self.meeting.do(ApplyDue())
        assert apply_due(self.meeting.state, self.meeting.now) is None, "all that was due has been applied"

    @precondition(is_open)
    @rule()
    def silence_until_something_is_due(self) -> None:
        self.meeting.wait_until_due()

    def teardown(self) -> None:
        type(self).played += 1


@pytest.mark.requirement("meeting:histories")
@pytest.mark.timeout(tries(300, 3600))
def test_every_step_keeps_the_promises_and_silence_ends_the_meeting() -> None:
    Histories.played = 0
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
    kept("R8", "histories step by step, by the pure rules", tried=Histories.played)
