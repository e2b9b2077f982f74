"""Who has no good token gets in nowhere, whatever it sends; who has one is its agent and nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from agent_messaging import AgentMessaging
from tests.conftest import connect
from tests.mcp_server.forged import Attempt, misshapen, smuggled
from tests.mcp_server.forged_jwts import forged
from tests.mcp_server.issuing import AUDIENCE, KEYS_PATH, METADATA_PATH, Issuer, issuing, jwt_of, new_key, signer
from tests.mcp_server.serving import config_of, serving, tokens_of
from tests.mcp_server.wire import Answer, Wire, bearer, head_of, initialize, legacy, modern
from tests.promises import kept

SEND = {"name": "send", "arguments": {"to": "bob", "message": "I am in."}}

Route = tuple[str, str, tuple[list[tuple[str, str]], bytes]]


def routes(session: str, sse_path: str) -> list[Route]:
    """Everything that needs a token, with requests that would be taken: a session and an SSE connection are open."""
    headers, body = legacy("tools/call", SEND)
    in_session = [*headers, ("Mcp-Session-Id", session)]
    return [
        ("POST", "/mcp", modern("tools/call", SEND)),
        ("POST", "/mcp", initialize()),
        ("POST", "/mcp", (in_session, body)),
        ("GET", "/mcp", (in_session, b"")),
        ("DELETE", "/mcp", (in_session, b"")),
        ("GET", "/sse", ([("Accept", "text/event-stream")], b"")),
        ("POST", sse_path, (headers, body)),
    ]


async def tried(wire: Wire, route: Route, attempt: Attempt) -> Answer:
    method, path, (headers, body) = route
    if method == "POST" and attempt.body is not None:
        body = attempt.body
        headers = [(name, attempt.body_type if name == "Content-Type" else value) for name, value in headers]
    if attempt.query:
        path += ("&" if "?" in path else "?") + attempt.query
    if not attempt.trailer or method != "POST":
        return await wire.request(method, path, [*attempt.headers, *headers], body)
    framing = [("Host", f"127.0.0.1:{wire.port}"), ("Transfer-Encoding", "chunked"), ("Connection", "close")]
    chunks = b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(body), body, attempt.trailer)
    return await wire.raw(head_of(method, path, [*headers, *framing]) + chunks)


def is_refused(answer: Answer, attempt: Attempt) -> bool:
    if not attempt.is_http:  # cut off, or refused by the parser
        return answer.status in (0, 400, 401, 431)
    if answer.status == 400:
        return answer.text == "A header is given twice."
    return answer.status == 401 and answer.headers["www-authenticate"].startswith("Bearer ")


async def storm(dsn: str, wire: Wire, tokens: Mapping[str, str], attempts: Mapping[str, Attempt]) -> int:
    """Try everything everywhere; gives how many were tried. Nobody gets in, and nothing is left of it."""
    count = 0
    session = await wire.session(tokens["alice"])
    async with wire.sse(tokens["alice"]) as sse, connect(dsn) as database:
        everywhere = routes(session, sse.path)
        for name, attempt in attempts.items():
            for route in everywhere:
                answer = await tried(wire, route, attempt)
                assert is_refused(answer, attempt), (name, route[:2], answer)
                assert not any(token in answer.text for token in tokens.values())
                count += 1
        assert await database.fetchval("SELECT count(*) FROM messages") == 0
        # It is the token that was missing: with one, each of the same requests is taken.
        for (method, path, (headers, body)), status in zip(
            everywhere, (200, 200, 200, 200, 200, 200, 202), strict=True
        ):
            answer = await wire.request(method, path, [bearer(tokens["alice"]), *headers], body)
            assert answer.status == status, (method, path, answer)
    return count


async def ended_tokens(sdk: AgentMessaging[Any]) -> tuple[str, str]:
    """One that was revoked, and one that has expired."""
    revoked = await sdk.tokens.create("alice")
    await sdk.tokens.revoke(revoked.info.prefix)
    expired = await sdk.tokens.create("alice", expires_in=0.05)
    with anyio.fail_after(90):
        while await sdk.tokens.verify(expired.token) is not None:  # noqa: ASYNC110 - the database's clock tells nobody
            await asyncio.sleep(0.02)
    return revoked.token, expired.token


@pytest.mark.requirement("mcp:edge:tokens")
async def test_without_a_good_token_nobody_gets_in(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob")
    async with AgentMessaging[Any](config_of(dsn)) as sdk:
        revoked, expired = await ended_tokens(sdk)
        ids = [str((await sdk.get_agent("alice")).id), *(str(token.id) for token in await sdk.tokens.list("alice"))]
        good, other = tokens["alice"], tokens["bob"]
        attempts = smuggled(good, other) | misshapen(good, other, revoked, expired, ids)
        async with serving(dsn) as served:
            count = await storm(dsn, Wire(served.address), tokens, attempts)
            assert good not in served.log
        assert (await sdk.tokens.verify(good)) is not None
    kept("R15", f"{len(attempts)} crafted headers and tokens on 7 routes", tried=count)
    assert len(attempts) >= 60
    assert count == 7 * len(attempts)


@pytest.mark.requirement("mcp:edge:jwts")
async def test_a_jwt_that_is_not_the_issuers_or_not_for_this_server_gets_nobody_in(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob")
    async with issuing("RS256", "ES256", "EdDSA") as issuer:
        shared = {"kty": "oct", "kid": "shared", "k": "cHVibGlzaGVkIGJ5IG1pc3Rha2UsIDMyIGJ5dGVz", "alg": "HS256"}
        publish(issuer, shared)
        attempts = {name: Attempt([bearer(token)]) for name, token in forged(issuer).items()}
        async with serving(dsn, OAUTH_ISSUER=issuer.url, OAUTH_AUDIENCE=AUDIENCE) as served:
            wire = Wire(served.address)
            count = await storm(dsn, wire, tokens, attempts)
            # The very same claims, unharmed, are taken.
            assert (await wire.tool(issuer.token("rs256"), "list_agents", {}))["structuredContent"]["you"] == "alice"
        assert set(issuer.asked) <= {METADATA_PATH, KEYS_PATH}, "a key was fetched from where a token said"
    kept("R15", f"{len(attempts)} crafted JWTs on 7 routes", tried=count)
    assert len(attempts) >= 60


def publish(issuer: Issuer, *more: Mapping[str, Any]) -> None:
    """Publish these keys too."""
    issuer.pages[KEYS_PATH] = json.dumps({"keys": [*map(issuer.public, issuer.keys), *more]}).encode()


@pytest.mark.requirement("mcp:edge:jwts")
async def test_without_an_issuer_no_jwt_is_looked_at(dsn: str) -> None:
    await tokens_of(dsn, "alice")
    async with issuing("RS256") as issuer, serving(dsn) as served:
        answer = await Wire(served.address).call(issuer.token("rs256"), "tools/call", SEND)
        assert answer.status == 401
        assert not issuer.asked


@pytest.mark.requirement("mcp:identity:token")
async def test_whoever_has_a_good_token_is_its_agent(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob", "carol/3@home")
    algorithms = ("RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA")
    async with issuing(*algorithms) as issuer:
        later = {"aud": [AUDIENCE, "account"]}
        good = {
            **{f"{kid} for {agent}": (issuer.for_agent(agent, kid), agent) for kid in issuer.keys for agent in tokens},
            "a list of audiences": (issuer.token("rs256", issuer.claims("bob", **later)), "bob"),
            "no date of issue": (issuer.token("rs256", issuer.claims("bob", iat=None)), "bob"),
            "an access token": (issuer.token("es256", issuer.claims("bob", scope="x"), typ="at+jwt"), "bob"),
            "a token of this server": (tokens["bob"], "bob"),
        }
        async with serving(dsn, OAUTH_ISSUER=issuer.url, OAUTH_AUDIENCE=AUDIENCE) as served:
            wire = Wire(served.address)
            for name, (token, agent) in good.items():
                result = await wire.tool(token, "list_agents", {})
                assert result["structuredContent"]["you"] == agent, name
            expired = issuer.token("rs256", issuer.claims("bob", exp=issuer.claims()["iat"]))
            assert (await wire.call(expired, "tools/list")).status == 200, "clocks differ by a few seconds"
            for scheme in ("bearer", "BEARER", "Bearer ", "bEaReR"):
                header = ("authorization", f"{scheme} {tokens['bob']}")
                headers, body = modern("tools/call", {"name": "list_agents", "arguments": {}})
                answer = await wire.request("POST", "/mcp", [header, *headers], body)
                assert answer.message()["result"]["structuredContent"]["you"] == "bob", scheme
            # A lot of agents at once: none is taken for another.
            mixed = [value for value in good.values() for _ in range(3)]
            answers = await asyncio.gather(*(wire.tool(token, "list_agents", {}) for token, _ in mixed))
            assert [answer["structuredContent"]["you"] for answer in answers] == [agent for _, agent in mixed]


@pytest.mark.requirement("mcp:edge:keys")
async def test_unknown_keys_are_not_asked_for_again_and_again(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice")
    async with issuing("RS256") as issuer, serving(dsn, OAUTH_ISSUER=issuer.url, OAUTH_AUDIENCE=AUDIENCE) as served:
        wire = Wire(served.address)
        began = asyncio.get_running_loop().time()
        # All the first ones at once: whoever comes while the keys are fetched waits for them.
        first = [wire.call(issuer.for_agent("alice", "rs256"), "tools/list") for _ in range(10)]
        assert [answer.status for answer in await asyncio.gather(*first)] == [200] * 10
        assert issuer.asked[KEYS_PATH] == 1
        mine, claims = signer("RS256", new_key("RS256")), issuer.claims()
        unknown = [jwt_of({"alg": "RS256", "kid": f"unknown-{number}"}, claims, mine) for number in range(100)]
        for some in range(0, 100, 10):
            tries = [wire.call(token, "tools/list") for token in unknown[some : some + 10]]
            assert {answer.status for answer in await asyncio.gather(*tries)} == {401}
        took = asyncio.get_running_loop().time() - began
        assert issuer.asked[KEYS_PATH] <= 1 + took // 10, f"in {took:.1f} s"
        # Nor do they lock anybody out.
        assert (await wire.call(issuer.for_agent("alice", "rs256"), "tools/list")).status == 200
        assert (await wire.call(tokens["alice"], "tools/list")).status == 200


@pytest.mark.requirement("mcp:edge:challenge")
async def test_a_refusal_says_where_tokens_come_from(dsn: str) -> None:
    public = "https://agents.example.org/mcp"
    metadata = "/.well-known/oauth-protected-resource/mcp"
    async with issuing("RS256") as issuer:
        environment = {"OAUTH_ISSUER": issuer.url, "OAUTH_AUDIENCE": AUDIENCE}
        async with serving(dsn, AGENT_MESSAGING_PUBLIC_URL=public, **environment) as served:
            wire = Wire(served.address)
            for method, path in (("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("GET", "/sse")):
                refused = await wire.request(method, path)
                assert refused.status == 401
                challenge = refused.headers["www-authenticate"]
                assert f'resource_metadata="https://agents.example.org{metadata}"' in challenge
            told = (await wire.request("GET", metadata)).message()
            assert told["resource"] == public
            assert [server.rstrip("/") for server in told["authorization_servers"]] == [issuer.url]
            assert told["bearer_methods_supported"] == ["header"]
        async with serving(dsn) as served:
            wire = Wire(served.address)
            refused = await wire.request("POST", "/mcp")
            assert refused.status == 401
            assert refused.headers["www-authenticate"].startswith("Bearer ")
            assert "resource_metadata" not in refused.headers["www-authenticate"]
            assert (await wire.request("GET", metadata)).status == 401


@pytest.mark.requirement("mcp:edge:streams")
async def test_a_stream_that_nobody_could_read_is_not_opened(dsn: str) -> None:
    token = (await tokens_of(dsn, "alice"))["alice"]
    async with serving(dsn) as served:
        wire = Wire(served.address)
        headers = [bearer(token), ("Mcp-Session-Id", await wire.session(token)), ("Accept", "text/event-stream")]
        for path in ("/sse", "/mcp", "/messages/"):
            assert (await wire.request("HEAD", path, headers)).status == 405, path
            assert (await wire.request("HEAD", path)).status == 401, path
