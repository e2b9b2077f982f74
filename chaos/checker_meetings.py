"""What must hold of meetings: one outcome a turn, by its holder, in order; everybody is told; every one ends."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaos.history import OK, REFUSED, Line
from chaos.verdict import Broken, Operation, Verdict, in_order

_WORDS = ("agent_spoke", "turn_passed")


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of a meeting's history."""

    seq: int
    kind: str
    turn: int
    agent: str
    op: str


def check_meetings(verdict: Verdict, lines: Sequence[Line], found: Mapping[str, Operation]) -> None:
    """Check every meeting, what its members said, and what they were told."""
    held: dict[str, list[Event]] = {}
    for line in lines:
        if line["what"] == "audited":
            held[line["meeting"]] = [
                Event(seq, kind, turn, agent, json.loads(text)["op"] if text else "")
                for seq, kind, turn, agent, text in line["entries"]
            ]
            if line["status"] != "ended":
                verdict.broke(Broken.NOT_ENDED, line["meeting"], line["status"])
    verdict.meetings = len(held)
    said: dict[str, list[Operation]] = defaultdict(list)
    for operation in found.values():
        if operation.call == "speak":
            said[operation.meeting].append(operation)
    for meeting in said:
        if meeting not in held:
            verdict.broke(Broken.LOST, meeting, "nobody finds the meeting")
    for meeting, events in held.items():
        _check_turns(verdict, meeting, events)
        _check_said(verdict, meeting, events, said[meeting])
    _check_told(verdict, lines, held)
    _check_created(verdict, found, held)
    _count_stale(verdict, lines, found)


def _check_turns(verdict: Verdict, meeting: str, events: Sequence[Event]) -> None:
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        verdict.broke(Broken.GAP, meeting, [event.seq for event in events])
    outcomes: dict[int, Event] = {}
    before = 0
    for event in events:
        if event.turn < before:
            verdict.broke(Broken.TURN_ORDER, f"{meeting} entry {event.seq}", f"turn {event.turn} after {before}")
        before = max(before, event.turn)
        if event.kind not in (*_WORDS, "agent_timed_out"):
            continue
        first = outcomes.setdefault(event.turn, event)
        if first is not event and (first.kind in _WORDS or event.kind in _WORDS):
            words = f"{first.kind} by {first.agent}, then {event.kind} by {event.agent}"
            verdict.broke(Broken.TWO_SPEECHES, f"{meeting} turn {event.turn}", words)


def _check_said(verdict: Verdict, meeting: str, events: Sequence[Event], said: Sequence[Operation]) -> None:
    spoken: dict[str, list[Event]] = defaultdict(list)
    passed: dict[tuple[str, int], Event] = {}
    for event in events:
        if event.kind == "agent_spoke":
            spoken[event.op].append(event)
        elif event.kind == "turn_passed":
            passed[event.agent, event.turn] = event
    numbered: list[tuple[int, Operation]] = []
    known = {operation.op for operation in said}
    for operation in said:
        if operation.text is None:
            there = [event for key, event in passed.items() if key == (operation.agent, operation.turn)]
        else:
            there = spoken[operation.op]
        if len(there) > 1:
            verdict.broke(Broken.DUPLICATE, operation.op, f"as {[event.seq for event in there]}")
        if operation.is_done and not there:
            verdict.broke(Broken.LOST, operation.op, f"in {meeting}")
        if operation.is_refused and there:
            verdict.broke(Broken.DONE_THOUGH_REFUSED, operation.op, operation.results[-1].get("why"))
        for event in there:
            if (event.agent, event.turn) != (operation.agent, operation.turn):
                verdict.broke(Broken.STALE, operation.op, f"stored as turn {event.turn} of {event.agent}")
            numbered.append((event.seq, operation))
    for op, there in spoken.items():
        if op not in known and there:
            verdict.broke(Broken.PHANTOM, op, f"in {meeting}")
    in_order(verdict, meeting, numbered)


def _check_told(verdict: Verdict, lines: Sequence[Line], held: Mapping[str, Sequence[Event]]) -> None:
    told: dict[tuple[str, str], set[str]] = defaultdict(set)
    holders: dict[tuple[str, int], str] = {}
    ended: set[tuple[str, str]] = set()
    for line in lines:
        if line["what"] == "meeting":
            _check_read(verdict, line, held)
        if line["what"] != "signal":
            continue
        meeting, agent = line["meeting"], line["agent"]
        spoken = {(event.agent, event.turn, event.op) for event in held.get(meeting, ()) if event.kind == "agent_spoke"}
        for speaker, turn, op in line["said"]:
            if (speaker, turn, op) not in spoken:
                verdict.broke(Broken.PHANTOM, op, f"told to {agent} as turn {turn} of {speaker} in {meeting}")
            told[meeting, agent].add(op)
        if line["floor"] == "yours" and holders.setdefault((meeting, line["turn"]), agent) != agent:
            verdict.broke(
                Broken.TWO_HOLDERS, f"{meeting} turn {line['turn']}", f"{agent}, {holders[meeting, line['turn']]}"
            )
        if line["floor"] == "ended":
            ended.add((meeting, agent))
    for meeting, agent in sorted(ended):
        others = {event.op for event in held.get(meeting, ()) if event.kind == "agent_spoke" and event.agent != agent}
        if untold := others - told[meeting, agent]:
            verdict.broke(Broken.UNTOLD, f"{agent} in {meeting}", sorted(untold))
    for meeting, events in held.items():
        for event in events:
            if event.kind in _WORDS and event.turn > 1 and holders.get((meeting, event.turn)) != event.agent:
                verdict.broke(Broken.STALE, f"{meeting} turn {event.turn}", f"{event.agent} was never given it")


def _check_read(verdict: Verdict, line: Line, held: Mapping[str, Sequence[Event]]) -> None:
    """What a member has read back is what everybody reads."""
    read = [
        (seq, kind, speaker, json.loads(text)["op"] if text else "") for seq, kind, speaker, text in line["entries"]
    ]
    stands = [
        (event.seq, event.kind, event.agent if event.op else "", event.op) for event in held.get(line["meeting"], ())
    ]
    if read != stands:
        verdict.broke(Broken.DISAGREE, f"{line['agent']} about {line['meeting']}")


def _check_created(verdict: Verdict, found: Mapping[str, Operation], held: Mapping[str, Sequence[Event]]) -> None:
    for operation in found.values():
        if operation.call == "create":
            for line in operation.results:
                if line["outcome"] == OK and line["meeting"] not in held:
                    verdict.broke(Broken.LOST, operation.op, f"meeting {line['meeting']}")


def _count_stale(verdict: Verdict, lines: Sequence[Line], found: Mapping[str, Operation]) -> None:
    """How often a holder that was stopped past its turn came back with a speech for it, which was refused."""
    for line in lines:
        if line["what"] == "fault" and line.get("passed"):
            operation = found.get(f"{line['agent']}/{line['meeting']}/{line['turn']}")
            late = [] if operation is None else [one for one in operation.results if one["at"] > line["at"]]
            verdict.stale += any(one["outcome"] == REFUSED for one in late)
