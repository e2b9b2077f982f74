"""What is written down about the server is what it serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from httpx2 import AsyncClient

from agent_messaging_mcp import client_entries
from agent_messaging_mcp.cli import main
from agent_messaging_mcp.identity import name_of
from agent_messaging_mcp.server import instructions
from tests.mcp_server.serving import serving, tokens_of
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


@pytest.mark.requirement("mcp:print-config")
@pytest.mark.parametrize("client", client_entries.CLIENTS)
def test_the_command_of_an_entry_starts_a_server_as_its_agent(client: str, dsn: str) -> None:
    program = Path(sys.executable).with_name("agent-messaging")
    environment = {"PATH": os.environ.get("PATH", os.defpath), "DATABASE_URL": dsn}

    def run(*command: str, said: str | None = None) -> str:
        done = subprocess.run(
            command, env=environment, input=said, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = run(str(program), "--agent", "ann", "--print-config", client)
    parsed: dict[str, Any] = tomllib.loads(printed) if client == "codex" else json.loads(printed)
    [servers] = parsed.values()
    server = servers["agent-messaging"]
    assert server["command"] == str(program)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    request = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    answer = run(server["command"], *server["args"], said=json.dumps(request) + "\n")
    assert "You are the agent ann." in json.loads(answer.splitlines()[0])["result"]["instructions"]


URL = "https://agents.example.org/mcp"


def remote(client: str, *arguments: str, url: str = URL) -> Result:
    return CliRunner().invoke(main, [*arguments, "--print-config", client, "--url", url])


@pytest.mark.requirement("mcp:print-config:url")
@pytest.mark.parametrize(
    ("client", "server"),
    [
        ("claude-code", {"type": "http", "headers": {"Authorization": "Bearer ${AGENT_MESSAGING_TOKEN}"}}),
        ("cursor", {"headers": {"Authorization": "Bearer ${env:AGENT_MESSAGING_TOKEN}"}}),
        ("vscode", {"type": "http", "headers": {"Authorization": "Bearer ${input:agent-messaging-token}"}}),
        ("codex", {"bearer_token_env_var": "AGENT_MESSAGING_TOKEN"}),
    ],
)
def test_an_entry_for_a_server_on_the_network_says_where_it_is_and_where_the_token_is(
    client: str, server: dict[str, Any]
) -> None:
    printed = remote(client)
    assert printed.exit_code == 0
    if client == "codex":
        entry = tomllib.loads(printed.stdout)["mcp_servers"]["agent-messaging"]
    else:
        entry = json.loads(printed.stdout)["servers" if client == "vscode" else "mcpServers"]["agent-messaging"]
    waits = {"claude-code": {"timeout": 120_000}, "codex": {"tool_timeout_sec": 120}}
    assert entry == {"url": URL, **server, **waits.get(client, {})}
    assert "agent-messaging token create AGENT" in printed.stderr
    if client == "vscode":
        [asked] = json.loads(printed.stdout)["inputs"]
        assert asked["id"] == "agent-messaging-token"
        assert (asked["type"], asked["password"]) == ("promptString", True)


@pytest.mark.requirement("mcp:print-config:url")
async def test_what_an_entry_says_is_enough_to_call_the_server(dsn: str) -> None:
    async with serving(dsn) as server, AsyncClient(timeout=90) as client:
        token = (await tokens_of(dsn, "ann"))["ann"]
        entry = json.loads(remote("claude-code", url=server.address).stdout)["mcpServers"]["agent-messaging"]
        given = {name: value.replace("${AGENT_MESSAGING_TOKEN}", token) for name, value in entry["headers"].items()}
        spoken = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28"}
        request = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "server/discover",
            "params": {
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                }
            },
        }
        headers = given | spoken | {"mcp-method": "server/discover"}
        answer = await client.post(entry["url"], headers=headers, json=request, timeout=200)
        assert answer.status_code == 200, answer.text
        assert "You are the agent ann." in answer.text
        assert (await client.post(entry["url"], headers=spoken, json=request, timeout=200)).status_code == 401


@pytest.mark.requirement("mcp:print-config:url")
def test_claude_desktop_is_told_the_ways_that_there_are() -> None:
    printed = remote("claude-desktop", "--agent", "ann")
    assert printed.exit_code == 0
    server = json.loads(printed.stdout)["mcpServers"]["agent-messaging"]
    assert server["args"] == ["--agent", "ann"]
    assert set(server["env"]) == {"DATABASE_URL"}
    assert "Settings > Connectors" in printed.stderr


@pytest.mark.requirement("mcp:print-config:url")
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://agents.example.org", URL),
        ("https://agents.example.org/", URL),
        (f"{URL}/", URL),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765/mcp"),
        ("https://example.org/agents/mcp", "https://example.org/agents/mcp"),
    ],
)
def test_the_address_of_a_server_is_taken_as_it_is_meant(given: str, meant: str) -> None:
    assert json.loads(remote("cursor", url=given).stdout)["mcpServers"]["agent-messaging"]["url"] == meant


@pytest.mark.requirement("mcp:print-config:url")
@pytest.mark.parametrize(
    "url",
    [
        "agents.example.org",
        "ftp://agents.example.org",
        "https://",
        "",
        "https://ann:secret@agents.example.org",
        "https://agents.example.org/mcp?token=secret",
        "https://agents.example.org/mcp#secret",
        "https://[agents.example.org",
        "https://agents.example.org:port",
    ],
)
@pytest.mark.parametrize("client", client_entries.CLIENTS)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(client: str, url: str) -> None:
    refused = remote(client, url=url)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "secret" not in refused.stderr


@pytest.mark.requirement("mcp:print-config:url")
def test_who_asks_for_an_agent_at_an_address_learns_that_the_token_says_it() -> None:
    refused = remote("cursor", "--agent", "ann")
    assert refused.exit_code == 2
    assert "the token says who the agent is" in refused.stderr
    alone = CliRunner().invoke(main, ["--url", URL])
    assert alone.exit_code == 2
    assert "--print-config" in alone.stderr


@pytest.mark.requirement("mcp:print-config:url")
@pytest.mark.parametrize(
    ("url", "warned"),
    [("http://10.0.0.11:8765", True), ("http://127.0.0.1:8765", False), ("http://localhost", False), (URL, False)],
)
def test_a_token_that_would_travel_in_the_clear_is_warned_of(url: str, warned: bool) -> None:
    assert ("everybody on the way can read that token" in remote("codex", url=url).stderr) is warned


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
