"""Ready entries for the configuration files of MCP clients."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

NAME = "agent-messaging"


def entry(client: str, *, agent: str | None = None, organization: str | None = None) -> str:
    """The text to put into the configuration of `client`. Names the agent only if it is given: else each
    directory is its own.
    """
    arguments: list[str] = []
    if agent:
        arguments += ["--agent", agent]
    if organization:
        arguments += ["--organization", organization]
    server: dict[str, object] = {"command": _command(), "args": arguments}
    match client:
        case "claude-code":
            # Waits are at most 50 s; the longer limit leaves room for a first start of the database.
            return _json({"mcpServers": {NAME: {"type": "stdio", **server, "timeout": 120_000}}})
        case "claude-desktop":
            # It starts servers in no particular directory, so that its name would say nothing.
            named = arguments if agent else [*arguments, "--agent", "claude-desktop"]
            return _json({"mcpServers": {NAME: {**server, "args": named}}})
        case "cursor":
            return _json({"mcpServers": {NAME: server}})
        case "vscode":
            return _json({"servers": {NAME: {"type": "stdio", **server}}})
        case "codex":
            lines = [
                f"[mcp_servers.{NAME}]",
                f"command = {json.dumps(server['command'])}",
                f"args = {json.dumps(arguments)}",
                "startup_timeout_sec = 20",
                "tool_timeout_sec = 120",
            ]
            return "\n".join(lines) + "\n"
        case _:
            raise ValueError(f"no entry for {client!r}")


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, indent=2) + "\n"


def _command() -> str:
    """This very program, by its full path: hosts do not start servers from a login shell."""
    started = Path(sys.argv[0])
    if started.name.startswith(NAME) and started.exists():
        return str(started.absolute())
    return shutil.which(NAME) or NAME
