"""A meeting of which every step is held against what must hold for all of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

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
from tests.protocol.rules.playing import DAY, NOON, OFFER


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
        in_time = now < state.meeting.deadline
        state, steps = transition.state, steps + 1
        assert in_time or state.meeting.phase is MeetingPhase.ENDED, "the deadline cannot be lifted"
        assert steps <= 2 * len(state.members) + 2, "silence ends"
    assert state.meeting.ended_at is not None
    assert state.meeting.ended_at <= deadline
    return steps


class Watched:
    """A meeting of `count` agents with the ids 1, 2, …, the first one its host. Nothing it does is unchecked."""

    def __init__(
        self,
        count: int,
        *,
        turn_duration: float | None,
        quorum: int | None = None,
        start_by: float | None = None,
        deadline: float | None = None,
        max_turns: int = 200,
    ) -> None:
        self.everybody = [UUID(int=number) for number in range(1, count + 1)]
        state = create(
            UUID(int=99),
            self.everybody[0],
            self.everybody,
            NOON,
            quorum=quorum,
            start_by=start_by,
            deadline=deadline,
            max_turns=max_turns,
            turn_duration=turn_duration,
            offer_timeout=OFFER,
            max_meeting_duration=DAY,
        )
        assert isinstance(state, MeetingState)
        self.state, self.now, self.ledger = state, NOON, Ledger(state)

    @property
    def is_active(self) -> bool:
        return self.state.meeting.phase is MeetingPhase.ACTIVE

    @property
    def has_ended(self) -> bool:
        return self.state.meeting.phase is MeetingPhase.ENDED

    @property
    def turn(self) -> int:
        return self.state.meeting.turn

    @property
    def holder(self) -> UUID:
        assert self.state.meeting.holder_id is not None
        return self.state.meeting.holder_id

    def wait(self, seconds: float) -> None:
        """Time passes, and nobody looks."""
        self.now += timedelta(seconds=seconds)

    def wait_until_due(self) -> None:
        """Nobody does anything until the next deadline, which the sweep applies."""
        if (due := view.next_due(self.state)) is not None:
            self.now = max(self.now, due)
            self.do(ApplyDue())

    def do(self, command: Command) -> None:
        """Ask it of the rules, and go on from whatever follows."""
        before = self.state
        result = decide(before, command, self.now)
        due = apply_due(before, self.now)
        after_due = before if due is None else due.state
        if isinstance(result, Refusal):
            assert result.due == due, "a refusal records what was due and nothing else"
            assert result.state == after_due
            if due is not None:
                self._follow(due)
            return
        assert result.state.meeting.phase in PHASES[after_due.meeting.phase][type(command)]
        assert due is None or result.events[: len(due.events)] == due.events, "what was due comes first"
        self._accepted(command, after_due, result.state)
        self._follow(result)

    def _accepted(self, command: Command, before: MeetingState, after: MeetingState) -> None:
        """What only the rightful may do, and what it may prove. `before` has what was due applied."""
        meeting = before.meeting
        match command:
            case See(agent=agent, turn=turn):
                assert (agent, turn) == (meeting.holder_id, meeting.turn)
            case Speak(agent=agent, turn=turn):
                assert agent == meeting.holder_id
                assert turn in (None, meeting.turn), "a stale turn is refused"
                old, new = before.member(agent), after.member(agent)
                assert old is not None
                assert new is not None
                proved = 0 if turn is None else meeting.seen_seq or 0
                assert new.cursor == max(old.cursor, proved), "only naming a signalled turn proves receipt"
            case Leave(agent=agent):
                assert agent != meeting.host_id or meeting.phase is MeetingPhase.ENDED
            case Start(host=host) | HandOver(host=host) | End(host=host):
                assert host == view.acting_host(before) or meeting.phase is MeetingPhase.ENDED
            case Attend() | ApplyDue():
                pass

    def _follow(self, transition: Transition) -> None:
        before, after = self.state, transition.state
        assert after.meeting.last_seq == before.meeting.last_seq + len(transition.events), "gapless"
        if after is before:
            assert transition.events == ()
        else:
            assert after != before
            assert after.meeting.version == before.meeting.version + 1
        assert after.meeting.turn >= before.meeting.turn
        if after.meeting.turn == before.meeting.turn and not self.has_ended and after.meeting.holder_id:
            assert after.meeting.holder_id == before.meeting.holder_id, "one holder a turn"
        self._clock_is_right(before, after)
        for member in after.members:
            old = before.member(member.agent_id)
            assert old is not None
            assert member.cursor >= old.cursor, "the cursor moves forward only"
        if self.has_ended:
            self._only_cursors_moved(before, after)
        for event in transition.events:
            self.ledger.follow(event)
        self.ledger.agrees_with(after)
        self.state = after
        self._check()

    def _clock_is_right(self, before: MeetingState, after: MeetingState) -> None:
        """A grant dates from now, and being told again of a turn does not restart its clock."""
        old, new = before.meeting, after.meeting
        if new.phase is not MeetingPhase.ACTIVE:
            return
        if new.floor is Floor.OFFERED and new.turn > old.turn:
            assert (new.floor_at, new.floor_deadline) == (self.now, self.now + timedelta(seconds=OFFER))
        elif old.floor is Floor.SEEN and new.turn == old.turn:
            clock = (old.floor_at, old.floor_deadline, old.seen_seq)
            assert (new.floor_at, new.floor_deadline, new.seen_seq) == clock

    def _only_cursors_moved(self, before: MeetingState, after: MeetingState) -> None:
        """The end is final."""
        assert after.meeting.reason is before.meeting.reason
        assert after.meeting.ended_at == before.meeting.ended_at
        for old, new in zip(before.members, after.members, strict=True):
            assert (old.agent_id, old.status, old.position) == (new.agent_id, new.status, new.position)

    def _check(self) -> None:
        the_constraints_of_the_database_hold(self.state)
        steps_of_silence(self.state, self.now)
        holder = self.state.member(self.state.meeting.holder_id)
        assert holder is None or holder.status is MemberStatus.ATTENDING, "the holder attends"
        waiting = waiting_for(self.state, self.now)
        assert (waiting is None) == self.has_ended
        assert waiting is None or waiting.next_at == view.next_due(self.state)
