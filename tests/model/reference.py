"""The reference model: what every operation must give, and what everybody must see after it. Plain Python, no I/O.

It imports nothing of the product. `do` gives the outcome of an operation; the outcomes of waits that it brought to
their end are in `ended`. An outcome is `["ok", ...]` or `["no", the error's name, ...]`.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, assert_never

from tests.model import operations as op
from tests.model.operations import AGENTS, Operation
from tests.model.reference_mail import Mail, Process, Question
from tests.model.reference_meeting import LONGEST, MAX_TURNS, TURN, Meeting, Refused

TICK = 0.001
"""Seconds that each operation takes. Everything else is a multiple of 5 s, so that a tick never makes anything due."""
LEASE = 10.0

Outcome = list[Any]
Wait = op.Ask | op.WaitForMessage | op.WaitForAnything | op.Attend | op.Speak


@dataclass(slots=True)
class Reference:
    """What is known of everything.

    `unlooked`: a wait that has not looked yet; `unheard`: a call whose caller has gone.
    """

    now: float = 0.0
    mail: Mail = field(default_factory=Mail)
    meetings: dict[int, Meeting] = field(default_factory=dict[int, Meeting])
    waits: dict[int, Wait] = field(default_factory=dict[int, Wait])
    asked: dict[int, Question] = field(default_factory=dict[int, Question])
    ended: dict[int, Outcome] = field(default_factory=dict[int, Outcome])
    signalled: dict[tuple[int, str, int], int] = field(default_factory=dict[tuple[int, str, int], int])
    lives: dict[int, int] = field(default_factory=lambda: dict.fromkeys(op.PROCESSES, 0))
    unlooked: int | None = None
    unheard: int | None = None

    def do(self, operation: Operation) -> Outcome | None:
        """What the operation gives; None for one that goes on waiting."""
        self._tick(operation.seconds if isinstance(operation, op.Pass) else 0.0)
        try:
            outcome = self._do(operation)
        except Refused as refused:
            outcome = ["no", refused.error]
        self._end_waits()
        return outcome

    def might_be(self, cut: op.Cut) -> list[Reference]:
        """Everything that may be true after a call whose caller went away in the middle of it.

        It was done or it was not. What was read for nobody is unread; what was asked or said stands. A signal may
        have been written as given, and was not.
        """
        call = cut.call
        nothing, unseen, done = deepcopy(self), deepcopy(self), deepcopy(self)
        nothing._tick()
        if isinstance(call, op.Unread | op.WaitForMessage | op.WaitForAnything) and call.agent in AGENTS:
            nothing.mail.readers.add(call.agent)
            return [nothing]
        unseen.unlooked = call.number
        for after in (unseen, done):
            after.unheard = call.number
            after.do(call)
            after._give_up(call.number)
            after.ended.pop(call.number, None)
            after.unheard = after.unlooked = None
        if isinstance(call, op.MarkRead) and call.agent in AGENTS:
            if not call.cursor:
                nothing.mail.readers.add(call.agent)
            return [nothing, nothing.taken_back(call), done]
        return [nothing, unseen] if isinstance(call, op.Ask) else [nothing, unseen, done]

    def taken_back(self, call: op.MarkRead) -> Reference:
        """After an acknowledgement for nobody: what it marked is unread again, and no longer kept for a wait."""
        after = deepcopy(self)
        for letter in after.mail.letters:
            if letter.recipient == call.agent and letter.number in call.messages and not letter.read:
                letter.claimed = None
        return after

    def process(self, number: int) -> Process:
        return number, self.lives[number]

    def is_determined(self, operation: Operation) -> bool:
        """Whether only one outcome is right: two waits of one agent may not compete for the same message."""
        match operation:
            case op.Pass():
                return operation.sweep or not self.waits
            case op.Ask(sender=agent, stay=True):
                return not self._waits_of(agent, op.WaitForMessage, op.WaitForAnything)
            case op.WaitForMessage(agent=agent, stay=True) | op.WaitForAnything(agent=agent, stay=True):
                return not self._waits_of(agent, op.Ask, op.WaitForMessage, op.WaitForAnything)
            case _:
                return True

    # What everybody sees

    def sees(self, agents: Iterable[str], pairs: Iterable[frozenset[str]], meetings: Iterable[int]) -> dict[str, Any]:
        """The inboxes of those agents who read theirs, these conversations, these meetings."""
        seen: dict[str, Any] = {f"meeting {number}": self.meeting(number) for number in meetings}
        seen |= {f"conversation of {'+'.join(pair)}": self.conversation(*pair) for pair in map(sorted, pairs)}
        return seen | {f"inbox of {agent}": self.inbox(agent) for agent in agents if agent in self.mail.readers}

    def inbox(self, agent: str) -> list[list[Any]]:
        mail = self.mail
        items: list[list[Any]] = []
        for letter in mail.unread(agent, self.now):
            question = None if letter.question is None else mail.questions[letter.question]
            owed = letter.kind == "question" and question is not None and mail.state_of(question, self.now) == "open"
            kind = "message" if letter.kind in ("one_way", "async") else letter.kind
            meeting = letter.number if letter.kind == "invitation" else None
            items.append(
                [kind, letter.sender, letter.seq, letter.words, owed, letter.late, letter.question, meeting, False]
            )
        for question in mail.owed(agent, self.now):
            letter = next(letter for letter in mail.letters if letter.number == question.number)
            items.append(
                ["question", letter.sender, letter.seq, letter.words, True, False, question.number, None, True]
            )
        return items + [["turn", meeting.number] for meeting in self._turns(agent)]

    def conversation(self, one: str, other: str) -> dict[str, Any]:
        """The history of two agents, and how their sessions stand."""
        pair = frozenset((one, other))
        said = [
            [
                *(letter.seq, letter.kind, letter.sender, letter.words),
                *(self._answered_by(letter.number), letter.late, letter.read),
            ]
            for letter in self.mail.history(one, other)
        ]
        waited = any(
            frozenset((question.asker, question.answerer)) == pair
            and self.mail.state_of(question, self.now) == "open"
            and question.awaited is not None
            and self.mail.leases.get(question.awaited, 0.0) > self.now
            for question in self.mail.questions.values()
        )
        live = {kind: (pair, kind) in self.mail.live for kind in ("sync", "async")}
        return {"said": said, "sync": live["sync"], "async": live["async"], "waiting": live["sync"] and waited}

    def meeting(self, number: int) -> dict[str, Any] | None:
        """The meeting as it is shown; reading it applies what is due. None for one that was never made."""
        if (meeting := self.meetings.get(number)) is None:
            return None
        self._apply_due(meeting)
        return meeting.picture()

    # Doing

    def _do(self, operation: Operation) -> Outcome | None:
        match operation:
            case op.OneWay() | op.Send() | op.Ask() | op.Answer():
                return self._say(operation)
            case op.EndConversation(agent=agent, other=other):
                _known(agent, other)
                _two(agent, other)
                self.mail.end(agent, other, self.now)
                return ["ok"]
            case op.Unread() | op.MarkRead() | op.WaitForMessage() | op.WaitForAnything():
                return self._read(operation)
            case op.Create():
                return self._create(operation)
            case op.Attend() | op.Start() | op.Speak() | op.Leave() | op.HandOver() | op.End() | op.Status():
                return self._meet(operation)
            case op.Pass():
                if operation.sweep:
                    self.mail.expire(self.now)
                    for meeting in self.meetings.values():
                        self._apply_due(meeting)
                return ["ok"]
            case op.Cancel(wait=number):
                self._give_up(number)
                return ["ok"]
            case op.Crash(process=process):
                self._lose(process, closed=False)
                return ["ok"]
            case op.Restart(process=process):
                self._lose(process, closed=True)
                return ["ok"]
            case op.Cut():
                raise AssertionError("only the product tells what came of it; see might_be")
            case _:
                assert_never(operation)

    def _say(self, operation: op.Sending) -> Outcome | None:
        match operation:
            case op.OneWay():
                return self._one_way(operation)
            case op.Send():
                _known(operation.sender, operation.recipient)
                _two(operation.sender, operation.recipient)
                payload = ("async", operation.recipient, op.words(operation))
                first = self.mail.first_use(operation.sender, operation.key, payload, self.now)
                if first is None:
                    self.mail.use(operation.sender, operation.key, payload, operation.number, self.now)
                    self.mail.post(
                        operation.number, "async", operation.sender, operation.recipient, op.words(operation)
                    )
                return ["ok", operation.number if first is None else first]
            case op.Ask():
                return self._ask(operation)
            case op.Answer():
                return self._answer(operation)

    def _one_way(self, operation: op.OneWay) -> Outcome:
        sender, recipients = operation.sender, operation.recipients
        _known(sender, *recipients)
        if len(set(recipients)) < len(recipients) or sender in recipients:
            raise Refused("InvalidArgumentError")
        payload = ("one_way", recipients, op.words(operation))
        deaf = set(recipients) - self.mail.readers
        first = self.mail.first_use(sender, operation.key, payload, self.now)
        if deaf and first is None:
            raise Refused("HandlerNotRegisteredError")
        if first is None:
            self.mail.use(sender, operation.key, payload, operation.number, self.now)
            for recipient in recipients:
                self.mail.post(operation.number, "one_way", sender, recipient, op.words(operation))
        return ["ok", operation.number if first is None else first]

    def _ask(self, operation: op.Ask) -> Outcome | None:
        asker, answerer, by = operation.sender, operation.recipient, self.process(operation.process)
        _known(asker, answerer)
        _two(asker, answerer)
        payload = ("question", answerer, op.words(operation))
        number = self.mail.first_use(asker, operation.key, payload, self.now)
        if number is None:
            number = operation.number
            self.mail.ask(number, asker, answerer, op.words(operation), operation.reply_by, by, self.now)
            self.mail.use(asker, operation.key, payload, number, self.now)
        question = self.mail.questions[number]
        self.mail.attach(question, by)
        question.waiting[by] = question.waiting.get(by, 0) + 1
        self.asked[operation.number] = question
        self.waits[operation.number] = operation
        return self._look_once(operation)

    def _answer(self, operation: op.Answer) -> Outcome:
        answerer, asker, key = operation.sender, operation.recipient, operation.key
        _known(answerer, asker)
        payload = ("reply", asker, op.words(operation), operation.decline, operation.question)
        first = self.mail.first_use(answerer, key, payload, self.now)
        if first is not None:
            return ["ok", first]
        if operation.question is None:
            question = self.mail.question_to_answer(answerer, asker, self.now)
        else:
            question = self.mail.questions[operation.question]
            if (question.answerer, question.asker) != (answerer, asker):
                raise Refused("MessageNotFoundError")
        number, words = operation.number, op.words(operation)
        late = self.mail.answer(number, question, words, decline=operation.decline, now=self.now)
        self.mail.use(answerer, key, payload, number, self.now)
        return ["ok", number, question.number, late]

    def _read(self, operation: op.Unread | op.MarkRead | op.WaitForMessage | op.WaitForAnything) -> Outcome | None:
        mail = self.mail
        _known(operation.agent)
        match operation:
            case op.Unread(agent=agent, sender=sender):
                mail.readers.add(agent)
                if sender is not None:
                    _known(sender)
                given = mail.bare(agent, self.now, sender)[: operation.limit]
                for letter in given:
                    letter.read = letter.read or operation.take
                return ["ok", [letter.words for letter in given]]
            case op.MarkRead(agent=agent):
                if not operation.cursor:
                    mail.readers.add(agent)
                marked = [
                    letter
                    for letter in mail.letters
                    if letter.recipient == agent and letter.number in operation.messages and not letter.read
                ]
                for letter in marked:
                    letter.read = True
                return ["ok", len(marked)]
            case op.WaitForMessage(agent=agent, sender=sender):
                mail.readers.add(agent)
                _known(sender)
            case op.WaitForAnything(agent=agent):
                mail.readers.add(agent)
        self.waits[operation.number] = operation
        return self._look_once(operation)

    def _create(self, operation: op.Create) -> Outcome:
        _known(operation.host, *operation.agents)
        seats = [operation.host, *(agent for agent in operation.agents if agent != operation.host)]
        deadline = LONGEST if operation.deadline is None else operation.deadline
        if (
            len(set(operation.agents)) < len(operation.agents)
            or len(seats) < 2
            or not (operation.quorum is None or 2 <= operation.quorum <= len(seats))
            or (operation.start_by is not None and operation.start_by >= deadline)
        ):
            raise Refused("InvalidMeetingError")
        payload = ("create", tuple(seats), operation.quorum, op.words(operation))
        first = self.mail.first_use(operation.host, operation.key, payload, self.now)
        if first is not None:
            return ["ok", first]
        self.mail.use(operation.host, operation.key, payload, operation.number, self.now)
        self.meetings[operation.number] = Meeting(
            operation.number,
            operation.host,
            seats,
            self.now,
            self.now + deadline,
            turn_duration=TURN if operation.turn_duration is None else operation.turn_duration,
            quorum=operation.quorum,
            start_by=None if operation.start_by is None else self.now + operation.start_by,
            max_turns=MAX_TURNS if operation.max_turns is None else operation.max_turns,
        )
        for agent in seats:
            self.mail.post(operation.number, "invitation", operation.host, agent, None)
        return ["ok", operation.number]

    def _meet(
        self, operation: op.Attend | op.Start | op.Speak | op.Leave | op.HandOver | op.End | op.Status
    ) -> Outcome | None:
        meeting, now = self.meetings[operation.meeting], self.now
        try:
            return self._meet_in(operation, meeting, now)
        finally:
            self._answer_invitations(meeting)

    def _meet_in(
        self,
        operation: op.Attend | op.Start | op.Speak | op.Leave | op.HandOver | op.End | op.Status,
        meeting: Meeting,
        now: float,
    ) -> Outcome | None:
        match operation:
            case op.Status():
                meeting.apply_due(now)
                return ["ok"]
            case op.Attend(agent=agent):
                _known(agent)
                meeting.attend(agent, now, operation.after_seq)
                self.waits[operation.number] = operation
                return self._look_once(operation)
            case op.Start(agent=agent, following=following):
                _known(agent, following)
                self._unless_said(
                    meeting,
                    agent,
                    1,
                    op.words(operation),
                    lambda: meeting.start(agent, op.words(operation), following, now, force=operation.force),
                )
                return ["ok"]
            case op.Speak():
                return self._speak(operation, meeting)
            case op.Leave(agent=agent):
                _known(agent)
                if operation.after_turn and meeting.holder == agent:
                    # The window of 0 ends with the turn still there; telling so reads the meeting.
                    meeting.apply_due(now)
                    raise Refused("MeetingTimeoutError")
                meeting.leave(agent, now)
                return ["ok"]
            case op.HandOver(agent=agent, to=to):
                _known(agent, to)
                meeting.hand_over(agent, to, now)
                return ["ok"]
            case op.End(agent=agent):
                _known(agent)
                meeting.end(agent, f"end {operation.number}", now)
                return ["ok"]

    def _speak(self, operation: op.Speak, meeting: Meeting) -> Outcome | None:
        agent, following = operation.agent, operation.following
        _known(agent, following)
        words = None if operation.passing else op.words(operation)
        turn = operation.turn
        if turn is None:
            turn = self.signalled.get((operation.process, agent, operation.meeting))
        self._unless_said(
            meeting,
            agent,
            turn,
            words,
            lambda: meeting.speak(agent, words, following, self.now, turn=turn, passing=operation.passing),
        )
        self.waits[operation.number] = operation
        return self._look_once(operation)

    def _unless_said(self, meeting: Meeting, agent: str, turn: int | None, words: str | None, say: Any) -> None:
        """The same speaker, turn and content again: nothing is said twice, and nothing is wrong."""
        try:
            say()
        except Refused:
            if not meeting.said_before(agent, turn, words):
                raise

    # Waiting

    def _look_once(self, wait: Wait) -> Outcome | None:
        """What a wait gives that has just begun; None if it goes on."""
        if self.unlooked == wait.number:
            return None
        outcome = self._found(wait)
        if outcome is None and wait.stay:
            return None
        if outcome is None:
            outcome = self._window_ended(wait)
        self.waits.pop(wait.number)
        return outcome

    def _end_waits(self) -> None:
        moved = True
        while moved:
            moved = False
            for number, wait in list(self.waits.items()):
                if (outcome := self._found(wait)) is not None:
                    self.ended[number] = outcome
                    del self.waits[number]
                    moved = True

    def _found(self, wait: Wait) -> Outcome | None:
        match wait:
            case op.Ask():
                return self._settled(wait)
            case op.WaitForMessage(agent=agent, sender=sender):
                if not (there := self.mail.bare(agent, self.now, sender)):
                    return None
                there[0].read = True
                return ["ok", there[0].words]
            case op.WaitForAnything(agent=agent):
                return ["ok", "something"] if self._needs(agent) else None
            case op.Attend(agent=agent) | op.Speak(agent=agent):
                meeting = self.meetings[wait.meeting]
                if not meeting.see(agent, self.now):
                    return None
                signal = meeting.signal(agent, self.now)
                if signal["turn"] is not None and wait.number != self.unheard:
                    self.signalled[wait.process, agent, meeting.number] = signal["turn"]
                return ["ok", signal]

    def _settled(self, wait: op.Ask) -> Outcome | None:
        question, by = self.asked[wait.number], self.process(wait.process)
        state = self.mail.state_of(question, self.now)
        if state == "open":
            return None
        if question.answer is not None:
            question.answer.read = True
        self._stop_waiting(question, by, consumed=question.answer is not None)
        answer = question.answer
        match state:
            case "answered":
                assert answer is not None
                return ["ok", answer.words, question.number, answer.late]
            case "declined":
                assert answer is not None
                return ["no", "QuestionDeclinedError", answer.words]
            case "cancelled":
                return ["no", "ConversationEndedError"]
            case _:
                return ["no", "ConversationTimeoutError", question.number, True]

    def _window_ended(self, wait: Wait) -> Outcome:
        match wait:
            case op.Ask():
                question = self.asked[wait.number]
                self._stop_waiting(question, self.process(wait.process), consumed=False)
                return ["no", "ConversationTimeoutError", question.number, False]
            case op.WaitForMessage():
                return ["ok", None]
            case op.WaitForAnything():
                return ["ok", "nothing"]
            case op.Attend() | op.Speak():
                return ["no", "MeetingTimeoutError"]

    def _stop_waiting(self, question: Question, by: Process, *, consumed: bool) -> None:
        question.waiting[by] -= 1
        if not question.waiting[by] and not consumed:
            self.mail.release(question, by)

    def _give_up(self, number: int) -> None:
        wait = self.waits.pop(number, None)
        if isinstance(wait, op.Ask):
            self._stop_waiting(self.asked[number], self.process(wait.process), consumed=False)

    def _lose(self, process: int, *, closed: bool) -> None:
        mine = [wait for wait in self.waits.values() if wait.process == process]
        for wait in mine:
            del self.waits[wait.number]
            if closed:
                self.ended[wait.number] = self._window_ended(wait)
        if closed:
            del self.mail.leases[self.process(process)]
        self.lives[process] += 1
        self.mail.leases[self.process(process)] = self.now + LEASE
        self.signalled = {key: turn for key, turn in self.signalled.items() if key[0] != process}

    # Small things

    def _tick(self, seconds: float = 0.0) -> None:
        """Time passes, and the processes renew their leases."""
        self.ended = {}
        self.now += TICK + seconds
        for process in self.lives:
            self.mail.leases[self.process(process)] = self.now + LEASE

    def _apply_due(self, meeting: Meeting) -> None:
        meeting.apply_due(self.now)
        self._answer_invitations(meeting)

    def _answer_invitations(self, meeting: Meeting) -> None:
        """Who came or declined has had its invitation, and so has everybody once the meeting has ended."""
        for letter in self.mail.letters:
            if letter.kind == "invitation" and letter.number == meeting.number:
                had = meeting.phase == "ended" or meeting.members[letter.recipient].part != "invited"
                letter.read = letter.read or had

    def _turns(self, agent: str) -> list[Meeting]:
        return [
            meeting
            for meeting in self.meetings.values()
            if meeting.holder == agent and meeting.next_due is not None and meeting.next_due > self.now
        ]

    def _needs(self, agent: str) -> bool:
        return bool(self.mail.unread(agent, self.now) or self._turns(agent))

    def _waits_of(self, agent: str, *kinds: type[Any]) -> bool:
        return any(
            isinstance(wait, kinds) and agent == getattr(wait, "agent", getattr(wait, "sender", None))
            for wait in self.waits.values()
        )

    def _answered_by(self, number: int) -> int | None:
        """Which question the message of this number answers."""
        for question in self.mail.questions.values():
            if question.answer is not None and question.answer.number == number:
                return question.number
        return None


def _known(*agents: str | None) -> None:
    if any(agent is not None and agent not in AGENTS for agent in agents):
        raise Refused("AgentNotFoundError")


def _two(one: str, other: str) -> None:
    if one == other:
        raise Refused("InvalidArgumentError")
