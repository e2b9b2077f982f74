"""Reads a result as mcp.md §2 says it is written, knowing nothing of how it is made, and finds what is out of place.

Text: a line of the server (what happened, "Now:", what to do), then blocks and facts, then what else waits. A block
begins with `[mark label]` on a line of its own and ends at the first line that begins with `[/mark]`; all of a result
have the same mark, six hexadecimal digits. A fact is a line that begins with "- ". Nothing else stands anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.hostile.payloads import WORD

_OPENING = re.compile(r"\[([0-9a-f]{6}) ([^\n]+)\]")
_CUT = re.compile(r" \(cut: [0-9]+ characters in all; the rest: [a-z_]+\([^\n]*\)\)")
PEERS_FIELDS = frozenset({"text", "title", "agenda", "outcome", "reason", "name"})
"""Where peers' words may stand in structured content."""
_LOOKS_EMPTY = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


@dataclass(frozen=True)
class Block:
    """One block, and where its lines are."""

    label: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def fields(self) -> dict[str, str]:
        """The named parts of a block: a name begins at the margin, and further lines of its part do not."""
        found: dict[str, str] = {}
        name = ""
        for line in self.lines:
            if line[:1] in (" ", "") and name:
                found[name] += "\n" + line.removeprefix("    ")
                continue
            name, colon, rest = line.partition(": ")
            assert colon, f"no part of a block: {line[:80]!r}"
            assert name in PEERS_FIELDS, f"no part of a block: {line[:80]!r}"
            assert name not in found, f"{name} is there twice"
            found[name] = rest
        return found


@dataclass(frozen=True)
class Page:
    """A result or a resource, taken apart."""

    servers: tuple[str, ...]
    """Lines outside every block."""
    blocks: tuple[Block, ...]


def parsed(text: str) -> Page:
    """Take a result's text, or a resource, apart."""
    servers: list[str] = []
    blocks: list[Block] = []
    lines = iter(text.split("\n"))
    marks: set[str] = set()
    for line in lines:
        opening = _OPENING.fullmatch(line)
        if opening is None:
            servers.append(line)
            continue
        mark, label = opening.groups()
        marks.add(mark)
        inside = list(_until(lines, f"[/{mark}]"))
        assert not any(mark in line for line in inside), "a mark stands inside what it fences"
        blocks.append(Block(label, tuple(inside)))
    assert len(marks) <= 1, f"several marks: {marks}"
    return Page(tuple(servers), tuple(blocks))


def _until(lines: Iterator[str], closing: str) -> Iterator[str]:
    for line in lines:
        if line.startswith(closing):
            rest = line.removeprefix(closing)
            assert not rest or _CUT.fullmatch(rest), f"after the end of a block: {rest[:80]!r}"
            return
        yield line
    raise AssertionError(f"no {closing}")


def hidden(text: str) -> list[str]:
    """What a reader of this text would not see, or not where it stands. Joints of emoji aside: none is in a payload."""
    return [
        f"U+{ord(sign):04X}"
        for sign in text
        if sign not in "\n\t"
        and (
            unicodedata.category(sign)[0] == "C"
            or unicodedata.category(sign) in ("Zl", "Zp")
            or sign in _LOOKS_EMPTY
            or "\ufe00" <= sign <= "\ufe0f"
            or "\U000e0000" <= sign <= "\U000e0fff"
        )
    ]


def unhidden(shown: str) -> str:
    """What was written, from what is shown of it."""
    return re.sub(r"<U\+([0-9A-F]{4,6})>", lambda found: chr(int(found[1], 16)), shown)


def is_shown(shown: str, written: str, *, cut_at: int = 6_000) -> bool:
    """Whether `shown` is `written`, or its beginning if that is longer, with everything in it visible."""
    if hidden(shown):
        return False
    plain, back = unhidden(written.replace("\r\n", "\n")), unhidden(shown)
    return back == plain or (cut_at - 10 <= len(shown) <= cut_at and plain.startswith(back))


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in structured content with the name of its field; the keys themselves are fields of "a key"."""
    match value:
        case str():
            yield path, value
        case dict():
            for key, inner in value.items():
                yield "a key", key
                yield from strings(inner, key)
        case list():
            for inner in value:
                yield from strings(inner, path)
        case _:
            return


def misplaced(text: str, structure: dict[str, Any] | None) -> list[str]:
    """What a peer wrote, in places where only the server writes; what hides, anywhere."""
    page = parsed(text)
    wrong = [f"outside every block: {line[:160]!r}" for line in page.servers if WORD in line]
    wrong += [f"in a label: {block.label[:160]!r}" for block in page.blocks if WORD in block.label]
    if found := hidden(text):
        wrong.append(f"hidden in the text: {sorted(set(found))}")
    for field, inner in strings(structure):
        if WORD in inner and field not in PEERS_FIELDS:
            wrong.append(f"in the field {field}: {inner[:160]!r}")
        if found := hidden(inner):
            wrong.append(f"hidden in the field {field}: {sorted(set(found))}")
    return wrong
