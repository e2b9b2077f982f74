"""The doctor: everything it finds is made to happen, and for everything it finds it says what to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from agent_messaging_db import diagnosis
from agent_messaging_mcp.doctor.findings import Check, Result
from tests.conftest import connect
from tests.mcp_server.doctor.examining import (
    NEEDS_DATABASE,
    NOWHERE,
    SECRET,
    Examine,
    told,
)
from tests.mcp_server.test_cli import run
from tests.protocol.world import opened, register, row_counts


@pytest.mark.requirement("doctor:healthy")
async def test_a_sound_installation_passes_every_check_and_says_where_its_database_comes_from(
    dsn: str, examined: Examine
) -> None:
    found = await examined(DATABASE_URL=dsn)

    assert {finding.result for finding in found.values()} == {Result.OK}, found
    told(found[Check.CONFIGURATION], Result.OK, "DATABASE_URL:", urlsplit(dsn).path[1:])
    told(found[Check.DATABASE], Result.OK, "a round trip takes")
    told(found[Check.WAKEUPS], Result.OK, "median of 10")
    told(found[Check.POOLER], Result.OK, "PostgreSQL itself")


@pytest.mark.requirement("doctor:command")
def test_the_command_prints_a_line_a_check_and_its_exit_code_says_whether_something_fails(dsn: str) -> None:
    sound = run("doctor", DATABASE_URL=dsn)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert [line.split()[:2] for line in sound.stdout.splitlines()] == [["ok", check.value] for check in Check]

    ill = run("doctor", DATABASE_URL=NOWHERE)
    assert (ill.returncode, ill.stderr) == (1, "")
    lines = ill.stdout.splitlines()
    assert [line for line in lines if line.startswith("failing")] == [lines[1]]
    assert lines[2].strip().startswith("do: Start PostgreSQL")


@pytest.mark.requirement("doctor:json")
def test_with_json_it_prints_one_document(dsn: str) -> None:
    sound = run("doctor", "--json", DATABASE_URL=dsn)
    document = json.loads(sound.stdout)
    assert (sound.returncode, document["fails"]) == (0, False)
    assert [check["check"] for check in document["checks"]] == [check.value for check in Check]
    assert {tuple(check) for check in document["checks"]} == {("check", "result", "found", "do")}

    ill = run("doctor", "--json", DATABASE_URL=NOWHERE)
    document = json.loads(ill.stdout)
    assert (ill.returncode, document["fails"]) == (1, True)
    assert {check["result"] for check in document["checks"]} == {"ok", "failing", "skipped"}
    assert SECRET not in ill.stdout


@pytest.mark.requirement("doctor:read-only")
async def test_an_examination_changes_neither_schema_nor_rows(empty_dsn: str, dsn: str, examined: Examine) -> None:
    before = await row_counts(dsn)
    await examined(DATABASE_URL=dsn)
    assert await row_counts(dsn) == before

    await examined(DATABASE_URL=empty_dsn, AUTO_MIGRATE="true")
    async with connect(empty_dsn) as connection:
        assert await connection.fetch("SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


@pytest.mark.requirement("doctor:skipped")
async def test_what_needs_an_unreachable_database_is_skipped_and_everything_else_is_looked_at(
    examined: Examine,
) -> None:
    found = await examined(DATABASE_URL=NOWHERE)

    told(found[Check.DATABASE], Result.FAILING, "127.0.0.1:1", "nobody listens there", "pg_isready -h 127.0.0.1 -p 1")
    for check in NEEDS_DATABASE:
        told(found[check], Result.SKIPPED, "no database was reached")
    assert {found[check].result for check in (Check.CONFIGURATION, Check.ISSUER, Check.EDGE)} == {Result.OK}


@pytest.mark.requirement("doctor:tokens")
async def test_who_could_get_in_is_told_where_a_server_is_meant(dsn: str, examined: Examine) -> None:
    stdio = await examined(DATABASE_URL=dsn)
    told(stdio[Check.TOKENS], Result.OK, "0 agents, 0 valid tokens", "none is needed on stdio")
    serves = {"DATABASE_URL": dsn, "AGENT_MESSAGING_HOST": "127.0.0.1"}
    found = await examined(**serves)
    told(found[Check.TOKENS], Result.WARNING, "nobody could call", "`agent-messaging agent create ID`")

    async with opened(dsn) as sdk:
        await register(sdk, "alice")
        found = await examined(**serves)
        told(found[Check.TOKENS], Result.FAILING, "let nobody in", "`agent-messaging token create alice`")

        await register(sdk, "bob")
        await sdk.tokens.create("alice")
        found = await examined(**serves)
        told(found[Check.TOKENS], Result.WARNING, "no valid token: bob", "`agent-messaging token create bob`")

        await sdk.tokens.create("bob", expires_in=6 * 86_400)
        found = await examined(**serves)
        told(found[Check.TOKENS], Result.WARNING, "within 7 days", "bob", "`agent-messaging token create bob`")

        await sdk.tokens.create("bob", expires_in=8 * 86_400)
        found = await examined(**serves)
        told(found[Check.TOKENS], Result.OK, "2 agents, 3 valid tokens")


@pytest.mark.requirement("doctor:tokens")
async def test_tokens_that_have_all_ended_are_told_even_where_no_server_is_meant(dsn: str, examined: Examine) -> None:
    async with opened(dsn) as sdk:
        await register(sdk, "alice")
        made = await sdk.tokens.create("alice")
        await sdk.tokens.revoke(made.info.prefix)
    found = await examined(DATABASE_URL=dsn)
    told(found[Check.TOKENS], Result.WARNING, "0 valid tokens (1 ended)", "`agent-messaging token create AGENT`")
    assert made.token not in str(found)


@pytest.mark.requirement("doctor:broken-check")
async def test_a_check_that_breaks_is_a_finding_and_the_others_are_made_all_the_same(
    dsn: str, examined: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(_: object) -> datetime:
        return datetime.now(UTC) / timedelta(1)  # type: ignore[operator]

    monkeypatch.setattr(diagnosis, "time", breaks)
    found = await examined(DATABASE_URL=dsn)
    told(found[Check.CLOCK], Result.FAILING, "could not be looked at (TypeError", "again")
    assert {finding.result for check, finding in found.items() if check is not Check.CLOCK} == {Result.OK}
