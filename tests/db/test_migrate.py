"""Migrations: applied once, in order, all or nothing, by one of any number of processes; refused by name."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncpg
import pytest

from agent_messaging_db import migrate
from agent_messaging_db.errors import (
    DatabaseUnavailable,
    ForeignSchemaError,
    MigrationChangedError,
    SchemaOutOfDateError,
    SchemaTooNewError,
)
from tests.conftest import connect, execute

FIRST = "CREATE TABLE kettles (id bigint PRIMARY KEY);\nINSERT INTO kettles VALUES (1);\n"
SECOND = "ALTER TABLE kettles ADD COLUMN litres int;\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "0001_kettles.sql").write_text(FIRST)
    (tmp_path / "0002_litres.sql").write_text(SECOND)
    return tmp_path


async def apply(dsn: str, directory: Path, *, lock_timeout: float = 20) -> list[str]:
    async with connect(dsn) as connection:
        return await migrate.migrate(connection, directory=directory, lock_timeout=lock_timeout)


async def recorded(dsn: str) -> list[str]:
    async with connect(dsn) as connection:
        rows = await connection.fetch("SELECT name FROM schema_migrations ORDER BY applied_at")
        return [row["name"] for row in rows]


async def test_an_empty_database_gets_every_migration_in_order(empty_dsn: str, directory: Path):
    assert await apply(empty_dsn, directory) == ["0001_kettles", "0002_litres"]
    assert await recorded(empty_dsn) == ["0001_kettles", "0002_litres"]
    await execute(empty_dsn, "UPDATE kettles SET litres = 2 WHERE id = 1")


async def test_migrating_again_changes_nothing(empty_dsn: str, directory: Path):
    await apply(empty_dsn, directory)
    assert await apply(empty_dsn, directory) == []


async def test_an_older_database_gets_only_what_it_lacks(empty_dsn: str, directory: Path):
    await apply(empty_dsn, directory)
    (directory / "0003_colour.sql").write_text("ALTER TABLE kettles ADD COLUMN colour text")
    assert await apply(empty_dsn, directory) == ["0003_colour"]


async def test_an_up_to_date_database_is_recognised_while_another_process_holds_the_lock(
    empty_dsn: str, directory: Path
):
    await apply(empty_dsn, directory)
    async with connect(empty_dsn) as holder, holder.transaction():
        await holder.execute("SELECT pg_advisory_xact_lock($1)", migrate.LOCK_KEY)
        assert await apply(empty_dsn, directory, lock_timeout=0.01) == []
        async with connect(empty_dsn) as connection:
            await migrate.check(connection, directory=directory)


async def test_the_version_check_is_one_query(empty_dsn: str, directory: Path):
    await apply(empty_dsn, directory)
    async with connect(empty_dsn) as connection:
        queries: list[str] = []
        with connection.query_logger(lambda record: queries.append(record.query)):
            await migrate.migrate(connection, directory=directory)
            await migrate.check(connection, directory=directory)
            await asyncio.sleep(0)  # the logger is called by the loop, right after
        assert queries == ["SELECT name, sha256 FROM schema_migrations"] * 2


async def test_a_failing_migration_leaves_the_database_as_it_was(empty_dsn: str, directory: Path):
    (directory / "0003_broken.sql").write_text("CREATE TABLE pots (id int); SELECT 1/0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await apply(empty_dsn, directory)
    async with connect(empty_dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    (directory / "0003_broken.sql").unlink()
    assert await apply(empty_dsn, directory) == ["0001_kettles", "0002_litres"]


async def test_check_names_what_the_database_lacks_and_changes_nothing(empty_dsn: str, directory: Path):
    async with connect(empty_dsn) as connection:
        with pytest.raises(SchemaOutOfDateError, match=r"lacks 0001_kettles, 0002_litres;"):
            await migrate.check(connection, directory=directory)
        assert await connection.fetchval("SELECT to_regclass('schema_migrations')") is None


async def test_check_accepts_a_database_as_new_as_the_code(empty_dsn: str, directory: Path):
    await apply(empty_dsn, directory)
    async with connect(empty_dsn) as connection:
        await migrate.check(connection, directory=directory)


async def test_a_database_newer_than_the_code_is_refused_by_name(empty_dsn: str, directory: Path):
    await apply(empty_dsn, directory)
    (directory / "0002_litres.sql").unlink()
    with pytest.raises(SchemaTooNewError, match=r"has 0002_litres, unknown"):
        await apply(empty_dsn, directory)
    async with connect(empty_dsn) as connection:
        with pytest.raises(SchemaTooNewError, match="0002_litres"):
            await migrate.check(connection, directory=directory)


async def test_a_changed_migration_is_refused_by_name(empty_dsn: str, directory: Path):
    await apply(empty_dsn, directory)
    (directory / "0001_kettles.sql").write_text(FIRST + "-- innocent\n")
    with pytest.raises(MigrationChangedError, match="0001_kettles was changed"):
        await apply(empty_dsn, directory)
    async with connect(empty_dsn) as connection:
        with pytest.raises(MigrationChangedError, match="0001_kettles"):
            await migrate.check(connection, directory=directory)


async def test_a_migration_slipped_in_below_an_applied_one_is_refused_by_name(empty_dsn: str, directory: Path):
    (directory / "0003_colour.sql").write_text("ALTER TABLE kettles ADD COLUMN colour text")
    (directory / "0002_litres.sql").rename(directory.parent / "0002_litres.sql")
    await apply(empty_dsn, directory)
    (directory.parent / "0002_litres.sql").rename(directory / "0002_litres.sql")
    with pytest.raises(MigrationChangedError, match=r"0003_colour where this code has 0002_litres"):
        await apply(empty_dsn, directory)


async def test_windows_line_ends_of_a_checkout_are_no_change(empty_dsn: str, directory: Path):
    await apply(empty_dsn, directory)
    (directory / "0001_kettles.sql").write_bytes(FIRST.replace("\n", "\r\n").encode())
    assert await apply(empty_dsn, directory) == []


async def test_a_database_of_another_program_is_refused(empty_dsn: str, directory: Path):
    await execute(empty_dsn, "CREATE TABLE schema_migrations (version text PRIMARY KEY)")
    with pytest.raises(ForeignSchemaError, match="another program"):
        await apply(empty_dsn, directory)


async def test_waiting_for_a_stuck_process_is_bounded(empty_dsn: str, directory: Path):
    async with connect(empty_dsn) as holder, holder.transaction():
        await holder.execute("SELECT pg_advisory_xact_lock($1)", migrate.LOCK_KEY)
        with pytest.raises(DatabaseUnavailable, match="another process"):
            await apply(empty_dsn, directory, lock_timeout=0.05)


async def test_a_migration_may_take_longer_than_the_connection_allows_a_command(empty_dsn: str, directory: Path):
    (directory / "0003_slow.sql").write_text("SELECT pg_sleep(2.2)")
    connection = await asyncpg.connect(empty_dsn, command_timeout=2)
    try:
        assert "0003_slow" in await migrate.migrate(connection, directory=directory)
    finally:
        await connection.close()


PROCESS = """
import asyncio, sys
from pathlib import Path
import asyncpg
from agent_messaging_db import migrate

