"""Reads the histories of a run and says what was broken. It imports nothing of the product: what is true of messages
between agents and of meetings, it knows from the specification alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from chaos.checker_conversations import check_conversations
from chaos.checker_meetings import check_meetings
from chaos.history import HUNG, OK, REFUSED, Line
from chaos.verdict import Broken, Operation, Verdict, operations

COUNTED = ("send", "notify", "ask", "answer", "speak", "create", "acknowledge")
"""Operations that change something. What only looks is not counted."""
_CONFLICT = ("IdempotencyConflictError", "another key for another message")


def check(lines: Sequence[Line]) -> Verdict:
    """Check a whole history, in the order of time."""
    verdict = Verdict()
    found = operations(lines)
    for operation in found.values():
        _check_calls(verdict, operation)
    for line in lines:
        if line["what"] == "unfinished":
            verdict.broke(Broken.UNFINISHED, line["process"], f"code {line['code']}; see {line['log']}")
    check_conversations(verdict, lines, found)
    check_meetings(verdict, lines, found)
    return verdict


def _check_calls(verdict: Verdict, operation: Operation) -> None:
    if operation.call in COUNTED and operation.returned:
        verdict.checked[operation.call] += 1
        verdict.unknown += not operation.outcomes & {OK, REFUSED}
    for line in operation.results:
        about = f"{operation.call} {operation.op}, try {line['try']}"
        verdict.cancelled += bool(line.get("cancelled"))
        if line["outcome"] == HUNG:
            verdict.broke(Broken.HUNG, about)
        if line.get("untyped"):
            verdict.broke(Broken.UNTYPED, about, line.get("why"))
        if any(words in line.get("why", "") for words in _CONFLICT):
            verdict.broke(Broken.CONFLICT, about, line["why"])
