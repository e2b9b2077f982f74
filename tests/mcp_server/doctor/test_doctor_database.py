"""What the doctor says of the database: whether it is there, writable, new enough, and what the role may do."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agent_messaging_db import diagnosis, embedded, migrate, pool
from agent_messaging_db.diagnosis import Server
from agent_messaging_db.embedded.layout import layout_of
from agent_messaging_mcp.doctor.database import server_finding
from agent_messaging_mcp.doctor.findings import Check, Result
from tests.conftest import connect, dsn_of, execute
from tests.mcp_server.doctor.examining import (
    SECRET,
    Examine,
    joined,
    listening,
    put_first,
    told,
    with_role,
)


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

    for migration in ("0001_initial", "0002_sending"):
        (tmp_path / f"{migration}.sql").write_text((migrate.MIGRATIONS / f"{migration}.sql").read_text())
    async with connect(empty_dsn) as connection:
        await migrate.migrate(connection, directory=tmp_path)
    found = await examined(DATABASE_URL=empty_dsn, AUTO_MIGRATE="false")
    told(
        found[Check.SCHEMA], Result.FAILING, "lacks 0003_settling", "AUTO_MIGRATE is false", "`agent-messaging migrate`"
    )
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


@pytest.mark.requirement("doctor:clock")
@pytest.mark.parametrize(("ahead", "words"), [(90.0, "90 s ahead of"), (-90.0, "90 s behind"), (2.5, "2 s ahead of")])
async def test_a_clock_that_is_wrong_is_told_with_the_direction(
    ahead: float, words: str, dsn: str, examined: Examine
) -> None:
    found = await examined(DATABASE_URL=dsn, clock=lambda: time.time() + ahead)
    told(found[Check.CLOCK], Result.WARNING, words, "timedatectl set-ntp true")
