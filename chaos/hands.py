"""What an agent of the harness can do, whichever way it is attached; and what comes of a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable


class Refused(Exception):
    """A typed refusal: it did not happen. The words begin with the kind of refusal."""


class Unknown(Exception):
    """It may have happened, or may not."""


class Untyped(Unknown):
    """The same, told in a way that no caller should see: a raw error."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something in an inbox. `handle` names a question or a meeting; `read`: it was acknowledged and is still owed."""

    kind: str
    sender: str
    text: str = ""
    handle: str = ""
    id: str = ""
    read: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What an inbox showed, and the receipt that acknowledges it."""

    items: Sequence[Item] = ()
    receipt: Any = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a question: `answered`, `declined`, or `waiting` where it is known to stand."""

    state: str
    text: str = ""
    receipt: Any = None


class Floor(StrEnum):
    """What a meeting tells a member."""

    YOURS = "yours"
    READY = "ready"
    WAITING = "waiting"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Signal:
    """What came of attending or speaking; `said` are (speaker, turn, text)."""

    floor: Floor
    turn: int = 0
    said: Sequence[tuple[str, int, str]] = field(default_factory=tuple)
    reason: str = ""


Entry = tuple[int, str, str, str]
"""Of a meeting's history as a member reads it: seq, kind, speaker and text of a speech."""

Handler = Callable[[str, str, int, str], Awaitable[str | None]]
"""Called with the message's id, its text, the attempt and the sender; gives the answer."""


class Hands(Protocol):
    """Calls as an agent makes them. All raise Refused or Unknown; `patience` is seconds; no `key` is an empty one."""

    via: str

    async def send(self, agent: str, to: str, text: str, key: str) -> None: ...

    async def notify(self, agent: str, to: Sequence[str], text: str, key: str) -> None: ...

    async def ask(self, agent: str, to: str, text: str, key: str, patience: float) -> Asked: ...

    async def answer(self, agent: str, item: Item, text: str, key: str, *, decline: bool) -> None: ...

    async def look(self, agent: str, patience: float) -> Page: ...

    async def acknowledge(self, agent: str, receipt: Any) -> None: ...

    async def create(self, agent: str, members: Sequence[str], key: str) -> str: ...

    async def attend(self, agent: str, meeting: str, patience: float) -> Signal: ...

    async def start(self, agent: str, meeting: str, text: str, patience: float) -> Signal: ...

    async def speak(
        self, agent: str, meeting: str, turn: int, text: str | None, following: str | None, patience: float
    ) -> Signal: ...

    async def history(self, agent: str, meeting: str) -> list[Entry]: ...


@runtime_checkable
class HandlersHands(Hands, Protocol):
    """Hands that can have handlers besides."""

    def handle(self, agent: str, handler: Handler) -> None: ...
