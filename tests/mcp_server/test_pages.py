"""What is written down about the server is what it serves."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agent_messaging_mcp.cli import main
from agent_messaging_mcp.identity import name_of
from agent_messaging_mcp.server import instructions
from tools import describe_tools

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.requirement("mcp:tools:page")
def test_the_page_of_tools_is_written_from_the_tools_that_are_served() -> None:
    assert describe_tools.PAGE.read_text(encoding="utf-8") == describe_tools.page(), (
        "run: python tools/describe_tools.py"
    )


@pytest.mark.requirement("mcp:instructions")
def test_the_instructions_fit_where_hosts_cut_them() -> None:
    longest = instructions("a" * 128)
    print(len(longest))
    assert len(longest) <= 2_048
    assert "You are the agent alice." in instructions("alice")


def entry(client: str, *arguments: str) -> str:
    printed = CliRunner().invoke(main, [*arguments, "--print-config", client])
    assert printed.exit_code == 0, printed.output
    return printed.output


@pytest.mark.requirement("mcp:print-config")
@pytest.mark.parametrize(
    ("client", "key"),
    [
        ("claude-code", "mcpServers"),
        ("claude-desktop", "mcpServers"),
        ("cursor", "mcpServers"),
        ("vscode", "servers"),
    ],
)
def test_an_entry_for_a_client_is_ready(client: str, key: str) -> None:
    server: dict[str, Any] = json.loads(entry(client, "--agent", "alice", "--organization", "acme"))[key][
        "agent-messaging"
    ]
    assert server["args"] == ["--agent", "alice", "--organization", "acme"]
    assert server["command"].endswith("agent-messaging")


@pytest.mark.requirement("mcp:print-config")
def test_an_entry_for_codex_is_ready() -> None:
    server = tomllib.loads(entry("codex", "--agent", "alice"))["mcp_servers"]["agent-messaging"]
    assert server["args"] == ["--agent", "alice"]
    assert server["tool_timeout_sec"] > 60


@pytest.mark.requirement("mcp:print-config")
def test_without_a_name_every_directory_is_an_agent_of_its_own() -> None:
    assert json.loads(entry("claude-code"))["mcpServers"]["agent-messaging"]["args"] == []
    assert json.loads(entry("claude-desktop"))["mcpServers"]["agent-messaging"]["args"] == [
        "--agent",
        "claude-desktop",
    ]


@pytest.mark.requirement("mcp:print-config")
def test_the_example_for_claude_desktop_is_what_is_printed_for_it() -> None:
    example = json.loads((EXAMPLES / "claude_config.json").read_text(encoding="utf-8"))
    printed = json.loads(entry("claude-desktop"))
    printed["mcpServers"]["agent-messaging"]["command"] = "agent-messaging"
    assert example == printed


@pytest.mark.requirement("mcp:identity:directory")
@pytest.mark.parametrize(
    ("directory", "agent"),
    [
        ("/home/ann/my-project", "my-project"),
        ("/home/ann/My Project (2)!", "My-Project-2"),
        ("/home/ann/.config", "config"),
        ("/home/ann/проект", "agent"),
        ("/", "agent"),
        ("/x/" + "a" * 200, "a" * 128),
    ],
)
def test_a_directory_gives_a_name(directory: str, agent: str) -> None:
    assert name_of(Path(directory)) == agent


@pytest.mark.requirement("mcp:cli")
def test_a_name_that_is_none_is_refused_at_the_start() -> None:
    refused = CliRunner().invoke(main, ["--agent", "no spaces, please"])
    assert refused.exit_code == 1
    assert "not an external id" in refused.output
