"""What must hold of the messages between two agents: each once, to whom it was sent, in order, answered once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.history import OK, Line
from chaos.kinds import Kind
from chaos.verdict import Broken, Operation, Verdict, in_order

_SENDS = ("send", "notify", "ask", "answer")
_ANSWERS = ("answer", "decline")
MOMENT = 1.0
"""Seconds between giving an answer and a kill for which nobody knows which of them was first on disk: PostgreSQL writes
out within 0.6 s what nobody waits for."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as the history of a pair holds it."""

    op: str
    seq: int
    kind: str
    sender: str
    recipient: str
    answers: str


def check_conversations(verdict: Verdict, lines: Sequence[Line], found: Mapping[str, Operation]) -> None:
    """Check every pair, and what each agent received."""
    stored = _stored(verdict, lines)
    by_op: dict[str, list[Stored]] = defaultdict(list)
    for message in stored:
        by_op[message.op].append(message)
    handled = {line["op"]: line for line in lines if line["what"] == "answers"}
    verdict.messages = len(stored)
    verdict.checked["answer"] += len(handled)
    for operation in found.values():
        if operation.call in _SENDS:
            _check_stored(verdict, operation, by_op[operation.op])
    for message in stored:
        _check_sent(verdict, message, found, handled)
    _check_answers(verdict, stored, found)
    _check_received(verdict, lines, stored, by_op, found)
    _check_order(verdict, stored, found)
    _check_unread(verdict, lines, found)


def _stored(verdict: Verdict, lines: Sequence[Line]) -> list[Stored]:
    read = {(line["agent"], line["other"]): line["entries"] for line in lines if line["what"] == "conversation"}
    messages: list[Stored] = []
    for (agent, other), entries in read.items():
        if read.get((other, agent)) != entries:
            verdict.broke(Broken.DISAGREE, f"{agent} and {other}")
        if agent > other:
            continue
        if [entry[0] for entry in entries] != list(range(1, len(entries) + 1)):
            verdict.broke(Broken.GAP, f"{agent} and {other}", [entry[0] for entry in entries])
        for seq, kind, sender, body in entries:
            recipient = other if sender == agent else agent
            messages.append(Stored(body["op"], seq, kind, sender, recipient, body.get("answers", "")))
    return messages


def _check_stored(verdict: Verdict, operation: Operation, messages: Sequence[Stored]) -> None:
    for to in operation.to:
        there = [message for message in messages if message.recipient == to and message.sender == operation.agent]
        if len(there) > 1:
            verdict.broke(Broken.DUPLICATE, operation.op, f"to {to} as {[message.seq for message in there]}")
        if operation.is_done and not there:
            verdict.broke(Broken.LOST, operation.op, f"to {to}")
        if operation.is_refused and there:
            verdict.broke(Broken.DONE_THOUGH_REFUSED, operation.op, operation.results[-1].get("why"))


def _check_sent(verdict: Verdict, message: Stored, found: Mapping[str, Operation], handled: Mapping[str, Line]) -> None:
    operation, answer = found.get(message.op), handled.get(message.op)
    if operation is None and answer is None:
        verdict.broke(Broken.PHANTOM, message.op, f"from {message.sender} to {message.recipient}")
        return
    sender = operation.agent if operation is not None else answer["agent"] if answer is not None else ""
    recipients = operation.to if operation is not None else answer["to"] if answer is not None else ()
    if sender != message.sender or message.recipient not in recipients:
        verdict.broke(Broken.MISDELIVERED, message.op, f"stored as from {message.sender} to {message.recipient}")


def _check_answers(verdict: Verdict, stored: Sequence[Stored], found: Mapping[str, Operation]) -> None:
    questions = {message.op: message for message in stored if message.kind == "question"}
    answers: dict[str, Stored] = {}
    for message in stored:
        if message.kind not in _ANSWERS:
            continue
        question = questions.get(message.answers)
        if question is None or (question.sender, question.recipient) != (message.recipient, message.sender):
            verdict.broke(Broken.WRONG_ANSWER, message.op, f"answers {message.answers}")
        elif question.seq > message.seq:
            verdict.broke(Broken.GAP, message.op, "stands before its question")
        if message.answers in answers:
            verdict.broke(Broken.TWO_ANSWERS, message.answers, f"{answers[message.answers].op} and {message.op}")
        answers[message.answers] = message
    for op in questions:
        if op not in answers:
            verdict.broke(Broken.UNANSWERED, op)
    for operation in found.values():
        if operation.call == "ask":
            _check_told(verdict, operation, answers.get(operation.op))
        elif operation.call == "answer" and operation.is_done:
            settled = answers.get(operation.question)
            if settled is None or settled.op != operation.op:
                continue
            if (settled.kind == "decline") != operation.declined:
                verdict.broke(Broken.WRONG_ANSWER, operation.op, f"stored as {settled.kind}")


