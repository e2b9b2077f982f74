"""Requests that a page of another origin, or a name that was bound to this machine, makes a browser send."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from agent_messaging_mcp.cli import main
from agent_messaging_mcp.http.edge import Address, address_of
from agent_messaging_mcp.settings import Settings
from tests.conftest import connect
from tests.mcp_server.foreign_hosts import HOSTS, ORIGINS, Lines
from tests.mcp_server.serving import serving_many, tokens_of
from tests.mcp_server.wire import Answer, Wire, bearer, initialize, modern
from tests.promises import kept

SEND = {"name": "send", "arguments": {"to": "bob", "message": "I am in."}}
REFUSED = {400, 403, 421}
WORDS = ("does not answer for that host", "Pages of that origin", "given twice", "Invalid HTTP request")

ROUTES = (
    ("POST", "/mcp"),
    ("GET", "/mcp"),
    ("DELETE", "/mcp"),
    ("OPTIONS", "/mcp"),
    ("GET", "/sse"),
    ("POST", "/messages/?session_id=00000000000000000000000000000000"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/.well-known/oauth-protected-resource/mcp"),
    ("GET", "/nothing"),
)
# What is open to everybody is refused to a page all the same.
OPEN = [("GET", "/healthz"), ("GET", "/readyz")]


async def tried(wire: Wire, token: str, route: tuple[str, str], lines: Lines, version: bytes = b"1.1") -> Answer:
    """A call that would be taken, but for its Host and Origin."""
    method, path = route
    headers, body = modern("tools/call", SEND) if route == ("POST", "/mcp") else ([], b"")
    head = [
        b"%s %s HTTP/%s" % (method.encode(), path.encode(), version),
        *(line.replace(b"$HERE", b"127.0.0.1:$PORT").replace(b"$PORT", b"%d" % wire.port) for line in lines),
        *(f"{name}: {value}".encode() for name, value in [bearer(token), *headers]),
        *([b"Content-Length: %d" % len(body)] if method == "POST" else []),
        b"Connection: close",
    ]
    return await wire.raw(b"\r\n".join([*head, b"", body]))


ALLOWED = {
    "AGENT_MESSAGING_ALLOWED_HOSTS": "agents.example.org, exact.example.org:8443, any.example.org:*",
    "AGENT_MESSAGING_ALLOWED_ORIGINS": "https://app.example.org, http://tool.example.org:3000",
    "AGENT_MESSAGING_PUBLIC_URL": "https://agents.example.org/mcp",
    "OAUTH_ISSUER": "https://issuer.example.org",
    "OAUTH_AUDIENCE": "https://agents.example.org/mcp",
}


@pytest.fixture(scope="module")
def at_home(module_dsn: str) -> Iterator[Wire]:
    """A server that is meant for this machine alone."""
    with serving_many(module_dsn) as served:
        yield Wire(served.address)


@pytest.fixture(scope="module")
def abroad(module_dsn: str) -> Iterator[Wire]:
    """A server that has other names too, and pages that may call it."""
    with serving_many(module_dsn, **ALLOWED) as served:
        yield Wire(served.address)


async def messages(dsn: str) -> int:
    async with connect(dsn) as connection:
        return await connection.fetchval("SELECT count(*) FROM messages")


@pytest.mark.requirement("mcp:edge:hosts")
@pytest.mark.requirement("mcp:edge:origins")
@pytest.mark.parametrize("allowed", [False, True], ids=["loopback", "more-allowed"])
async def test_no_page_of_another_origin_gets_in_on_any_route(
    module_dsn: str, allowed: bool, request: pytest.FixtureRequest
) -> None:
    wire: Wire = request.getfixturevalue("abroad" if allowed else "at_home")
    tokens = await tokens_of(module_dsn, "alice", "bob")
    before = await messages(module_dsn)
    near = {
        "below an allowed host": [b"Host: evil.agents.example.org"],
        "above an allowed host": [b"Host: example.org"],
        "an allowed host that goes on": [b"Host: agents.example.org.evil.org"],
        "an allowed host without its dots": [b"Host: agents-example-org"],
        "another port of an exact host": [b"Host: exact.example.org:8444"],
        "no port of an exact host": [b"Host: exact.example.org"],
        "an allowed origin as the host": [b"Host: app.example.org"],
        "an allowed origin without TLS": [b"Host: $HERE", b"Origin: http://app.example.org"],
        "another port of an allowed origin": [b"Host: $HERE", b"Origin: https://app.example.org:444"],
        "no port of an allowed origin": [b"Host: $HERE", b"Origin: http://tool.example.org"],
        "a page of another port of an exact host": [b"Host: $HERE", b"Origin: https://exact.example.org"],
    }
    pairs = {**HOSTS, **ORIGINS, **(near if allowed else {})}
    count = 0
    for name, lines in pairs.items():
        for route in ROUTES:
            answer = await tried(wire, tokens["alice"], route, lines)
            assert answer.status in REFUSED, (name, route, answer)
            assert any(words in answer.text for words in WORDS), (name, route, answer)
            count += 1
    assert await messages(module_dsn) == before
    kept("R15", f"{len(pairs)} Host/Origin pairs on {len(ROUTES)} routes", tried=count)
    assert len(pairs) >= 40
    assert count >= 40 * len(ROUTES)


@pytest.mark.requirement("mcp:edge:hosts")
async def test_no_other_way_to_name_a_host_gets_in(module_dsn: str, at_home: Wire) -> None:
    """What no HTTP client sends: HTTP/1.0 without a host, and an address where the path belongs."""
    tokens = await tokens_of(module_dsn, "alice", "bob")
    wire, before, count = at_home, await messages(module_dsn), 0
    for route in ROUTES:
        for lines in ([], [b"Host: evil.org"], [b"Host: $HERE", b"Host: evil.org"], [b"Host: "]):
            answer = await tried(wire, tokens["alice"], route, lines, b"1.0")
            assert answer.status in REFUSED, (route, lines, answer)
            count += 1
    for method, path in ROUTES:
        for target in (f"http://evil.org{path}", f"http://localhost@evil.org{path}", f"//evil.org{path}"):
            answer = await tried(wire, tokens["alice"], (method, target), [b"Host: $HERE"])
            assert answer.status in {*REFUSED, 404}, (target, answer)
            count += 1
        answer = await tried(wire, tokens["alice"], (method, f"http://localhost{path}"), [b"Host: evil.org"])
        assert answer.status in {*REFUSED, 404}, (path, answer)
        count += 1
    assert (await tried(wire, tokens["alice"], ("CONNECT", "evil.org:443"), [b"Host: evil.org"])).status in REFUSED
    assert await messages(module_dsn) == before
    kept("R15", "requests that no client makes", tried=count + 1)


@pytest.mark.requirement("mcp:edge:allowed")
async def test_whoever_is_meant_gets_in(module_dsn: str, abroad: Wire) -> None:
    """The same calls, with the names that are allowed: so it is the names that the others are refused for."""
    tokens = await tokens_of(module_dsn, "alice", "bob")
    before, wire = await messages(module_dsn), abroad
    local = {
        "by address": [b"Host: $HERE"],
        "by name": [b"Host: localhost:$PORT"],
        "without a port": [b"Host: localhost"],
        "another port": [b"Host: localhost:1"],
        "by IPv6 address": [b"Host: [::1]:$PORT"],
        "in capitals": [b"Host: LOCALHOST:$PORT"],
        "in mixed case": [b"Host: LocalHost"],
        "with the dot of a full name": [b"Host: localhost.:$PORT"],
        "a page of this machine": [b"Host: $HERE", b"Origin: http://localhost:3000"],
        "a page of this address": [b"Host: localhost", b"Origin: http://127.0.0.1"],
        "a page of this machine over TLS": [b"Host: $HERE", b"Origin: https://localhost"],
        "a page of its IPv6 address": [b"Host: $HERE", b"Origin: http://[::1]:5173"],
        "what a proxy says": [b"Host: $HERE", b"X-Forwarded-Host: evil.org", b"X-Forwarded-For: 1.2.3.4"],
    }
    remote = {
        "an allowed host": [b"Host: agents.example.org"],
        "any port of it": [b"Host: agents.example.org:1234"],
        "an allowed host in capitals": [b"Host: AGENTS.Example.ORG"],
        "an exact host": [b"Host: exact.example.org:8443"],
        "a host with any port": [b"Host: any.example.org:99"],
        "a host with no port": [b"Host: any.example.org"],
        "a page of an allowed host": [b"Host: agents.example.org", b"Origin: https://agents.example.org"],
        "a page of an exact host": [b"Host: $HERE", b"Origin: https://exact.example.org:8443"],
        "an allowed page": [b"Host: $HERE", b"Origin: https://app.example.org"],
        "an allowed page with its port": [b"Host: $HERE", b"Origin: https://app.example.org:443"],
        "a page with an allowed port": [b"Host: $HERE", b"Origin: http://tool.example.org:3000"],
    }
    for name, lines in {**local, **remote}.items():
        sent = await tried(wire, tokens["alice"], ("POST", "/mcp"), lines)
        assert sent.status == 200, (name, sent)
        assert sent.message()["result"]["structuredContent"]["status"] == "sent"
        for route in OPEN:
            assert (await tried(wire, tokens["alice"], route, lines)).status == 200, (name, route)
        assert (await tried(wire, tokens["alice"], ("GET", "/sse"), lines)).status == 200, name
        assert (await tried(wire, tokens["alice"], ("GET", "/nothing"), lines)).status == 404, name
    assert await messages(module_dsn) == before + len(local) + len(remote)


@pytest.mark.requirement("mcp:edge:hosts")
async def test_a_session_of_the_2025_era_is_no_way_around(module_dsn: str, at_home: Wire) -> None:
    tokens = await tokens_of(module_dsn, "alice")
    wire = at_home
    headers, body = initialize()
    opened = await wire.request("POST", "/mcp", [bearer(tokens["alice"]), *headers], body)
    session = ("Mcp-Session-Id", opened.headers["mcp-session-id"])
    for method in ("POST", "GET", "DELETE"):
        for wrong in ({"host": "evil.org"}, {"host": f"localhost.evil.org:{wire.port}"}):
            given = [bearer(tokens["alice"]), *headers, session]
            assert (await wire.request(method, "/mcp", given, body, **wrong)).status == 421
        given = [bearer(tokens["alice"]), *headers, session, ("Origin", "http://evil.org")]
        assert (await wire.request(method, "/mcp", given, body)).status == 403
    # It was not even ended.
    assert (await wire.request("GET", "/mcp", [bearer(tokens["alice"]), *headers, session])).status == 200


@pytest.mark.requirement("mcp:edge:hosts")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost", Address("localhost", None)),
        ("LocalHost.:80", Address("localhost", 80)),
        ("[::1]:0", Address("[::1]", 0)),
        ("my_service:8765", Address("my_service", 8765)),
        ("a" * 60_000 + "!", None),
        ("[::1]x", None),
        ("x[::1]", None),
        ("[v1.localhost]", None),
        ("localhost\n", None),
        ("localhost\r\nx", None),
        ("\N{KELVIN SIGN}", None),
        ("localhost:\N{ARABIC-INDIC DIGIT THREE}", None),
        ("localhost:1_0", None),
        ("localhost:+1", None),
        ("", None),
    ],
)
def test_an_address_is_read_whole_or_not_at_all(text: str, address: Address | None) -> None:
    assert address_of(text) == address


@pytest.mark.requirement("mcp:edge:beyond-loopback")
async def test_serving_other_machines_without_saying_their_name_for_it_is_refused(empty_dsn: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent_messaging_mcp", "serve", "--port", "0", "--host", "0.0.0.0"),  # noqa: S104 - refused
        env={"DATABASE_URL": empty_dsn, "PATH": os.environ.get("PATH", "")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(90):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 1
    assert said.decode().startswith(
        "Error: listening on 0.0.0.0 is for other machines: name what they call this server"
    )
    assert "--allowed-host" in said.decode()
    assert "Listening" not in said.decode()


@pytest.fixture
def settings_served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the command would serve with, instead of serving."""
    served: list[Settings] = []
    # As a module: the package has the command itself under this name.
    monkeypatch.setattr(sys.modules["agent_messaging_mcp.cli.serve"], "_serve", served.append)
    return served


