"""Whether the wait of a tool call may go on as a task once the call has been answered."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_messaging.models import Task


@dataclass(slots=True)
class Offer:
    """Made to a call by the Tasks extension: if it would wait for longer than calls are held, it looks once, notes for
    how many seconds it would have waited, and is answered with a task.
    """

    seconds: float = 0.0
    task: Task | None = None


_offer: ContextVar[Offer | None] = ContextVar("agent_messaging_task_offer", default=None)


def current() -> Offer | None:
    """The offer that was made to this call."""
    return _offer.get()


@contextmanager
def offered(offer: Offer) -> Generator[Offer]:
    """Make an offer to what is called inside."""
    before = _offer.set(offer)
    try:
        yield offer
    finally:
        _offer.reset(before)
