"""Random histories of meetings: whatever agents do, or cease to do, the promises hold.

`AGENT_MESSAGING_HISTORIES=10000` plays that many (with `--timeout=0`); the default is enough for every run.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent_messaging.rules import meeting_view as view
from agent_messaging.rules.meeting import (
    PHASES,
    ApplyDue,
    Attend,
    Command,
    End,
    HandOver,
    Leave,
    MeetingState,
    Refusal,
    See,
    Speak,
    Start,
    Transition,
    apply_due,
    decide,
)
from agent_messaging.rules.meeting_creation import create
from agent_messaging.rules.meeting_waiting import waiting_for
from agent_messaging_db.rows import Floor, MeetingPhase, MemberStatus
from tests.protocol.rules.ledger import Ledger
from tests.protocol.rules.playing import NOON, OFFER, TURN

HISTORIES = int(os.environ.get("AGENT_MESSAGING_HISTORIES", "200"))
MOST = 5

agents = st.integers(1, MOST + 1).map(lambda number: UUID(int=number))
members = st.integers(1, MOST).map(lambda number: UUID(int=number))
names = st.one_of(st.none(), members, agents)
moments = st.sampled_from([0.000001, 1.0, 59.0, TURN, OFFER, 10_000.0])


def the_constraints_of_the_database_hold(state: MeetingState) -> None:
    """The sentences of the schema's CHECK constraints on meetings and their members."""
    meeting = state.meeting
    active, ended = meeting.phase is MeetingPhase.ACTIVE, meeting.phase is MeetingPhase.ENDED
    assert active == (meeting.floor is not Floor.NONE), "active exactly when there is a floor"
    assert (meeting.floor is Floor.NONE) == (meeting.holder_id is None), "a floor has a holder"
    assert meeting.floor is not Floor.OFFERED or meeting.floor_deadline, "an offer has a deadline"
    assert (meeting.floor is Floor.SEEN) == (meeting.seen_seq is not None), "seen says what was seen"
    assert ended == (meeting.reason is not None) == (meeting.ended_at is not None), "ended has a reason"
    assert ended == (view.next_due(state) is None), "unended has something due"
    assert meeting.turn <= meeting.max_turns, "turns are limited"
    positions = [member.position for member in state.members]
    assert positions == sorted(set(positions)), "positions are distinct, and members in their order"
    for member in state.members:
        assert 0 <= member.cursor <= meeting.last_seq
        assert member.last_grant <= meeting.turn
        assert member.present_since <= meeting.turn
        assert member.joined_seq <= meeting.last_seq


def steps_of_silence(state: MeetingState, now: datetime) -> int:
    """How many deadlines are applied before a meeting in which nobody does anything any more has ended."""
    deadline, steps = max(state.meeting.deadline, now), 0
    while (due := view.next_due(state)) is not None:
        now = max(now, due)
        transition = apply_due(state, now)
        assert transition is not None, "what is due is applied"
        state, steps = transition.state, steps + 1
        assert steps <= 2 * len(state.members) + 2, "silence ends"
    assert state.meeting.ended_at is not None
    assert state.meeting.ended_at <= deadline
    return steps


