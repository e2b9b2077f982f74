"""Which message the running handler handles, so that a reply inside it needs no id, concurrent handlers never mix
theirs, and what it sends is known to follow from it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Handling:
    """A question that is being handled: by whom it was asked, and of whom."""

    question_id: UUID
    asker_id: UUID
    answerer_id: UUID


next_hop: ContextVar[int | None] = ContextVar("agent_messaging_next_hop", default=0)
"""The hop of what is sent from here: 0 where somebody begins by itself, one more than that of the message being
handled, None where only what the sender was shown can tell.
"""


@contextmanager
def by_what_it_was_shown() -> Generator[None]:
    """What is sent in this block is sent by an agent of whose reasons nothing is known but what it was shown."""
    token = next_hop.set(None)
    try:
        yield
    finally:
        next_hop.reset(token)


handled_question: ContextVar[Handling | None] = ContextVar("agent_messaging_handled_question", default=None)