@pytest.mark.requirement("mcp:edge:beyond-loopback")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "agents.example.org", ""])  # noqa: S104 - refused
@pytest.mark.parametrize("by", ["option", "environment"])
def test_whatever_is_beyond_loopback_needs_an_allowed_host(
    host: str, by: str, settings_served: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "environment":
        monkeypatch.setenv("AGENT_MESSAGING_HOST", host)
    result = CliRunner().invoke(main, ["serve", *(["--host", host] if by == "option" else [])])
    if by == "environment" and not host:  # an empty variable is none
        assert [settings.host for settings in settings_served] == ["127.0.0.1"]
        return
    assert result.exit_code == 1
    assert "--allowed-host" in result.output
    assert settings_served == []


@pytest.mark.requirement("mcp:edge:beyond-loopback")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_none(host: str, settings_served: list[Settings]) -> None:
    assert CliRunner().invoke(main, ["serve", "--host", host]).exit_code == 0
    assert [settings.host for settings in settings_served] == [host]


@pytest.mark.requirement("mcp:edge:beyond-loopback")
def test_names_and_pages_are_given_as_options_too(settings_served: list[Settings]) -> None:
    options = ["--host", "0.0.0.0", "--allowed-host", "a.example.org", "--allowed-host", "b.example.org:8443"]  # noqa: S104
    result = CliRunner().invoke(main, ["serve", *options, "--allowed-origin", "https://app.example.org"])
    assert result.exit_code == 0, result.output
    [settings] = settings_served
    assert settings.allowed_hosts == ("a.example.org", "b.example.org:8443")
    assert settings.allowed_origins == ("https://app.example.org",)
