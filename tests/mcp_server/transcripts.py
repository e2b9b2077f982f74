"""What every host of a scenario was told, in one text that is the same wherever nothing differs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mcp import MCPError
from mcp_types import CallToolResult

from tests.mcp_server.hosts import Host
from tests.mcp_server.readers import read_structure, read_text, text_of

_HANDLE = re.compile(r"\b([mqc])(?=[a-z]*\d)[0-9a-z]{3,8}\b")
_MARK = re.compile(r"(?<=\[)(/?)[0-9a-f]{6}(?=[ \]])")
_AGE = re.compile(r"just now|\b\d+ (?:s|min|h) ago\b")
_TIME = re.compile(r"\b\d+(?:\.\d+)? (?:s|min|h)\b")
_HOP = re.compile(r', hop \d+|"hop": \d+, |, "hop": \d+')
_SECONDS = re.compile(r'("seconds_left": )\d+')


class Transcript:
    """Collects what is said, with handles numbered in the order they come up and times left out."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._handles: dict[str, str] = {}

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def note(self, heading: str, *said: str) -> None:
        """Something that was said, under what it was said to."""
        self._lines.append(self._plain(heading))
        self._lines += [f"    {line}" for text in said for line in self._plain(text).split("\n")]

    def told(self, host: Host, tool: str, arguments: Mapping[str, Any], result: CallToolResult) -> None:
        """A call and its result: the text, and of the structure what the text does not repeat."""
        given = ", ".join(f"{name}={json.dumps(value)}" for name, value in arguments.items())
        call = f"{host.agent}: {tool}({given})"
        if result.is_error:
            assert result.structured_content is None
            self.note(call, f"! {text_of(result)}")
            return
        structure = result.structured_content
        text, structured = read_text(text_of(result)), read_structure(structure)
        assert structure is not None
        assert (text.now, text.also) == (structured.now, structured.also)
        self.note(call, text_of(result), "= " + json.dumps(_facts(structure)))

    async def call(self, host: Host, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Make a call and note it; gives the structured content, empty for a mistake."""
        result = await host.result(tool, **arguments)
        self.told(host, tool, arguments, result)
        return result.structured_content or {}

    def failed(self, heading: str, error: MCPError) -> None:
        """A JSON-RPC error."""
        self.note(heading, f"! {error.error.code} {error.error.message}")

    def _plain(self, text: str) -> str:
        # On a slow machine the minute passes within which one message follows from another.
        text = _HOP.sub("", text)
        text = _MARK.sub(r"\1#", text)  # before the handles: a mark may look like one
        text = _HANDLE.sub(self._numbered, text)
        text = _TIME.sub("#", _AGE.sub("# ago", text))
        return _SECONDS.sub(r"\1#", text)

    def _numbered(self, found: re.Match[str]) -> str:
        return self._handles.setdefault(
            found[0], f"{found[1]}{sum(known[0] == found[1] for known in self._handles) + 1}"
        )


def _facts(structure: Mapping[str, Any]) -> dict[str, Any]:
    told_in_text = ("now", "next", "also")
    return {name: value for name, value in structure.items() if name not in told_in_text}
