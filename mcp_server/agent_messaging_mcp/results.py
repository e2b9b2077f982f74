"""What a tool call came to, as one value that is rendered twice: as text and as structured content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from agent_messaging_mcp.text import LONGEST_BODY, as_text, tokens, visible

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

MOST_ITEMS = 20
"""Items that one result shows."""
MOST_TOKENS = 6_000
"""Estimated tokens of all bodies in one result, which leaves room for the rest of the 8,000."""


@dataclass(frozen=True, slots=True)
class Body:
    """Something a peer wrote: visible and cut. `rest` is the call that gets what was cut off, `whole` its
    length.
    """

    name: str
    text: str
    is_json: bool = False
    rest: str = ""
    whole: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that is shown: what the server attests (a label in words, the same as facts), and what a
    peer wrote.
    """

    label: str
    facts: Mapping[str, Json] = field(default_factory=dict[str, Json])
    bodies: tuple[Body, ...] = ()

    @property
    def cost(self) -> int:
        return sum(tokens(body.text) for body in self.bodies) + 30


@dataclass(frozen=True, slots=True)
class Resume:
    """A call that goes on waiting, by the name of its function (`tools.RESUMABLE`) and its arguments."""

    tool: str
    arguments: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`happened` and `do` (an imperative that holds `next`, the literal call) are the server's words,
    nobody else's.

    `about` is what peers wrote about the whole (title, agenda, outcome, reason). `subjects` are the handles
    of questions and meetings that the result itself tells about: no "also" line repeats them.
    """

    status: str
    happened: str
    do: str
    next: str = ""
    facts: Mapping[str, Json] = field(default_factory=dict[str, Json])
    about: Entry | None = None
    answer: Entry | None = None
    events: tuple[str, ...] = ()
    said: tuple[Entry, ...] | None = None
    items: tuple[Entry, ...] | None = None
    subjects: frozenset[str] = frozenset()
    inbox: bool = False
    """The result is the inbox itself, so nothing is also in it."""
    resume: Resume | None = None
    """Nothing has come yet, and this call would go on waiting for it."""

    @property
    def now(self) -> str:
        return f"{self.happened} Now: {self.do}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A mistake that a smarter caller could have avoided: cause, state and next call. Nothing was done."""

    text: str


def body(
    content: object,
    *,
    name: str = "text",
    rest: Callable[[int], str] | None = None,
    start: int = 0,
    longest: int = LONGEST_BODY,
) -> Body:
    """Peers' text from its character `start` on, at most `longest` characters as shown.

    `rest` is given the character at which the next part begins, and answers with the call that gets it.
    """
    whole = as_text(content)
    is_json = not isinstance(content, str)
    part = whole[start : start + longest]
    shown = visible(part)
    if len(shown) > longest:
        # What is made visible grows: cut the source so that its visible form fits.
        low, high = 0, len(part)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if len(visible(part[:middle])) <= longest else (low, middle - 1)
        part = part[: max(low, 1)]
        shown = visible(part)
    end = start + len(part)
    cut = end < len(whole)
    return Body(
        name,
        shown,
        is_json=is_json,
        rest=rest(end) if cut and rest else "",
        whole=len(whole) if cut or start else 0,
    )


def fitting(entries: Iterable[Entry], *, most: int = MOST_ITEMS, budget: int = MOST_TOKENS) -> tuple[Entry, ...]:
    """The first entries that fit into one result; always at least one, if there is one."""
    shown: list[Entry] = []
    for entry in entries:
        budget -= entry.cost
        if shown and (budget < 0 or len(shown) >= most):
            break
        shown.append(entry)
    return tuple(shown)
