"""The doctor: everything it finds is made to happen, and for everything it finds it says what to do."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agent_messaging import Config
from agent_messaging_db import diagnosis, embedded, migrate, pool
from agent_messaging_db.diagnosis import Pooling, Server
from agent_messaging_db.embedded.layout import layout_of
from agent_messaging_mcp.doctor import reaching, wakeups
from agent_messaging_mcp.doctor.configuration import PREFIX
from agent_messaging_mcp.doctor.database import server_finding
from agent_messaging_mcp.doctor.examination import examine
from agent_messaging_mcp.doctor.findings import Check, Finding, Result
from agent_messaging_mcp.doctor.wakeups import pooler_finding
from agent_messaging_mcp.settings import Settings
from chaos.proxy import proxied
from tests.bus import running
from tests.conftest import connect, dsn_of, execute
from tests.db.pooler import pooled
from tests.mcp_server.test_cli import run
from tests.protocol.world import opened, register, row_counts

SECRET = "CanaryOfThePassword"
NOWHERE = f"postgresql://app:{SECRET}@127.0.0.1:1/agents"
NEEDS_DATABASE = (
    Check.SERVER,
    Check.ROLE,
    Check.CONNECTIONS,
    Check.SCHEMA,
    Check.WAKEUPS,
    Check.POOLER,
    Check.CLOCK,
    Check.TOKENS,
)

Examine = Callable[..., Awaitable[dict[Check, Finding]]]


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> Examine:
    """Examine the installation of this environment, and of no other variable of ours."""
    for name in (*Config.model_fields, "oauth_issuer", "oauth_audience", "oauth_jwks_url"):
        monkeypatch.delenv(name.upper(), raising=False)
    for name in (*Settings.model_fields, "data_dir"):
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)

    monkeypatch.setattr(wakeups, "IDLE", 0.2)
    # However slow the machine of these tests is, its database is sound.
    monkeypatch.setattr(wakeups, "SLOW", 5)
    monkeypatch.setattr(reaching, "FAR", 5)

    async def work(*, clock: Callable[[], float] = time.time, **environment: str) -> dict[Check, Finding]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        async with asyncio.timeout(90):
            findings = await examine(clock=clock)
        assert [finding.check for finding in findings] == list(Check)
        for finding in findings:
            assert finding.found
            assert bool(finding.do) == (finding.result in (Result.WARNING, Result.FAILING)), finding
            assert SECRET not in f"{finding.found} {finding.do}"
        return {finding.check: finding for finding in findings}

    return work


def told(finding: Finding, result: Result, *words: str) -> None:
    """The finding is this bad, and says these words; the last of them as what to do."""
    assert finding.result is result, finding
    for word in words[:-1]:
        assert word in finding.found, finding
    if words:
        assert words[-1] in (finding.do or finding.found), finding


def with_role(dsn: str, role: str) -> str:
    """The address that shows what this role, which cannot log in, would see."""
    return f"{dsn}{'&' if '?' in dsn else '?'}role={role}"


@pytest.fixture
async def role(server: str, database_prefix: str) -> AsyncGenerator[str]:
    """A role that may do nothing yet."""
    name = f"{database_prefix}_role"
    await execute(server, f"CREATE ROLE {name}")
    yield name
    await execute(server, f"DROP ROLE {name}")


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


@pytest.mark.requirement("doctor:database")
@pytest.mark.parametrize(
    ("ending", "words", "do"),
    [
        ("&pgbouncer=true", "parameter", "Take it out of DATABASE_URL"),
        ("&sslmode=nonsense", "the address cannot be used", "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
    ],
)
async def test_what_keeps_it_from_connecting_is_told_with_what_to_do(
    ending: str, words: str, do: str, dsn: str, examined: Examine
) -> None:
    address = dsn + (ending if "?" in dsn else ending.replace("&", "?", 1))
    found = await examined(DATABASE_URL=address)
    told(found[Check.DATABASE], Result.FAILING, words, do)


@pytest.mark.requirement("doctor:database")
async def test_a_database_that_is_not_there_is_told_by_its_name(server: str, examined: Examine) -> None:
    found = await examined(DATABASE_URL=dsn_of(server, "nothing_of_that_name"))
    told(found[Check.DATABASE], Result.FAILING, "no database nothing_of_that_name", "CREATE DATABASE nothing_of_that_n")


@pytest.fixture
def private_server(tmp_path: Path) -> Iterator[Path]:
    """A directory for a server whose files a test may change."""
    yield tmp_path / "data"
    embedded.stop(tmp_path / "data")


@asynccontextmanager
async def joined(directory: Path) -> AsyncGenerator[str]:
    """The address of the server of this directory."""
    share = await embedded.ensure(directory, linger=0)
    try:
        yield share.dsn
    finally:
        share.release()


@pytest.mark.requirement("doctor:database")
async def test_a_wrong_password_and_an_unknown_role_are_told_and_the_password_not_shown(
    private_server: Path, examined: Examine
) -> None:
    async with joined(private_server) as own:
        async with connect(own) as connection:
            await connection.execute("CREATE ROLE app LOGIN PASSWORD 'another'")
            put_first(layout_of(private_server).data / "pg_hba.conf", "local all app scram-sha-256")
            await connection.execute("SELECT pg_reload_conf()")
        directory = urlsplit(own).query
        found = await examined(DATABASE_URL=f"postgresql://app:{SECRET}@/agent_messaging?{directory}")
        told(found[Check.DATABASE], Result.FAILING, "the password of role app", "DATABASE_URL")
        found = await examined(DATABASE_URL=f"postgresql://stranger@/agent_messaging?{directory}")
        told(found[Check.DATABASE], Result.FAILING, "role stranger is not admitted", "pg_hba.conf")


def put_first(rules: Path, line: str) -> None:
    rules.write_text(f"{line}\n{rules.read_text()}")


@pytest.mark.requirement("doctor:database")
async def test_a_server_that_does_not_answer_and_one_without_tls_are_told_apart(
    examined: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "CONNECT_TIMEOUT", 0.5)
    async with listening(lambda _: b"") as silent:
        found = await examined(DATABASE_URL=f"postgresql://app@127.0.0.1:{silent}/agents?sslmode=disable")
    told(found[Check.DATABASE], Result.FAILING, "no answer", "firewall")
    async with listening(lambda _: b"N") as plain:
        found = await examined(DATABASE_URL=f"postgresql://app@127.0.0.1:{plain}/agents?sslmode=require")
    told(found[Check.DATABASE], Result.FAILING, "TLS", "sslmode=disable")


@asynccontextmanager
async def listening(answer: Callable[[bytes], bytes]) -> AsyncGenerator[int]:
    """The port of a server that answers whatever comes first with `answer`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await reader.read(4096)
            writer.write(answer(asked))
            await writer.drain()
            if answer(asked).startswith(b"HTTP"):
                return
            await reader.read()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.requirement("doctor:embedded")
