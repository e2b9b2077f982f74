"""Ready entries for the configuration files of MCP clients: for a server that the client starts, or one on the
network.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

NAME = "agent-messaging"
CLIENTS = ("claude-code", "claude-desktop", "cursor", "vscode", "codex")
TOKEN_VARIABLE = "AGENT_MESSAGING_TOKEN"  # noqa: S105 - the name of a variable
TIMEOUT_SECONDS = 120
"""Waits are at most 50 s; the longer limit leaves room for a first start of the database."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def entry(client: str, *, agent: str | None = None, organization: str | None = None) -> str:
    """The text to put into the configuration of `client`, which then starts a server of its own. Names the
    agent only if it is given: else each directory is its own.
    """
    arguments: list[str] = []
    if agent:
        arguments += ["--agent", agent]
    if organization:
        arguments += ["--organization", organization]
    server: dict[str, object] = {"command": _command(), "args": arguments}
    match client:
        case "claude-code":
            return _json({"mcpServers": {NAME: {"type": "stdio", **server, "timeout": TIMEOUT_SECONDS * 1000}}})
        case "claude-desktop":
            # It starts servers in no particular directory, so that its name would say nothing.
            named = arguments if agent else [*arguments, "--agent", "claude-desktop"]
            return _json({"mcpServers": {NAME: {**server, "args": named}}})
        case "cursor":
            return _json({"mcpServers": {NAME: server}})
        case "vscode":
            return _json({"servers": {NAME: {"type": "stdio", **server}}})
        case "codex":
            return _toml(command=server["command"], args=arguments, startup_timeout_sec=20)
        case _:
            raise ValueError(f"no entry for {client!r}")


def remote_entry(client: str, url: str) -> str:
    """The text to put into the configuration of `client`, which then calls the server at `url`, an address of
    `checked_url`, as the agent of a token. The token is never in it, only the place where it is looked up.
    """
    match client:
        case "claude-code":
            server = {"type": "http", "url": url, "headers": _bearer(f"${{{TOKEN_VARIABLE}}}")}
            return _json({"mcpServers": {NAME: {**server, "timeout": TIMEOUT_SECONDS * 1000}}})
        case "cursor":
            return _json({"mcpServers": {NAME: {"url": url, "headers": _bearer(f"${{env:{TOKEN_VARIABLE}}}")}}})
        case "vscode":
            asked = f"{NAME}-token"
            question = {"type": "promptString", "id": asked, "description": f"Token of {url}", "password": True}
            server = {"type": "http", "url": url, "headers": _bearer(f"${{input:{asked}}}")}
            return _json({"inputs": [question], "servers": {NAME: server}})
        case "codex":
            return _toml(url=url, bearer_token_env_var=TOKEN_VARIABLE)
        case _:
            raise ValueError(f"no entry for {client!r} and a server on the network")


def token_hint(client: str, url: str) -> str:
    """What somebody does after a remote entry, so that it works."""
    made = "a token of the agent that this client acts as: `agent-messaging token create AGENT`"
    if client == "vscode":
        hint = f"VS Code asks once for {made}."
    else:
        hint = f"Set {TOKEN_VARIABLE}, where the client is started, to {made}."
    address = urlsplit(url)
    if address.scheme == "http" and address.hostname not in _LOOPBACK:
        hint += "\nWarning: with http:// everybody on the way can read that token; put TLS in front of the server."
    return hint


DESKTOP_HINT = (
    "Claude Desktop takes no server on the network from this file. Either add the address under Settings > Connectors: "
    "that needs an address reachable from the internet, and OAUTH_ISSUER on the server. Or put what is printed here "
    "into the file, and the address of the server's database into DATABASE_URL: a server of its own, among the same "
    "agents."
)


def desktop_entry(*, agent: str | None = None, organization: str | None = None) -> str:
    """The entry that takes Claude Desktop to the database of a server on the network."""
    local = json.loads(entry("claude-desktop", agent=agent, organization=organization))
    local["mcpServers"][NAME]["env"] = {"DATABASE_URL": "postgresql://USER:PASSWORD@HOST:5432/agent_messaging"}
    return _json(local)


def checked_url(url: str) -> str:
    """The address of `/mcp` at a server that is given by its address alone, or by that of `/mcp`. Raises
    ValueError.
    """
    wanted = "an address like https://agents.example.org is needed"
    try:
        address = urlsplit(url)
        is_one = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:
        raise ValueError(wanted) from None
    if not is_one:
        raise ValueError(wanted)
    if address.username is not None or address.query or address.fragment:
        raise ValueError("an address holds no token, password or question mark: tokens travel in a header")
    path = address.path.rstrip("/")
    return address._replace(path=path or "/mcp").geturl()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, indent=2) + "\n"


def _toml(**values: object) -> str:
    values["tool_timeout_sec"] = TIMEOUT_SECONDS
    # JSON's strings, numbers and lists of strings are TOML's as well, but for its pairs of escapes.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    return "\n".join([f"[mcp_servers.{NAME}]", *lines]) + "\n"


def _command() -> str:
    """This very program, by its full path: hosts do not start servers from a login shell."""
    started = Path(sys.argv[0])
    if started.name.startswith(NAME) and started.exists():
        return str(started.absolute())
    return shutil.which(NAME) or NAME