async def main() -> None:
    connection = await asyncpg.connect(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    print(*await migrate.migrate(connection, directory=Path(sys.argv[2])), flush=True)
    await connection.close()

asyncio.run(main())
"""


async def test_of_five_processes_starting_at_once_one_migrates_and_none_fails(empty_dsn: str, directory: Path):
    (directory / "0003_slow.sql").write_text("SELECT pg_sleep(0.3)")  # long enough for the others to arrive
    async with connect(empty_dsn) as connection:
        database = await connection.fetchval("SELECT current_database()")
        # Under an owner's stricter default, too, what is read after the wait must be what is there.
        await connection.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'repeatable read'")
    async with asyncio.timeout(90):
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                PROCESS,
                empty_dsn,
                str(directory),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            for _ in range(5)
        ]
        for process in processes:
            assert process.stdout
            assert await process.stdout.readline() == b"ready\n"
        answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0] * 5
    applied = sorted(output.split() for output, _ in answers)
    assert applied == [[], [], [], [], [b"0001_kettles", b"0002_litres", b"0003_slow"]]
    assert await recorded(empty_dsn) == ["0001_kettles", "0002_litres", "0003_slow"]


async def test_the_migrations_of_this_code_apply_to_an_empty_database(empty_dsn: str):
    async with connect(empty_dsn) as connection:
        applied = await migrate.migrate(connection)
        assert applied == [migration.name for migration in migrate.load()]
        await migrate.check(connection)


def test_a_misnamed_file_is_refused(directory: Path):
    (directory / "3_more.sql").touch()
    with pytest.raises(ValueError, match=r"3_more\.sql: a migration is named"):
        migrate.load(directory)


def test_a_number_used_twice_is_refused(directory: Path):
    (directory / "0002_gallons.sql").touch()
    with pytest.raises(ValueError, match="0002_gallons and 0002_litres have the same number"):
        migrate.load(directory)