async def test_an_embedded_database_is_not_made_by_looking_but_started_if_it_is_there(
    private_server: Path, examined: Examine
) -> None:
    found = await examined(AGENT_MESSAGING_DATA_DIR=str(private_server))
    told(found[Check.CONFIGURATION], Result.OK, "embedded", str(private_server))
    told(found[Check.DATABASE], Result.WARNING, "no embedded database yet", "`agent-messaging migrate`")
    told(found[Check.SCHEMA], Result.SKIPPED, "no database was reached")
    assert not layout_of(private_server).data.exists()

    async with joined(private_server) as own, connect(own) as connection:
        await migrate.migrate(connection)
    embedded.stop(private_server)
    found = await examined()
    assert {finding.result for finding in found.values()} == {Result.OK}, found


@pytest.mark.requirement("doctor:server")
async def test_a_standby_is_told(private_server: Path, examined: Examine) -> None:
    async with joined(private_server) as own, connect(own) as connection:
        await migrate.migrate(connection)
    embedded.stop(private_server)
    data = layout_of(private_server).data
    shutil.copy(data / "PG_VERSION", data / "standby.signal")
    shutil.chown(data / "standby.signal", (data / "PG_VERSION").stat().st_uid)
    async with joined(private_server) as standby:
        found = await examined(DATABASE_URL=standby)

    told(found[Check.SERVER], Result.FAILING, "standby", "target_session_attrs=read-write")
    told(found[Check.WAKEUPS], Result.FAILING, "LISTEN is refused", "primary")


