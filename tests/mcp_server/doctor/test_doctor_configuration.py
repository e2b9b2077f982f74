"""What the doctor says of variables, addresses, names and issuers."""

from __future__ import annotations

import pytest

from agent_messaging_mcp.doctor.findings import Check, Finding, Result
from tests.mcp_server.doctor.examining import (
    NEEDS_DATABASE,
    NOWHERE,
    SECRET,
    Examine,
    listening,
    page,
    told,
)


@pytest.mark.requirement("doctor:configuration")
async def test_every_variable_that_cannot_be_used_is_named(examined: Examine) -> None:
    found = await examined(
        MAX_POOL_SIZE="many", POSTGRES_PORT="x", AGENT_MESSAGING_PORT="99999", OAUTH_ISSUER="https://issuer.example"
    )
    told(found[Check.CONFIGURATION], Result.FAILING, "MAX_POOL_SIZE:", "POSTGRES_PORT:", "docs/configuration.md")
    told(found[Check.CONFIGURATION], Result.FAILING, "AGENT_MESSAGING_PORT:", "unset")
    for check in (*NEEDS_DATABASE, Check.DATABASE, Check.ISSUER, Check.EDGE):
        told(found[check], Result.SKIPPED, "the configuration cannot be used")


@pytest.mark.requirement("doctor:configuration")
async def test_an_issuer_without_an_audience_is_named(dsn: str, examined: Examine) -> None:
    found = await examined(DATABASE_URL=dsn, OAUTH_ISSUER="https://issuer.example")
    told(found[Check.CONFIGURATION], Result.FAILING, "OAUTH_ISSUER and OAUTH_AUDIENCE belong together", "Correct")
    told(found[Check.DATABASE], Result.OK)


@pytest.mark.requirement("doctor:configuration")
async def test_a_misspelled_variable_is_named_with_the_right_one(dsn: str, examined: Examine) -> None:
    found = await examined(DATABASE_URL=dsn, POSTGRES_HOST="elsewhere", AGENT_MESSAGING_ALLOWED_HOST="agents.example")
    told(
        found[Check.CONFIGURATION],
        Result.WARNING,
        "POSTGRES_HOST not used: DATABASE_URL wins",
        "nobody reads AGENT_MESSAGING_ALLOWED_HOST",
        "Rename AGENT_MESSAGING_ALLOWED_HOST to AGENT_MESSAGING_ALLOWED_HOSTS",
    )


@pytest.mark.requirement("doctor:secrets")
@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://app:12/{SECRET}@127.0.0.1:1/agents",
        f"postgresql://app:12#{SECRET}@127.0.0.1:1/agents",
        f"postgresql://app:12?{SECRET}@127.0.0.1:1/agents",
        f"postgresql://app:p@{SECRET}@127.0.0.1:1/agents",
        f"postgresql://app:p@12/{SECRET}@127.0.0.1:1/agents",
        f"postgresql://app:p@12?{SECRET}@127.0.0.1:1/agents",
        f"postgresql://app:{SECRET}/x@127.0.0.1:1/agents",
        f"postgresql://app:[{SECRET}]@127.0.0.1:1/agents",
        f"postgresql://app:x]{SECRET}[@127.0.0.1:1/agents",
        f"{SECRET}://app:{SECRET}@127.0.0.1:1/agents",
        f"postgresql://127.0.0.1:1/agents?user=app&password={SECRET}",
        f"postgresql://127.0.0.1:1/agents?sslmode={SECRET}",
    ],
)
@pytest.mark.parametrize("variable", ["DATABASE_URL", "LISTEN_DATABASE_URL"])
async def test_no_part_of_a_password_is_printed_however_it_tears_the_address(
    address: str, variable: str, dsn: str, examined: Examine
) -> None:
    found = await examined(**{"DATABASE_URL": dsn, variable: address})  # which looks for the secret in every finding

    assert Result.FAILING in {finding.result for finding in found.values()}
    if found[Check.CONFIGURATION].result is Result.FAILING:
        told(found[Check.CONFIGURATION], Result.FAILING, variable, "%2F")


@pytest.mark.requirement("doctor:configuration")
@pytest.mark.parametrize("password", ["p@ss", "12/ss", "12#ss", "12?ss"])
async def test_a_password_that_must_be_escaped_is_told_before_anything_is_connected_to(
    password: str, examined: Examine
) -> None:
    found = await examined(DATABASE_URL=f"postgresql://app:{password}@127.0.0.1:1/agents")
    told(found[Check.CONFIGURATION], Result.FAILING, "DATABASE_URL: its password holds a sign", "@ as %40")
    told(found[Check.DATABASE], Result.SKIPPED, "the configuration cannot be used")


@pytest.mark.requirement("doctor:issuer")
async def test_the_keys_of_an_issuer_are_looked_for_where_a_server_would_look(dsn: str, examined: Examine) -> None:
    keys = page({"keys": [{"kty": "RSA"}]})

    async with listening(lambda asked: page(metadata) if b"well-known" in asked else keys) as port:
        issuer = f"http://127.0.0.1:{port}"
        metadata = {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}
        found = await examined(DATABASE_URL=dsn, OAUTH_ISSUER=issuer, OAUTH_AUDIENCE="agents")
        told(found[Check.ISSUER], Result.OK, issuer, "1 key", f"{issuer}/keys")
        metadata["issuer"] = "http://127.0.0.1/another"
        found = await examined()
        told(found[Check.ISSUER], Result.FAILING, "of another issuer", "OAUTH_JWKS_URL")
        found = await examined(OAUTH_JWKS_URL=f"{issuer}/keys")
        told(found[Check.ISSUER], Result.OK, "1 key")
    told(await issuer_of(examined, port), Result.FAILING, "could not be reached", "OAUTH_JWKS_URL")
    for answer, words in [
        (page({}, "503 Away"), "status 503"),
        (page({}), "no keys"),
        (page([]), "JSON object"),
        (page({})[:-2] + b"x}", "JSON"),
    ]:
        async with listening(lambda _, answer=answer: answer) as port:
            told(await issuer_of(examined, port), Result.FAILING, words, "OAUTH_JWKS_URL")


async def issuer_of(examined: Examine, port: int) -> Finding:
    return (await examined(DATABASE_URL=NOWHERE, OAUTH_JWKS_URL=f"http://127.0.0.1:{port}/keys"))[Check.ISSUER]


@pytest.mark.requirement("doctor:edge")
@pytest.mark.parametrize(
    ("host", "names", "result", "words"),
    [
        ("127.0.0.2", "", Result.OK, "for this machine alone"),
        ("::1", "", Result.OK, "for this machine alone"),
        ("0.0.0.0", "agents.example, other.example:8443", Result.OK, "agents.example and other.example:8443"),  # noqa: S104
        ("0.0.0.0", "", Result.FAILING, "--allowed-host"),  # noqa: S104
        ("agents.example", "", Result.FAILING, "AGENT_MESSAGING_ALLOWED_HOSTS="),
        ("127.0.0.1", "https://agents.example/mcp", Result.FAILING, "without scheme"),
    ],
)
async def test_serving_beyond_this_machine_needs_names_that_can_match(
    host: str, names: str, result: Result, words: str, examined: Examine
) -> None:
    found = await examined(DATABASE_URL=NOWHERE, AGENT_MESSAGING_HOST=host, AGENT_MESSAGING_ALLOWED_HOSTS=names)
    told(found[Check.EDGE], result, words)
