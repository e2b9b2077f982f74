"""Histories made by hand: a good one, which a test spoils in one place."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from chaos.history import OK, Line, read_all
from chaos.verdict import Broken, Verdict

__all__ = ["Broken", "History", "Verdict", "read_all"]


class History:
    """Lines in the order of time, as several processes would have written them."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._time = count(1)

    def line(self, what: str, **facts: Any) -> Line:
        """Append a line; gives it, to be spoilt."""
        at = float(next(self._time))
        self.lines.append({"at": at, "by": "test", "life": 1, "what": what, **facts})
        return self.lines[-1]

    def call(
        self, op: str, call: str, agent: str, outcome: str = OK, *, to: tuple[str, ...] = (), **facts: Any
    ) -> Line:
        """A call and its return; gives the latter."""
        asked = {name: facts.pop(name) for name in ("meeting", "turn", "text", "question", "declined") if name in facts}
        self.line("invoked", op=op, call=call, agent=agent, **{"try": 1}, to=list(to), **asked)
        return self.line("returned", op=op, call=call, agent=agent, **{"try": 1}, outcome=outcome, **facts)

    def receives(self, agent: str, op: str, sender: str, *, kind: str = "message", looked: float = 0.0) -> Line:
        """A message in an inbox."""
        return self.line(
            "received", agent=agent, op=op, sender=sender, kind=kind, via="inbox", looked=looked, read=False
        )

    def conversation(self, one: str, other: str, *messages: tuple[str, str, str] | tuple[str, str, str, str]) -> None:
        """What both sides read back: kind, sender, operation, and the question that it answers."""
        entries = [
            [seq, kind, sender, {"op": op, **({"answers": rest[0]} if rest else {})}]
            for seq, (kind, sender, op, *rest) in enumerate(messages, 1)
        ]
        for agent, with_ in ((one, other), (other, one)):
            self.line("conversation", agent=agent, other=with_, entries=json.loads(json.dumps(entries)))

    def entries_of(self, agent: str, other: str) -> list[list[Any]]:
        """The entries of one side's conversation, to be spoilt."""
        return next(
            line["entries"]
            for line in self.lines
            if line["what"] == "conversation" and line["agent"] == agent and line["other"] == other
        )

    def without(self, *lines: Line) -> list[Line]:
        """All the others."""
        return [line for line in self.lines if not any(line is gone for gone in lines)]


def one_message() -> History:
    """Alice has told bob something, and he has read it."""
    history = History()
    history.call("m1", "send", "alice", to=("bob",))
    history.receives("bob", "m1", "alice", looked=2.5)
    history.line("acknowledged", agent="bob", ops=["m1"])
    history.conversation("alice", "bob", ("async", "alice", "m1"))
    return history


def one_question() -> History:
    """Alice has asked bob, whose handler has answered."""
    history = History()
    history.line("invoked", op="q1", call="ask", agent="alice", to=["bob"], **{"try": 1})
    history.line("received", agent="bob", op="q1", sender="alice", kind="question", via="handler", id="1", attempt=1)
    history.line("answers", agent="bob", op="a1", to=["alice"], question="q1")
    text = '{"op":"a1","answers":"q1"}'
    history.line("returned", op="q1", call="ask", agent="alice", outcome=OK, state="answered", text=text, **{"try": 1})
    history.conversation("alice", "bob", ("question", "alice", "q1"), ("answer", "bob", "a1", "q1"))
    return history


def one_meeting() -> History:
    """Alice and bob in a meeting: she opens it, he speaks, her turn passes without a word, he ends it by passing."""
    history = History()
    history.call("c1", "create", "alice", meeting="m1")["meeting"] = "m1"
    for op, agent, turn in (("alice/m1/1", "alice", 1), ("bob/m1/2", "bob", 2)):
        if turn > 1:
            _signal(history, agent, "yours", turn, [["alice", 1, "alice/m1/1"]])
        history.call(op, "speak", agent, meeting="m1", turn=turn, text=json.dumps({"op": op}))
    _signal(history, "alice", "yours", 3, [["bob", 2, "bob/m1/2"]])
    _signal(history, "bob", "yours", 4, [])
    history.call("bob/m1/4", "speak", "bob", meeting="m1", turn=4, text=None)
    _signal(history, "alice", "ended", 0, [["bob", 2, "bob/m1/2"]])
    _signal(history, "bob", "ended", 0, [])
    events = [
        ("meeting_started", 1, "alice", ""),
        ("agent_spoke", 1, "alice", "alice/m1/1"),
        ("agent_spoke", 2, "bob", "bob/m1/2"),
        ("agent_timed_out", 3, "alice", ""),
        ("turn_passed", 4, "bob", ""),
        ("meeting_ended", 4, "", ""),
    ]
    words = {op: json.dumps({"op": op}) for _, _, _, op in events if op}
    history.line(
        "audited",
        meeting="m1",
        status="ended",
        entries=[[seq, kind, turn, agent, words.get(op)] for seq, (kind, turn, agent, op) in enumerate(events, 1)],
    )
    for agent in ("alice", "bob"):
        entries = [
            [seq, kind, who if op else "", words.get(op, "")] for seq, (kind, _, who, op) in enumerate(events, 1)
        ]
        history.line("meeting", agent=agent, meeting="m1", reason="all_passed", entries=entries)
    return history


def _signal(history: History, agent: str, floor: str, turn: int, said: list[list[Any]]) -> None:
    history.line("signal", agent=agent, meeting="m1", floor=floor, turn=turn, said=said, reason="")
