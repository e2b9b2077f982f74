"""Two readers of tool results, one for each channel: each knows only what a model of such a host is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_types import CallToolResult, TextContent

_OPENING = re.compile(r"\[([0-9a-f]{6}) (.*)\]")
_CALL = re.compile(r"\b([a-z_]+)\(((?:[^()\"]|\"(?:[^\"\\]|\\.)*\")*)\)")
_ARGUMENT = re.compile(r"(\w+)=(\"(?:[^\"\\]|\\.)*\"|\[[^\]]*\]|…|[^,]+)")


@dataclass(frozen=True)
class Block:
    """What stands between two fences: the server's label, and what a peer wrote."""

    label: str
    text: str

    def part(self, name: str) -> str:
        """A body of a block that holds several."""
        found = re.search(rf"^{name}: (.*)$", self.text, re.MULTILINE)
        assert found, f"no {name} in {self.text!r}"
        return found[1]


@dataclass(frozen=True)
class Call:
    """A literal call, as the server writes it out."""

    tool: str
    arguments: dict[str, Any]

    @property
    def to_fill_in(self) -> list[str]:
        return [name for name, value in self.arguments.items() if value is ...]

    def filled_in(self, **values: object) -> dict[str, Any]:
        assert set(self.to_fill_in) <= set(values), f"{self} leaves {self.to_fill_in} to the caller"
        return self.arguments | values


def calls_in(words: str) -> list[Call]:
    """Every literal call in the server's words, in order."""
    calls: list[Call] = []
    for found in _CALL.finditer(words):
        arguments = {name: ... if value == "…" else json.loads(value) for name, value in _ARGUMENT.findall(found[2])}
        calls.append(Call(found[1], arguments))
    return calls


@dataclass
class Read:
    """A result as one channel shows it."""

    now: str
    blocks: list[Block] = field(default_factory=list[Block])
    also: str = ""

    def call(self, tool: str) -> Call:
        """The first call of `tool` that the server names, in what it says now or in what it says also
        waits.
        """
        found = [call for call in calls_in(f"{self.now}\n{self.also}") if call.tool == tool]
        assert found, f"no call of {tool} in {self.now!r} or {self.also!r}"
        return found[0]

    def names_call(self, tool: str) -> bool:
        return any(call.tool == tool for call in calls_in(f"{self.now}\n{self.also}"))

    def texts(self) -> list[str]:
        return [block.text for block in self.blocks]


def text_of(result: CallToolResult) -> str:
    assert len(result.content) == 1
    [only] = result.content
    assert isinstance(only, TextContent)
    return only.text


def read_text(text: str) -> Read:
    """What a model sees that is given the text alone."""
    lines = text.split("\n")
    read = Read(now=lines[0])
    at = 1
    while at < len(lines):
        line = lines[at]
        if opening := _OPENING.fullmatch(line):
            mark, label = opening[1], opening[2]
            closing = next(i for i in range(at + 1, len(lines)) if lines[i].startswith(f"[/{mark}]"))
            read.blocks.append(Block(label, "\n".join(lines[at + 1 : closing])))
            at = closing
        elif line.startswith("- "):
            read.blocks.append(Block(line[2:], ""))
        elif line.startswith("Also in your inbox"):
            assert at == len(lines) - 1, f"something follows the last line: {lines[at + 1 :]}"
            read.also = line
        else:
            raise AssertionError(f"outside every block: {line!r}")
        at += 1
    return read


def read_structure(structure: Mapping[str, Any] | None) -> Read:
    """What a model sees that is given the structured content alone."""
    assert structure is not None
    keys = list(structure)
    assert keys[0] == "now"
    assert keys[-1] == "also"
    read = Read(now=structure["now"], also=structure["also"])
    about = {key: structure[key] for key in ("title", "agenda", "outcome", "reason") if key in structure}
    if about:
        read.blocks.append(Block("about", "\n".join(f"{key}: {value}" for key, value in about.items())))
    entries = [structure["answer"]] if "answer" in structure else []
    entries += [*structure.get("said", ()), *structure.get("items", ())]
    for entry in entries:
        label = ", ".join(f"{key} {value}" for key, value in entry.items() if key != "text")
        read.blocks.append(Block(label, entry.get("text", "")))
    return read