@pytest.mark.requirement("doctor:server")
@pytest.mark.parametrize(
    ("setting", "words", "do"),
    [
        ("default_transaction_read_only = on", "read-only", "SET default_transaction_read_only = off"),
        ("synchronous_commit = off", "synchronous_commit is off", "SET synchronous_commit = on"),
    ],
)
async def test_a_setting_that_forbids_or_loses_writes_is_told(
    setting: str, words: str, do: str, dsn: str, server: str, examined: Examine
) -> None:
    await execute(server, f"ALTER DATABASE {urlsplit(dsn).path[1:]} SET {setting}")
    found = await examined(DATABASE_URL=dsn)
    told(found[Check.SERVER], Result.FAILING, words, do)


@pytest.mark.requirement("doctor:server")
async def test_a_server_that_is_too_old_is_told(dsn: str) -> None:
    async with diagnosis.reached(dsn) as link:
        here = await diagnosis.server(link)
    facts = {name: getattr(here, name) for name in Server.__slots__}
    told(
        server_finding(Server(**{**facts, "version": 13})), Result.FAILING, "PostgreSQL 13", "Upgrade PostgreSQL to 14"
    )
    told(server_finding(Server(**{**facts, "version": 14})), Result.OK)


@pytest.mark.requirement("doctor:role")
async def test_what_the_role_may_not_do_is_told_with_the_grant(dsn: str, role: str, examined: Examine) -> None:
    address = with_role(dsn, role)
    await execute(dsn, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    found = await examined(DATABASE_URL=address)
    told(found[Check.ROLE], Result.FAILING, role, "DELETE, INSERT and UPDATE", "agents", "GRANT SELECT, INSERT, UPDATE")

    await execute(dsn, f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    found = await examined(DATABASE_URL=address)
    told(found[Check.ROLE], Result.OK, role)
    told(found[Check.SCHEMA], Result.OK)

    await execute(dsn, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    found = await examined(DATABASE_URL=address)
    told(found[Check.ROLE], Result.FAILING, "has no schema", f"GRANT USAGE ON SCHEMA public TO {role}")
    await execute(dsn, f"DROP OWNED BY {role}")


@pytest.mark.requirement("doctor:connections")
async def test_a_limit_without_room_for_one_more_process_is_told_with_what_would_fit(
    dsn: str, server: str, examined: Examine
) -> None:
    await execute(server, f"ALTER DATABASE {urlsplit(dsn).path[1:]} CONNECTION LIMIT 8")
    found = await examined(DATABASE_URL=dsn, MAX_POOL_SIZE="10")
    told(found[Check.CONNECTIONS], Result.WARNING, "12 (MAX_POOL_SIZE 10 + 2)", "of 8", "set MAX_POOL_SIZE=6")
    found = await examined(DATABASE_URL=dsn, MAX_POOL_SIZE="6")
    told(found[Check.CONNECTIONS], Result.OK, "0 of 8")


@pytest.mark.requirement("doctor:schema")
async def test_a_schema_that_lacks_migrations_is_told_and_fails_only_where_nobody_migrates(
    empty_dsn: str, role: str, tmp_path: Path, examined: Examine
) -> None:
    found = await examined(DATABASE_URL=empty_dsn)
    told(found[Check.SCHEMA], Result.WARNING, "lacks 0001_initial", "`agent-messaging migrate`")
    told(found[Check.TOKENS], Result.SKIPPED, "the schema is not current")

    for migration in ("0001_initial", "0002_functions"):
        (tmp_path / f"{migration}.sql").write_text((migrate.MIGRATIONS / f"{migration}.sql").read_text())
    async with connect(empty_dsn) as connection:
        await migrate.migrate(connection, directory=tmp_path)
    found = await examined(DATABASE_URL=empty_dsn, AUTO_MIGRATE="false")
    told(found[Check.SCHEMA], Result.FAILING, "lacks 0003_tokens", "AUTO_MIGRATE is false", "`agent-messaging migrate`")
    told(found[Check.ROLE], Result.OK)

    await execute(empty_dsn, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    await execute(empty_dsn, f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    found = await examined(DATABASE_URL=with_role(empty_dsn, role), AUTO_MIGRATE="true")
    told(found[Check.SCHEMA], Result.FAILING, "may not create tables", f"GRANT CREATE ON SCHEMA public TO {role}")
    await execute(empty_dsn, f"DROP OWNED BY {role}")


@pytest.mark.requirement("doctor:schema")
@pytest.mark.parametrize(
    ("change", "words", "do"),
    [
        ("INSERT INTO schema_migrations VALUES ('9999_later', 'x')", "has 9999_later", "Update agent-messaging"),
        (
            "UPDATE schema_migrations SET sha256 = 'x' WHERE name = '0001_initial'",
            "0001_initial was changed",
            "released",
        ),
        ("ALTER TABLE schema_migrations RENAME name TO version", "another program", "CREATE DATABASE agent_messaging"),
    ],
)
async def test_a_schema_of_other_code_is_told_apart_by_what_is_to_be_done(
    change: str, words: str, do: str, dsn: str, examined: Examine
) -> None:
    await execute(dsn, change)
    found = await examined(DATABASE_URL=dsn)
    told(found[Check.SCHEMA], Result.FAILING, words, do)
    told(found[Check.TOKENS], Result.SKIPPED, "the schema is not current")


@pytest.mark.requirement("doctor:schema")
async def test_a_schema_that_the_role_may_not_look_at_is_told(dsn: str, role: str, examined: Examine) -> None:
    await execute(dsn, f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    await execute(dsn, f"REVOKE SELECT ON schema_migrations FROM {role}")  # noqa: S608
    found = await examined(DATABASE_URL=with_role(dsn, role))
    told(found[Check.SCHEMA], Result.FAILING, "may not look", f"GRANT SELECT ON schema_migrations TO {role}")
    await execute(dsn, f"DROP OWNED BY {role}")


@pytest.mark.requirement("doctor:wakeups")
async def test_listening_to_another_database_is_told_and_fails_where_a_server_is_meant(
    dsn: str, server: str, examined: Examine
) -> None:
    found = await examined(DATABASE_URL=dsn, LISTEN_DATABASE_URL=server)
    told(found[Check.WAKEUPS], Result.WARNING, "another database", "a second late", "Let LISTEN_DATABASE_URL lead to")
    found = await examined(AGENT_MESSAGING_ALLOWED_HOSTS="agents.example")
    told(found[Check.WAKEUPS], Result.FAILING, "another database", "/readyz", "Let LISTEN_DATABASE_URL lead to")


@pytest.mark.requirement("doctor:wakeups")
async def test_an_unreachable_way_to_listen_is_told_by_its_variable(dsn: str, examined: Examine) -> None:
    found = await examined(DATABASE_URL=dsn, LISTEN_DATABASE_URL=NOWHERE)
    told(found[Check.DATABASE], Result.OK)
    told(found[Check.WAKEUPS], Result.FAILING, "nobody can listen: 127.0.0.1:1", "LISTEN_DATABASE_URL")


@pytest.mark.requirement("doctor:wakeups")
async def test_a_way_that_carries_no_notifications_although_it_is_direct_is_told(dsn: str, examined: Examine) -> None:
    async with proxied(dsn, deaf=True) as proxy:
        found = await examined(DATABASE_URL=dsn, LISTEN_DATABASE_URL=proxy.dsn)
    told(found[Check.WAKEUPS], Result.WARNING, "do not arrive: waits still end", "nothing between")


@pytest.mark.requirement("doctor:wakeups")
async def test_a_connection_that_dies_while_nothing_is_said_is_told(
    dsn: str, examined: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = diagnosis.Ear.hear
    heard: list[float | None] = []
    async with proxied(dsn) as proxy:

        async def hear_and_freeze(ear: diagnosis.Ear, *arguments: Any, **options: Any) -> float | None:
            heard.append(await hear(ear, *arguments, **options))
            if len(heard) == 5:
                proxy.freeze()
            return heard[-1]

        monkeypatch.setattr(diagnosis.Ear, "hear", hear_and_freeze)
        found = await examined(DATABASE_URL=dsn, LISTEN_DATABASE_URL=proxy.dsn)
    told(found[Check.WAKEUPS], Result.WARNING, "some are lost (1 of 6)", "a firewall")


@pytest.mark.requirement("doctor:pooler")
async def test_a_transaction_mode_pooler_is_detected_and_fine_once_listening_has_a_way_of_its_own(
    dsn: str, examined: Examine
) -> None:
    async with pooled(dsn) as pooler:
        found = await examined(DATABASE_URL=pooler.dsn)
        told(found[Check.WAKEUPS], Result.WARNING, "a pooler on the way swallows LISTEN", "LISTEN_DATABASE_URL=")
        told(found[Check.POOLER], Result.WARNING, "transaction mode", "swallows LISTEN", "LISTEN_DATABASE_URL=")

        found = await examined(DATABASE_URL=pooler.dsn, LISTEN_DATABASE_URL=dsn)
        told(found[Check.WAKEUPS], Result.OK, "arrive after")
        told(found[Check.POOLER], Result.OK, "transaction mode", "keeps track of prepared statements")
        assert {finding.result for finding in found.values()} == {Result.OK}, found


@pytest.mark.requirement("doctor:pooler")
@pytest.mark.parametrize("size", [1, 3])
async def test_a_pooler_that_does_not_keep_track_of_statements_is_told_with_what_it_needs(
    size: int, dsn: str, examined: Examine
) -> None:
    async with pooled(dsn, size=size, keeps_statements=False) as pooler:
        found = await examined(DATABASE_URL=pooler.dsn, LISTEN_DATABASE_URL=dsn)
    told(found[Check.POOLER], Result.WARNING, "does not keep track of prepared statements", "max_prepared_statements")
    assert {finding.result for check, finding in found.items() if check is not Check.POOLER} == {Result.OK}, found


@pytest.mark.requirement("doctor:pooler")
def test_what_keeps_a_server_process_for_each_connection_is_no_trouble() -> None:
    finding = pooler_finding(Pooling(False, False, False), address="DATABASE_URL", listens_apart=False)
    told(finding, Result.OK, "session mode")


@pytest.mark.requirement("doctor:clock")
@pytest.mark.parametrize(("ahead", "words"), [(90.0, "90 s ahead of"), (-90.0, "90 s behind"), (2.5, "2 s ahead of")])
async def test_a_clock_that_is_wrong_is_told_with_the_direction(
    ahead: float, words: str, dsn: str, examined: Examine
) -> None:
    found = await examined(DATABASE_URL=dsn, clock=lambda: time.time() + ahead)
    told(found[Check.CLOCK], Result.WARNING, words, "timedatectl set-ntp true")


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


def page(document: object, status: str = "200 OK") -> bytes:
    body = json.dumps(document).encode()
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status.encode(), len(body)) + body


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


@pytest.mark.requirement("doctor:nats")
async def test_wake_ups_over_nats_are_tried_where_they_are_configured(dsn: str, examined: Examine) -> None:
    with running() as bus:
        found = await examined(DATABASE_URL=dsn, WAKEUPS_URL=f"nats://am:{SECRET}@127.0.0.1:{bus.port}")
        told(found[Check.CONFIGURATION], Result.OK, f"WAKEUPS_URL: 127.0.0.1:{bus.port}")
        told(found[Check.WAKEUPS], Result.OK, "arrive over NATS after")
        bus.stop()
        found = await examined(DATABASE_URL=dsn, WAKEUPS_URL=f"nats://am:{SECRET}@127.0.0.1:{bus.port}")
        told(found[Check.WAKEUPS], Result.WARNING, "no NATS server was reached", "Look at WAKEUPS_URL")
