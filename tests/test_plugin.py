"""The plugin for Claude Code: its files are found where the host looks for them, and name commands that there are."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.test_ecosystem import parsed

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "plugins" / "claude-code"


def read(*place: str) -> Any:
    return json.loads(PLUGIN.joinpath(*place).read_text("utf-8"))


@pytest.mark.requirement("ecosystem:plugin")
def test_the_marketplace_of_the_repository_offers_the_plugin() -> None:
    market = json.loads((ROOT / ".claude-plugin" / "marketplace.json").read_text("utf-8"))
    [offered] = market["plugins"]
    assert (ROOT / offered["source"]).resolve() == PLUGIN
    manifest = read(".claude-plugin", "plugin.json")
    assert manifest["name"] == offered["name"]
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert version is not None
    assert manifest["version"] == version[1]


@pytest.mark.requirement("ecosystem:plugin")
def test_every_hook_and_the_server_are_commands_that_there_are() -> None:
    hooks = read("hooks", "hooks.json")["hooks"]
    assert hooks.keys() == {"SessionStart", "Stop"}
    for event, [entry] in hooks.items():
        [hook] = entry["hooks"]
        assert hook["type"] == "command"
        program, *words = shlex.split(hook["command"])
        assert program == "agent-messaging"
        assert parsed(words).info_name == {"SessionStart": "session-start", "Stop": "stop"}[event]
    [server] = read(".mcp.json")["mcpServers"].values()
    assert server == {"command": "agent-messaging"}


@pytest.mark.requirement("ecosystem:plugin")
def test_every_slash_command_says_what_it_is_for_and_names_tools_that_there_are() -> None:
    from agent_messaging_mcp.tools import ALL

    tools = {spec.name for spec in ALL}
    for page in sorted((PLUGIN / "commands").glob("*.md")):
        text = page.read_text("utf-8")
        assert re.match(r"---\ndescription: .+\n(argument-hint: .+\n)?---\n", text), page
        assert "$ARGUMENTS" in text
        named = set(re.findall(r"`(\w+)`", text)) - {"after"}
        assert named
        assert named <= tools


@pytest.mark.requirement("ecosystem:plugin")
def test_the_hooks_of_the_page_of_hosts_are_commands_that_there_are() -> None:
    page = (ROOT / "docs" / "hosts.md").read_text("utf-8")
    commands = re.findall(r'"command": "agent-messaging ([^"]+)"', page)
    assert len(commands) >= 6
    for command in commands:
        assert parsed(shlex.split(command)).info_name in ("session-start", "stop")