class Histories(RuleBasedStateMachine):
    """Agents attend, speak, pass, leave, hand over and end, in turn or not; time passes, swept or not."""

    state: MeetingState
    ledger: Ledger

    @initialize(
        count=st.sampled_from([3, 4, MOST, 2]),
        quorum=st.none() | st.integers(2, MOST),
        start_by=st.none() | st.just(300.0),
        deadline=st.sampled_from([None, None, 1_000.0]),
        max_turns=st.sampled_from([200, 200, 200, 7, 1]),
        turn_duration=st.sampled_from([TURN, TURN, None]),
        arrived=st.sampled_from([MOST, MOST, 2, 1, 0]),
        opened=st.sampled_from([True, True, False]),
    )
    def create(
        self,
        count: int,
        quorum: int | None,
        start_by: float | None,
        deadline: float | None,
        max_turns: int,
        turn_duration: float | None,
        arrived: int,
        opened: bool,
    ) -> None:
        everybody = [UUID(int=number) for number in range(1, count + 1)]
        state = create(
            UUID(int=99),
            everybody[0],
            everybody,
            NOON,
            quorum=None if quorum is None else min(quorum, count),
            start_by=start_by,
            deadline=deadline,
            max_turns=max_turns,
            turn_duration=turn_duration,
            offer_timeout=OFFER,
            max_meeting_duration=86_400.0,
        )
        assert isinstance(state, MeetingState)
        self.state, self.now, self.ledger = state, NOON, Ledger(state)
        for agent in everybody[:arrived]:
            self.do(Attend(agent))
        if opened:
            self.do(Start(everybody[0], force=True))

    def do(self, command: Command) -> None:
        before = self.state
        result = decide(before, command, self.now)
        due = apply_due(before, self.now)
        if isinstance(result, Refusal):
            assert result.due == due, "a refusal records what was due and nothing else"
            assert result.state == (before if due is None else due.state)
            if due is not None:
                self.follow(due)
            return
        taken_in = before if due is None else due.state
        assert result.state.meeting.phase in PHASES[taken_in.meeting.phase][type(command)]
        assert due is None or result.events[: len(due.events)] == due.events, "what was due comes first"
        self.follow(result)

    def follow(self, transition: Transition) -> None:
        before, after = self.state, transition.state
        assert after.meeting.last_seq == before.meeting.last_seq + len(transition.events), "gapless"
        if after is before:
            assert transition.events == ()
        else:
            assert after != before
            assert after.meeting.version == before.meeting.version + 1
        if before.meeting.holder_id is not None and after.meeting.holder_id is not None:
            same_turn = after.meeting.turn == before.meeting.turn
            assert after.meeting.turn >= before.meeting.turn
            assert not same_turn or after.meeting.holder_id == before.meeting.holder_id, "one holder a turn"
        for member in after.members:
            old = before.member(member.agent_id)
            assert old is not None
            assert member.cursor >= old.cursor, "the cursor moves forward only"
        if before.meeting.phase is MeetingPhase.ENDED:
            self.only_cursors_move(before, after)
        for event in transition.events:
            self.ledger.follow(event)
        self.ledger.agrees_with(after)
        self.state = after

    def only_cursors_move(self, before: MeetingState, after: MeetingState) -> None:
        assert after.meeting.reason is before.meeting.reason
        assert after.meeting.ended_at == before.meeting.ended_at
        for old, new in zip(before.members, after.members, strict=True):
            assert (old.agent_id, old.status, old.position) == (new.agent_id, new.status, new.position)

    def holder(self) -> UUID:
        assert self.state.meeting.holder_id is not None
        return self.state.meeting.holder_id

    def is_active(self) -> bool:
        return self.state.meeting.phase is MeetingPhase.ACTIVE

    @rule(agent=agents, after_seq=st.none() | st.integers(-1, 50))
    def attend(self, agent: UUID, after_seq: int | None) -> None:
        self.do(Attend(agent, after_seq))

    @rule(agent=agents, force=st.booleans(), name=names)
    def start(self, agent: UUID, force: bool, name: UUID | None) -> None:
        self.do(Start(agent, name, force))

    @precondition(is_active)
    @rule()
    def the_holder_is_signalled(self) -> None:
        self.do(See(self.holder(), self.state.meeting.turn))

    @precondition(is_active)
    @rule(named=st.booleans(), name=names)
    def the_holder_speaks(self, named: bool, name: UUID | None) -> None:
        self.do(Speak(self.holder(), self.state.meeting.turn if named else None, next_speaker=name))

    @precondition(is_active)
    @rule(friends=st.permutations(range(1, MOST + 1)), turns=st.integers(1, 4 * MOST))
    def two_name_each_other(self, friends: list[int], turns: int) -> None:
        one, other = UUID(int=friends[0]), UUID(int=friends[1])
        for _ in range(turns):
            if self.is_active():
                self.do(Speak(self.holder(), next_speaker=other if self.holder() == one else one))

    @precondition(is_active)
    @rule(silent=members, turns=st.integers(1, 3 * MOST), passing=st.sampled_from([False, False, True]))
    def one_is_silent_while_the_others_speak(self, silent: UUID, turns: int, passing: bool) -> None:
        for _ in range(turns):
            if not self.is_active():
                return
            if self.holder() == silent:
                self.silence_until_something_is_due(times=1)
            else:
                self.do(See(self.holder(), self.state.meeting.turn))
                if self.is_active():
                    self.do(Speak(self.holder(), self.state.meeting.turn, passing))

    @precondition(is_active)
    @rule(name=names)
    def the_holder_passes(self, name: UUID | None) -> None:
        self.do(Speak(self.holder(), self.state.meeting.turn, passing=True, next_speaker=name))

    @precondition(is_active)
    @rule()
    def the_holder_leaves(self) -> None:
        self.do(Leave(self.holder()))

    @rule(agent=agents, lag=st.integers(-2, 1), passing=st.booleans(), name=names)
    def somebody_speaks_out_of_turn(self, agent: UUID, lag: int, passing: bool, name: UUID | None) -> None:
        self.do(Speak(agent, self.state.meeting.turn + lag, passing, name))

    @rule(agent=agents, lag=st.integers(-2, 1))
    def somebody_looks(self, agent: UUID, lag: int) -> None:
        self.do(See(agent, self.state.meeting.turn + lag))

    @rule(agent=agents)
    def leave(self, agent: UUID) -> None:
        self.do(Leave(agent))

    @rule(agent=agents, to=agents)
    def hand_over(self, agent: UUID, to: UUID) -> None:
        self.do(HandOver(agent, to))

    @rule(agent=agents, really=st.sampled_from([False] * 15 + [True]))
    def end(self, agent: UUID, really: bool) -> None:
        if really or self.state.meeting.phase is MeetingPhase.ENDED:
            self.do(End(agent, "outcome"))

    @rule(seconds=moments)
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def somebody_sweeps(self) -> None:
        self.do(ApplyDue())
        if self.state.meeting.phase is MeetingPhase.ACTIVE:
            assert apply_due(self.state, self.now) is None, "everything that was due has been applied"

    @rule(times=st.sampled_from([1, 1, 2, 3]))
    def silence_until_something_is_due(self, times: int) -> None:
        for _ in range(times):
            if (due := view.next_due(self.state)) is not None:
                self.now = max(self.now, due)
                self.do(ApplyDue())

    @invariant()
    def everything_holds(self) -> None:
        the_constraints_of_the_database_hold(self.state)
        holder = self.state.member(self.state.meeting.holder_id)
        assert holder is None or holder.status is MemberStatus.ATTENDING, "the holder attends"

    @invariant()
    def silence_for_ever_ends_the_meeting_by_its_deadline(self) -> None:
        steps_of_silence(self.state, self.now)

    @invariant()
    def it_says_whom_it_waits_for_until_it_ends(self) -> None:
        waiting = waiting_for(self.state, self.now)
        assert (waiting is None) == (self.state.meeting.phase is MeetingPhase.ENDED)
        assert waiting is None or waiting.next_at == view.next_due(self.state)


@pytest.mark.requirement("meeting:histories")
class TestEveryHistoryKeepsThePromisesAndEndsInSilence(Histories.TestCase):
    settings = settings(
        max_examples=HISTORIES,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
