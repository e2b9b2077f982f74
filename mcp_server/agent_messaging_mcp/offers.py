"""Whether the wait of a tool call may go on as a task once the call has been answered, and what its caller is told to
do about a wait.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_messaging_mcp.scoped import Scoped

if TYPE_CHECKING:
    from agent_messaging.models import Task


LONG_WAIT = 3_600
"""Seconds of a wait that is worth a task: hosts allow only so many between two words of their user."""


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


def offered(offer: Offer) -> Scoped[Offer | None]:
    """Make an offer to what is called inside."""
    return Scoped(_offer, offer)


def long_wait() -> int | None:
    """For how many seconds a caller does best to wait, if its waits may go on as tasks; None for others."""
    return None if current() is None else LONG_WAIT


def wait_with(again: str) -> str:
    """What to do when nothing has come yet: an imperative around the call that goes on waiting."""
    return f"do other work first, then {again}" if current() is None else f"let {again} wait in the background"