def _check_told(verdict: Verdict, operation: Operation, answer: Stored | None) -> None:
    for line in operation.results:
        state = line.get("state")
        if line["outcome"] != OK or state == "waiting":
            continue
        if answer is None or state not in ("answered", "declined"):
            verdict.broke(Broken.WRONG_ANSWER, operation.op, f"told {state}, with nothing stored")
        elif _told_of(line) != answer.op or (state == "declined") != (answer.kind == "decline"):
            verdict.broke(Broken.WRONG_ANSWER, operation.op, f"told {line['text']}, stored {answer.op}")


def _check_received(
    verdict: Verdict,
    lines: Sequence[Line],
    stored: Sequence[Stored],
    by_op: Mapping[str, Sequence[Stored]],
    found: Mapping[str, Operation],
) -> None:
    received: set[tuple[str, str]] = set()
    acknowledged: dict[tuple[str, str], float] = {}
    handled: dict[tuple[str, int], Line] = {}
    last: dict[tuple[str, str], Stored] = {}
    for line in lines:
        if line["what"] == "acknowledged":
            for op in line["ops"]:
                acknowledged.setdefault((line["agent"], op), line["at"])
            continue
        if line["what"] != "received":
            continue
        agent, op = line["agent"], line["op"]
        there = [message for message in by_op.get(op, ()) if message.recipient == agent]
        if not there:
            verdict.broke(Broken.MISDELIVERED if op in by_op else Broken.PHANTOM, op, f"received by {agent}")
            continue
        if line["sender"] != there[0].sender:
            verdict.broke(Broken.MISDELIVERED, op, f"received as from {line['sender']}, sent by {there[0].sender}")
        if line["via"] == "handler":
            attempt = (line["id"], line["attempt"])
            if attempt in handled:
                verdict.broke(
                    Broken.HANDLED_TWICE, op, f"attempt {attempt[1]}, in {handled[attempt]['by']}, {line['by']}"
                )
            handled[attempt] = line
        else:
            if not line["read"] and acknowledged.get((agent, op), line["looked"]) < line["looked"]:
                verdict.broke(Broken.REPEATED, op, f"by {agent}")
            if (agent, op) not in received and there[0].kind not in _ANSWERS:
                _check_fifo(verdict, last, agent, there[0])
        received.add((agent, op))
    for operation in found.values():
        if operation.call == "ask":
            received |= {(operation.agent, _told_of(line)) for line in operation.results}
    for message in stored:
        if (message.recipient, message.op) not in received:
            verdict.broke(
                Broken.NEVER_RECEIVED, message.op, f"{message.kind} from {message.sender} to {message.recipient}"
            )


def _check_unread(verdict: Verdict, lines: Sequence[Line], found: Mapping[str, Operation]) -> None:
    """Nothing is left in an inbox, but an answer that a wait gave in the moment in which its process or PostgreSQL was
    killed: it may be there once more.
    """
    given = {
        (operation.agent, _told_of(line)): line
        for operation in found.values()
        if operation.call == "ask"
        for line in operation.results
    }
    for line in lines:
        if line["what"] == "acknowledged":  # and believed: that is on disk
            for op in line["ops"]:
                given.pop((line["agent"], op), None)
    faults = [line for line in lines if line["what"] == "fault"]
    for line in lines:
        for text in line["unread"] if line["what"] == "inbox" else ():
            answer = given.get((line["agent"], json.loads(text)["op"]))
            if answer is not None and any(_struck(answer, fault) for fault in faults):
                verdict.again += 1
            else:
                verdict.broke(Broken.LEFT_UNREAD, line["agent"], text)


def _struck(answer: Line, fault: Line) -> bool:
    """Whether a fault may have undone that the answer was given: with its process, or on the database's way to disk."""
    kills = fault["kind"] == Kind.RESTART_POSTGRES or (
        fault["kind"] == Kind.KILL_CLIENT and fault["process"] == answer["by"]
    )
    return kills and abs(fault["at"] - answer["at"]) <= MOMENT


def _check_fifo(verdict: Verdict, last: dict[tuple[str, str], Stored], agent: str, message: Stored) -> None:
    """What one agent reads of another for the first time comes in the order in which it was sent."""
    before = last.get((agent, message.sender))
    if before is not None and before.seq > message.seq:
        verdict.broke(Broken.OUT_OF_ORDER, message.op, f"{agent} had read {before.op} already")
    else:
        last[agent, message.sender] = message


def _told_of(line: Line) -> str:
    """The operation whose words the result of a call gave."""
    return json.loads(line["text"])["op"] if line["outcome"] == OK and line.get("text") else ""


def _check_order(verdict: Verdict, stored: Sequence[Stored], found: Mapping[str, Operation]) -> None:
    pairs: dict[tuple[Any, ...], list[tuple[int, Operation]]] = defaultdict(list)
    for message in stored:
        if message.op in found:
            pairs[tuple(sorted((message.sender, message.recipient)))].append((message.seq, found[message.op]))
    for pair, numbered in pairs.items():
        in_order(verdict, " and ".join(pair), numbered)
