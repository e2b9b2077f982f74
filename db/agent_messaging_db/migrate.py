"""Brings the tables of a database up to this code: numbered SQL files, each applied once, in order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg

from agent_messaging_db.errors import (
    DatabaseUnavailable,
    ForeignSchemaError,
    MigrationChangedError,
    SchemaOutOfDateError,
    SchemaTooNewError,
)
from agent_messaging_db.pool import Connection

MIGRATIONS: Traversable = files("agent_messaging_db") / "migrations"

# Seconds. What a connection allows a command by default is meant for calls.
_LONGEST_MIGRATION = 3600.0
_FILE_NAME = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")
LOCK_KEY = int.from_bytes(b"agentmsg", "big")
_SET_LOCK_TIMEOUT = "SELECT set_config('lock_timeout', $1, true)"
_LOCK = "SELECT pg_advisory_xact_lock($1)"
_SELECT_APPLIED = "SELECT name, sha256 FROM schema_migrations"
_RECORD = "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)"
_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text PRIMARY KEY,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema; `sha256` is that of the text with Unix line ends, whatever a checkout made."""

    name: str
    sql: str
    sha256: str


async def migrate(
    connection: Connection,
    *,
    directory: Traversable = MIGRATIONS,
    lock_timeout: float = 60.0,
) -> list[str]:
    """Apply what the database lacks, all or nothing, and return the names applied, in order.

    Safe from any number of processes at once: one works, the others wait up to `lock_timeout` seconds and
    find nothing left to do. A database that is up to date costs one query, no lock. Call it outside a
    transaction.

    Raises SchemaTooNewError, MigrationChangedError, ForeignSchemaError, and DatabaseUnavailable when another
    process kept the lock for too long.
    """
    migrations = load(directory)
    if not _pending(migrations, await _applied(connection)):
        return []
    try:
        # Read committed, so that what is read after the wait for the lock is what its last holder committed.
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(_SET_LOCK_TIMEOUT, f"{lock_timeout * 1000:.0f}ms")
            # The transaction's own lock, not the session's: it also holds behind a transaction-mode pooler.
            await connection.execute(_LOCK, LOCK_KEY, timeout=lock_timeout + 10)
            await connection.execute(_CREATE_TABLE)
            pending = _pending(migrations, await _applied(connection))
            for migration in pending:
                await connection.execute(migration.sql, timeout=_LONGEST_MIGRATION)
                await connection.execute(_RECORD, migration.name, migration.sha256)
    except asyncpg.LockNotAvailableError as error:
        raise DatabaseUnavailable(f"another process held the schema for {lock_timeout:.0f} s") from error
    return [migration.name for migration in pending]


async def check(connection: Connection, *, directory: Traversable = MIGRATIONS) -> None:
    """Verify that the database is exactly as new as this code, with one query and no lock.

    Raises SchemaOutOfDateError, naming what is missing, besides the refusals of `migrate`.
    """
    if pending := _pending(load(directory), await _applied(connection)):
        names = ", ".join(migration.name for migration in pending)
        raise SchemaOutOfDateError(
            f"the database lacks {names}; run `agent-messaging migrate`, or set AUTO_MIGRATE=true"
        )


def load(directory: Traversable = MIGRATIONS) -> list[Migration]:
    """Read the migrations of a directory, in order; ValueError for a misnamed file or a number used twice."""
    migrations: list[Migration] = []
    numbers: dict[str, str] = {}
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if not entry.name.endswith(".sql"):
            continue
        match = _FILE_NAME.fullmatch(entry.name)
        if match is None:
            raise ValueError(f"{entry.name}: a migration is named NNNN_what_it_does.sql")
        name = entry.name.removesuffix(".sql")
        if first := numbers.get(match["number"]):
            raise ValueError(f"{first} and {name} have the same number")
        numbers[match["number"]] = name
        sql = entry.read_text(encoding="utf-8")
        migrations.append(Migration(name, sql, hashlib.sha256(sql.encode()).hexdigest()))
    return migrations


async def _applied(connection: Connection) -> list[tuple[str, str]]:
    try:
        rows = await connection.fetch(_SELECT_APPLIED)
    except asyncpg.UndefinedTableError:
        return []
    except asyncpg.UndefinedColumnError as error:
        raise ForeignSchemaError(
            "the table schema_migrations of this database belongs to another program; give agent-messaging a "
            "database of its own"
        ) from error
    # Sorted here: the order of names under the database's collation need not be that of the file names.
    return sorted((row["name"], row["sha256"]) for row in rows)


def _pending(migrations: Sequence[Migration], applied: Sequence[tuple[str, str]]) -> Sequence[Migration]:
    for migration, (name, sha256) in zip(migrations, applied, strict=False):
        if name != migration.name:
            raise MigrationChangedError(
                f"the database has {name} where this code has {migration.name}; migrations are only appended"
            )
        if sha256 != migration.sha256:
            raise MigrationChangedError(
                f"{name} was changed after this database applied it; undo that and add a new migration"
            )
    if len(applied) > len(migrations):
        unknown = ", ".join(name for name, _ in applied[len(migrations) :])
        raise SchemaTooNewError(f"the database has {unknown}, unknown to this code; update agent-messaging")
    return migrations[len(applied) :]
