"""Random histories: what somebody could do next, drawn from a source of chance (hypothesis's, or a seeded one)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from tests.model import operations as op
from tests.model.operations import AGENTS, PROCESSES, STRANGER, Operation
from tests.model.reference import Reference

Item = TypeVar("Item")

SECONDS = (60.0, 120.0, 120.0, 5.0, 10.0, 300.0, 4_000.0, 90_000.0)
ROUNDS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
REPLY_BY = (10.0, 60.0, 300.0, 100_000.0)


class Chance(Protocol):
    """Where decisions come from; what shrinks, shrinks towards the first item and towards False."""

    def pick(self, items: Sequence[Item]) -> Item: ...


class Generator:
    """Draws operations that fit what there is: names of meetings, questions and words that exist, or nearly."""

    def __init__(self, chance: Chance, reference: Callable[[], Reference], *, without: Sequence[str] = ()) -> None:
        self._chance = chance
        self._now = reference
        self._circle = chance.pick((AGENTS, AGENTS[:2], AGENTS[:3]))
        self._kinds = [kind for kind in kinds_in(chance.pick(MOODS)) if kind not in without]
        self._number = 0
        self._keyed: list[Any] = []
        self._words: list[op.Speak] = []

    @property
    def _reference(self) -> Reference:
        return self._now()

    def next(self) -> Operation | None:
        """The next operation; None if there is nothing that it could be about now."""
        self._number += 1
        made: Operation | None = getattr(self, f"_{self._pick(self._kinds)}")()
        if made is None or not self._reference.is_determined(made):
            return None
        if getattr(made, "key", None) is not None:
            self._keyed.append(made)
        if isinstance(made, op.Speak):
            self._words.append(made)
        return made

    # Messages

    def _one_way(self) -> Operation:
        pick = self._pick
        count = pick((1, 1, 2, 3))
        recipients = tuple(dict.fromkeys(self._agent() for _ in range(count)))
        return op.OneWay(self._number, self._process(), self._agent(), recipients, self._key())

    def _send(self) -> Operation:
        return op.Send(self._number, self._process(), *self._two(), self._key())

    def _ask(self) -> Operation:
        stay = self._pick((True, False))
        return op.Ask(self._number, self._process(), *self._two(), self._pick(REPLY_BY), stay, self._key())

    def _answer(self) -> Operation | None:
        """Mostly a question that is still to be answered, by the one who was asked."""
        questions = list(self._reference.mail.questions.values())
        if not questions or self._pick((False,) * 9 + (True,)):
            return op.Answer(self._number, self._process(), *self._two(), None, self._rarely(), self._key())
        unsettled = [question for question in questions if question.state in ("open", "expired")]
        question = self._pick(unsettled if unsettled and self._pick((True,) * 4 + (False,)) else questions)
        named = question.number if self._pick((True, False)) else None
        decline = self._pick((False, False, True))
        sender = question.answerer if self._pick((True,) * 9 + (False,)) else self._agent()
        return op.Answer(self._number, self._process(), sender, question.asker, named, decline, self._key())

    def _retry(self) -> Operation | None:
        """A call once more, or another one with its key; from either process."""
        if not self._keyed:
            return None
        first = self._pick(self._keyed)
        words = first.number if first.says is None else first.says
        says = None if self._pick((False,) * 5 + (True,)) else words
        fields = {name: getattr(first, name) for name in first.__dataclass_fields__}
        return type(first)(**(fields | {"number": self._number, "process": self._process(), "says": says}))

    def _end_conversation(self) -> Operation:
        return op.EndConversation(self._number, self._process(), *self._two())

    def _unread(self) -> Operation:
        sender = self._pick((None, None, self._agent()))
        limit = self._pick((None, None, 1, 2))
        return op.Unread(self._number, self._process(), self._agent(), sender, self._pick((True, True, False)), limit)

    def _mark_read(self) -> Operation | None:
        letters = self._reference.mail.letters
        if not letters:
            return None
        agent = self._pick(letters).recipient
        mine = [letter.number for letter in letters if letter.recipient == agent]
        numbers = tuple(sorted({self._pick(mine) for _ in range(self._pick((1, 2, 3)))}))
        return op.MarkRead(self._number, self._process(), agent, numbers, self._pick((False, True)))

    def _wait_for_message(self) -> Operation:
        return op.WaitForMessage(self._number, self._process(), *self._two(), self._pick((True, False)))

    def _wait_for_anything(self) -> Operation:
        return op.WaitForAnything(self._number, self._process(), self._agent(), self._pick((True, False)))

    # Meetings

    def _create(self) -> Operation:
        pick = self._pick
        agents = tuple(agent for agent in AGENTS if pick((True, True, False)))
        if self._rarely():
            agents = (*agents, pick((*AGENTS, STRANGER)))
        return op.Create(
            self._number,
            self._process(),
            pick(AGENTS),
            agents,
            turn_duration=pick((None, None, 30.0)),
            quorum=pick((None, None, 2, 3)),
            start_by=pick((None, None, 60.0, 300.0)),
            deadline=pick((None, None, None, 600.0, 5_000.0)),
            max_turns=pick((None, None, None, 1, 5)),
            key=self._key(),
        )

    def _gather(self) -> Operation | None:
        """Somebody who was invited attends, as long as there is such a one."""
        for meeting in self._reference.meetings.values():
            if meeting.phase == "created":
                missing = [agent for agent in meeting.seats if agent not in meeting.attending]
                if missing:
                    return op.Attend(
                        self._number, self._process(), self._pick(missing), meeting.number, self._pick((True, False))
                    )
        return self._create()

    def _open(self) -> Operation | None:
        """The host of a meeting that can begin starts it."""
        for meeting in self._reference.meetings.values():
            if meeting.phase == "created" and len(meeting.attending) >= 2:
                following = self._pick((None, None, *meeting.seats))
                return op.Start(
                    self._number, self._process(), meeting.host, meeting.number, following, self._pick((True, False))
                )
        return self._gather()

    def _talk(self) -> Operation | None:
        """The holder of the floor speaks or passes, as it should or nearly."""
        if (meeting := self._meeting(active=True)) is None:
            return self._open()
        following = self._pick((None, None, None, *meeting.seats))
        turn = self._pick((meeting.turn, meeting.turn, None))
        passing, stay = self._pick((False, False, True)), self._pick((True, False, False))
        process = self._process()
        return op.Speak(self._number, process, meeting.holder, meeting.number, passing, following, turn, stay)

    def _attend(self) -> Operation | None:
        if (meeting := self._meeting()) is None:
            return None
        after_seq = self._pick((None, None, None, 0, 2, 1_000))
        agent = self._pick((meeting.holder, *meeting.seats, self._agent())) or meeting.host
        return op.Attend(
            self._number, self._process(), agent, meeting.number, self._pick((True, True, False)), after_seq
        )

    def _start(self) -> Operation | None:
        if (meeting := self._meeting()) is None:
            return None
        agent = self._pick((meeting.host, self._agent()))
        following = self._pick((None, None, self._agent()))
        return op.Start(self._number, self._process(), agent, meeting.number, following, self._pick((True, False)))

    def _speak(self) -> Operation | None:
        """Anybody speaks, on any turn."""
        if (meeting := self._meeting()) is None:
            return None
        turn = self._pick((None, max(1, meeting.turn - 1), meeting.turn + 1))
        following = self._pick((None, self._agent()))
        agent, passing = self._agent(), self._pick((False, True))
        process = self._process()
        return op.Speak(self._number, process, agent, meeting.number, passing, following, turn, stay=False)

    def _say_again(self) -> Operation | None:
        """The same words on the same turn, by whoever did not hear that they were accepted."""
        if not self._words:
            return None
        first = self._pick(self._words)
        fields = {name: getattr(first, name) for name in first.__dataclass_fields__}
        says = first.number if first.says is None else first.says
        changed = {"number": self._number, "process": self._process(), "says": says}
        again: dict[str, Any] = fields | changed
        return op.Speak(**again)

    def _leave(self) -> Operation | None:
        if (meeting := self._meeting()) is None:
            return None
        agent = self._pick((meeting.holder, self._agent())) or self._agent()
        return op.Leave(self._number, self._process(), agent, meeting.number, self._rarely())

    def _hand_over(self) -> Operation | None:
        if (meeting := self._meeting()) is None:
            return None
        agent = self._pick((meeting.acting_host, self._agent()))
        return op.HandOver(self._number, self._process(), agent, meeting.number, self._agent())

    def _end(self) -> Operation | None:
        if (meeting := self._meeting()) is None:
            return None
        agent = self._pick((self._agent(), meeting.acting_host))
        return op.End(self._number, self._process(), agent, meeting.number)

    def _status(self) -> Operation | None:
        if (meeting := self._meeting()) is None:
            return None
        return op.Status(self._number, self._process(), meeting.number)

    # Time and misfortune

    def _pass(self) -> Operation:
        return op.Pass(self._number, self._pick(SECONDS), self._pick((True, False)) or bool(self._reference.waits))

    def _cancel(self) -> Operation | None:
        if not self._reference.waits:
            return None
        return op.Cancel(self._number, self._pick(sorted(self._reference.waits)))

    def _cut(self) -> Operation | None:
        """A call that begins and is abandoned."""
        kind = self._pick([kind for kind in WEIGHTS if kind not in ("cut", "pass", "cancel", "crash", "restart")])
        call: Any = getattr(self, f"_{kind}")()
        if call is None or not self._reference.is_determined(call):
            return None
        if isinstance(call, op.Attend):
            call = replace(call, after_seq=None)
        return op.Cut(self._number, call, self._pick(ROUNDS))

    def _crash(self) -> Operation:
        return op.Crash(self._number, self._process())

    def _restart(self) -> Operation:
        return op.Restart(self._number, self._process())

    # Small things

    def _pick(self, items: Sequence[Item]) -> Item:
        return self._chance.pick(items)

    def _rarely(self) -> bool:
        return self._pick((False,) * 9 + (True,))

    def _process(self) -> int:
        return self._pick(PROCESSES)

    def _agent(self) -> str:
        return STRANGER if self._pick((False,) * 19 + (True,)) else self._pick(self._circle)

    def _two(self) -> tuple[str, str]:
        """Mostly two different ones."""
        if self._rarely():
            return self._agent(), self._agent()
        one = self._pick(self._circle)
        return one, self._pick([agent for agent in self._circle if agent != one])

    def _key(self) -> str | None:
        return self._pick((None, None, f"k{self._number}"))

    def _meeting(self, *, active: bool = False) -> Any:
        meetings = [m for m in self._reference.meetings.values() if not active or m.phase == "active"]
        return self._pick(meetings[::-1]) if meetings else None


WEIGHTS: dict[str, int] = {
    "one_way": 3, "send": 4, "ask": 6, "answer": 7, "retry": 3, "end_conversation": 1, "unread": 4, "mark_read": 3,
    "wait_for_message": 3, "wait_for_anything": 2, "create": 1, "gather": 6, "open": 3, "talk": 14, "attend": 6,
    "start": 1, "speak": 2, "say_again": 1, "leave": 2, "hand_over": 1, "end": 1, "status": 1, "pass": 8, "cancel": 3,
    "cut": 4, "crash": 2, "restart": 1,
}  # fmt: skip
"""How often each kind of operation is drawn."""
MOODS: tuple[dict[str, int], ...] = (
    {},
    {"talk": 40, "attend": 15, "pass": 12, "ask": 0, "answer": 0, "unread": 0},
    {"pass": 30, "talk": 12, "gather": 8, "open": 8, "ask": 0, "answer": 0, "send": 0, "one_way": 0, "cancel": 0},
    {"ask": 20, "answer": 20, "crash": 4, "pass": 12, "talk": 0, "gather": 0, "open": 0, "attend": 0, "create": 0},
    {"send": 15, "one_way": 8, "unread": 12, "wait_for_message": 10, "retry": 8, "talk": 0, "gather": 0, "open": 0},
    {"crash": 10, "restart": 5, "cut": 20, "cancel": 10},
)
"""What else is on a history's mind: the weights that differ."""


def kinds_in(mood: dict[str, int]) -> list[str]:
    """Every kind, as often as it weighs."""
    return [kind for kind, weight in (WEIGHTS | mood).items() for _ in range(weight)]
