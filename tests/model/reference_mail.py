"""The reference model of messages, questions and inboxes, written from the protocol's text; plain Python, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.model.reference_meeting import Refused

MOST_OPEN = 8
KEYS_LIVE = 86_400.0
BARE = ("one_way", "async", "question", "answer")
"""What calls that return bare messages give; invitations and declines have no message."""

Process = tuple[int, int]
"""Which process, and the how-manieth in its place."""


@dataclass(slots=True)
class Letter:
    """A message in one inbox. `claimed`: the process that keeps it for a wait of its own."""

    number: int
    kind: str
    sender: str
    recipient: str
    seq: int | None = None
    words: str | None = None
    question: int | None = None
    late: bool = False
    read: bool = False
    claimed: Process | None = None

    @property
    def pair(self) -> frozenset[str]:
        return frozenset((self.sender, self.recipient))


@dataclass(slots=True)
class Question:
    """A question; `waiting` counts the waits on it by process, `awaited` is the process that the answer is kept for."""

    number: int
    asker: str
    answerer: str
    reply_by: float
    awaited: Process | None
    state: str = "open"
    answer: Letter | None = None
    waiting: dict[Process, int] = field(default_factory=dict[Process, int])

    @property
    def late(self) -> bool:
        return self.answer is not None and self.answer.late


@dataclass(slots=True)
class Mail:
    """All that is said outside meetings."""

    letters: list[Letter] = field(default_factory=list[Letter])
    questions: dict[int, Question] = field(default_factory=dict[int, Question])
    seqs: dict[frozenset[str], int] = field(default_factory=dict[frozenset[str], int])
    live: set[tuple[frozenset[str], str]] = field(default_factory=set[tuple[frozenset[str], str]])
    readers: set[str] = field(default_factory=set[str])
    keys: dict[tuple[str, str], tuple[object, int, float]] = field(
        default_factory=dict[tuple[str, str], tuple[object, int, float]]
    )
    leases: dict[Process, float] = field(default_factory=dict[Process, float])

    # Keys

    def first_use(self, agent: str, key: str | None, payload: object, now: float) -> int | None:
        """The operation that used the key first, if it did the same."""
        if key is None or (used := self.keys.get((agent, key))) is None or now - used[2] > KEYS_LIVE:
            return None
        if used[0] != payload:
            raise Refused("IdempotencyConflictError")
        return used[1]

    def use(self, agent: str, key: str | None, payload: object, number: int, now: float) -> None:
        if key is not None:
            self.keys[agent, key] = (payload, number, now)

    # Inboxes

    def unread(self, agent: str, now: float, sender: str | None = None) -> list[Letter]:
        """What a reader could be given now; what a live process keeps for a wait is not among it."""
        return [
            letter
            for letter in self.letters
            if letter.recipient == agent
            and not letter.read
            and sender in (None, letter.sender)
            and not (letter.claimed is not None and self.leases.get(letter.claimed, 0.0) > now)
        ]

    def bare(self, agent: str, now: float, sender: str | None = None) -> list[Letter]:
        return [letter for letter in self.unread(agent, now, sender) if letter.kind in BARE]

    def owed(self, agent: str, now: float) -> list[Question]:
        """The open questions that the agent has acknowledged and not answered."""
        return [
            question
            for question in self.questions.values()
            if question.answerer == agent
            and self.state_of(question, now) == "open"
            and next(letter for letter in self.letters if letter.number == question.number).read
        ]

    def history(self, one: str, other: str) -> list[Letter]:
        pair = frozenset((one, other))
        said = [letter for letter in self.letters if letter.seq is not None and letter.pair == pair]
        return sorted(said, key=lambda letter: letter.seq or 0)

    # Sending

    def post(
        self, number: int, kind: str, sender: str, recipient: str, words: str | None, *, question: int | None = None
    ) -> Letter:
        pair = frozenset((sender, recipient))
        seq = None
        if kind != "invitation":
            seq = self.seqs[pair] = self.seqs.get(pair, 0) + 1
        letter = Letter(number, kind, sender, recipient, seq, words, question)
        self.letters.append(letter)
        if kind in ("async", "question"):
            self.live.add((pair, "async" if kind == "async" else "sync"))
        return letter

    # Questions

    def state_of(self, question: Question, now: float) -> str:
        """How it stands, whoever has noticed."""
        return "expired" if question.state == "open" and question.reply_by <= now else question.state

    def ask(self, number: int, asker: str, answerer: str, words: str, reply_by: float, by: Process, now: float) -> None:
        asked = [q for q in self.questions.values() if (q.asker, q.answerer) == (asker, answerer)]
        if sum(self.state_of(question, now) == "open" for question in asked) >= MOST_OPEN:
            raise Refused("InvalidSessionStateError")
        self.post(number, "question", asker, answerer, words, question=number)
        self.questions[number] = Question(number, asker, answerer, now + reply_by, by)

    def question_to_answer(self, answerer: str, asker: str, now: float) -> Question:
        """The oldest open one; else the latest that expired without an answer."""
        asked = [q for q in self.questions.values() if (q.asker, q.answerer) == (asker, answerer)]
        for state, which in (("open", 0), ("expired", -1)):
            if found := [question for question in asked if self.state_of(question, now) == state]:
                return found[which]
        pair = frozenset((answerer, asker))
        live = (pair, "sync") in self.live or (pair, "async") in self.live
        raise Refused("InvalidSessionStateError" if live else "SessionNotFoundError")

    def answer(self, number: int, question: Question, words: str | None, *, decline: bool, now: float) -> bool:
        """Answer or decline, once; says whether it is late."""
        state = self.state_of(question, now)
        if state not in ("open", "expired") or (state == "expired" and decline):
            raise Refused("InvalidSessionStateError")
        question.state = "declined" if decline else "answered"
        for letter in self.letters:
            if letter.number == question.number:
                letter.read = True
        kind = "decline" if decline else "answer"
        letter = self.post(number, kind, question.answerer, question.asker, words, question=question.number)
        letter.late = state == "expired"
        letter.claimed = question.awaited
        question.answer = letter
        return letter.late

    def attach(self, question: Question, by: Process) -> None:
        if question.state == "open":
            question.awaited = by

    def release(self, question: Question, by: Process) -> None:
        """Nobody in this process waits any more: the answer is the inbox's."""
        if question.awaited == by:
            question.awaited = None
        if question.answer is not None and question.answer.claimed == by and not question.answer.read:
            question.answer.claimed = None

    def expire(self, now: float) -> None:
        for question in self.questions.values():
            question.state = self.state_of(question, now)

    def end(self, one: str, other: str, now: float) -> None:
        pair = frozenset((one, other))
        ended = {session for session in self.live if session[0] == pair}
        if not ended:
            raise Refused("SessionNotFoundError")
        self.live -= ended
        for question in self.questions.values():
            if frozenset((question.asker, question.answerer)) == pair and question.state == "open":
                question.state = "expired" if question.reply_by <= now else "cancelled"
                if question.state == "cancelled":
                    next(letter for letter in self.letters if letter.number == question.number).read = True
