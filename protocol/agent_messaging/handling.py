"""Which message the running handler handles, so that a reply inside it needs no id and concurrent handlers
never mix theirs.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Handling:
    """A question that is being handled: by whom it was asked, and of whom."""

    question_id: UUID
    asker_id: UUID
    answerer_id: UUID


handled_question: ContextVar[Handling | None] = ContextVar("agent_messaging_handled_question", default=None)
