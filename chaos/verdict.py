"""What a check comes to: what was broken, and how much was looked at. Like all of the checker, it knows nothing of the
product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from chaos.history import OK, REFUSED, Line


class Broken(StrEnum):
    """The ways in which a promise can be broken."""

    LOST = "acknowledged, and lost"
    NEVER_RECEIVED = "stored, and never received"
    DUPLICATE = "stored twice"
    REPEATED = "acknowledged, and received again as new"
    HANDLED_TWICE = "one attempt handled twice"
    DONE_THOUGH_REFUSED = "refused, and done all the same"
    CONFLICT = "a retry taken for another call"
    PHANTOM = "received or stored, and never sent"
    MISDELIVERED = "given to the wrong one, or in the wrong name"
    WRONG_ANSWER = "an answer to another question"
    TWO_ANSWERS = "two answers to one question"
    UNANSWERED = "a question without an outcome"
    GAP = "numbers with a gap or a repetition"
    ORDER = "numbered before what had ended before it began"
    OUT_OF_ORDER = "received before what was sent earlier"
    DISAGREE = "histories that differ"
    LEFT_UNREAD = "unread at the end"
    STALE = "a speech on a turn that was not its own, or had passed"
    TWO_SPEECHES = "two outcomes of one turn"
    TWO_HOLDERS = "one turn given to two"
    TURN_ORDER = "turns out of order"
    UNTOLD = "a speech that a member was never told"
    NOT_ENDED = "a meeting that did not end"
    HUNG = "a wait that did not end"
    UNFINISHED = "a client that did not come to an end"
    UNTYPED = "an error without a type"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    broken: Broken
    about: str
    words: str = ""

    def __str__(self) -> str:
        return f"{self.broken}: {self.about}{f' ({self.words})' if self.words else ''}"


@dataclass
class Verdict:
    """All that was found. `checked`: operations by kind; `stale`: speeches that came after their turn, all refused;
    `again`: answers that were given and are in the inbox once more, as something was killed in that moment.
    """

    violations: list[Violation] = field(default_factory=list[Violation])
    checked: Counter[str] = field(default_factory=Counter[str])
    unknown: int = 0
    cancelled: int = 0
    stale: int = 0
    again: int = 0
    meetings: int = 0
    messages: int = 0

    def broke(self, broken: Broken, about: object, words: object = "") -> None:
        """Note a violation."""
        self.violations.append(Violation(broken, str(about), str(words)))


@dataclass(slots=True)
class Operation:
    """Everything that was tried under one name. It lasts from the first try to the first success."""

    op: str
    call: str
    agent: str
    to: Sequence[str]
    meeting: str
    turn: int
    text: str | None
    question: str
    declined: bool
    began: float
    ended: float = inf
    tries: int = 0
    returned: int = 0
    outcomes: set[str] = field(default_factory=set[str])
    results: list[Line] = field(default_factory=list[Line])

    @property
    def is_done(self) -> bool:
        """Somebody was told that it happened."""
        return OK in self.outcomes

    @property
    def is_refused(self) -> bool:
        """Every try was told that it did not happen."""
        return self.outcomes == {REFUSED} and self.returned == self.tries


def operations(lines: Sequence[Line]) -> dict[str, Operation]:
    """The operations of a history, by name."""
    found: dict[str, Operation] = {}
    for line in lines:
        if line["what"] == "invoked":
            operation = found.get(line["op"])
            if operation is None:
                operation = found[line["op"]] = Operation(
                    line["op"],
                    line["call"],
                    line["agent"],
                    line.get("to", ()),
                    line.get("meeting", ""),
                    line.get("turn", 0),
                    line.get("text"),
                    line.get("question", ""),
                    line.get("declined", False),
                    line["at"],
                )
            operation.tries += 1
        elif line["what"] == "returned":
            operation = found[line["op"]]
            operation.returned += 1
            operation.outcomes.add(line["outcome"])
            operation.results.append(line)
            if line["outcome"] == OK:
                operation.ended = min(operation.ended, line["at"])
    return found


def in_order(verdict: Verdict, about: str, numbered: Sequence[tuple[int, Operation]]) -> None:
    """Whether there is an order of the operations that agrees with their numbers and with real time: no operation has
    a lower number than one that had ended before it began. As the numbers give the order, that is linearizability.
    """
    latest: Operation | None = None
    for _, operation in sorted(numbered, key=lambda one: one[0]):
        if latest is not None and latest.began > operation.ended:
            verdict.broke(
                Broken.ORDER, about, f"{latest.op} began after {operation.op} had ended, and stands before it"
            )
        if latest is None or operation.began > latest.began:
            latest = operation
