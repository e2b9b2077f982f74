"""The database: whether it can be reached, and whether it is one that a server can work with."""

from __future__ import annotations

from datetime import UTC, datetime
from statistics import median

from agent_messaging.engine import OLDEST_SERVER
from agent_messaging_db import diagnosis
from agent_messaging_db.errors import (
    ForeignSchemaError,
    MigrationChangedError,
    SchemaOutOfDateError,
    SchemaTooNewError,
)
from agent_messaging_mcp.doctor.findings import Case, Check, Finding, Result, milliseconds, quoted
from agent_messaging_mcp.text import listed, one_line, span

CLOCK_TOLERANCE = 2.0
"""Seconds. Whether a JWT has expired is judged by this host's clock."""
BESIDE_THE_POOL = 2
"""Connections that a process has besides its pool: the one that listens, and its lease's."""


async def server(case: Case) -> Finding:
    """Version, and what would keep it from taking or keeping writes."""
    return server_finding(await diagnosis.server(case.link))


def server_finding(found: diagnosis.Server) -> Finding:
    """What a server that describes itself so comes to."""
    about = f"PostgreSQL {found.version}, database {one_line(found.database)}"
    if found.version < OLDEST_SERVER:
        do = f"Upgrade PostgreSQL to {OLDEST_SERVER} or newer."
        return Finding(Check.SERVER, Result.FAILING, f"{about} is too old", do)
    if found.is_standby:
        return Finding(
            Check.SERVER,
            Result.FAILING,
            f"{about} is a standby: it takes no writes, and no LISTEN",
            "Give the address of the primary in DATABASE_URL; with several hosts add ?target_session_attrs=read-write.",
        )
    if found.is_read_only:
        role, database = quoted(found.role), quoted(found.database)
        return Finding(
            Check.SERVER,
            Result.FAILING,
            f"{about}: transactions are read-only (default_transaction_read_only)",
            f"ALTER ROLE {role} SET default_transaction_read_only = off, or ALTER DATABASE {database} RESET "
            "default_transaction_read_only, or take it out of postgresql.conf.",
        )
    if found.synchronous_commit == "off":
        return Finding(
            Check.SERVER,
            Result.FAILING,
            f"{about}: synchronous_commit is off, so what was accepted can be lost",
            f"ALTER ROLE {quoted(found.role)} SET synchronous_commit = on",
        )
    return Finding(Check.SERVER, Result.OK, f"{about}, a primary that takes writes")


async def role(case: Case) -> Finding:
    """Whether the role may work with the tables that are there."""
    found = await diagnosis.server(case.link)
    name = one_line(found.role)
    if found.schema is None:
        return Finding(
            Check.ROLE,
            Result.FAILING,
            f"role {name} has no schema: none of its search_path exists, or it may use none",
            f"GRANT USAGE ON SCHEMA public TO {quoted(found.role)}",
        )
    if lacking := await diagnosis.forbidden(case.link):
        privileges = sorted({privilege for of_table in lacking.values() for privilege in of_table})
        return Finding(
            Check.ROLE,
            Result.FAILING,
            f"role {name} may not {listed(privileges)} on {listed(sorted(lacking))}",
            f"As the owner of the tables: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "
            f"{quoted(found.schema)} TO {quoted(found.role)}",
        )
    return Finding(Check.ROLE, Result.OK, f"role {name} may read and write in schema {one_line(found.schema)}")


async def connections(case: Case) -> Finding:
    """Whether there is room for one more process of this configuration."""
    found = await diagnosis.server(case.link)
    needed = case.config.max_pool_size + BESIDE_THE_POOL
    # The doctor's own connection is counted as used, and will be free again.
    rooms = [("max_connections", found.connections, found.connections_used - 1)]
    if found.role_limit is not None:
        rooms.append((f"the limit of role {one_line(found.role)}", found.role_limit, found.role_used - 1))
    if found.database_limit is not None:
        limit = f"the limit of database {one_line(found.database)}"
        rooms.append((limit, found.database_limit, found.database_used - 1))
    name, limit, used = min(rooms, key=lambda room: room[1] - room[2])
    words = f"one process takes up to {needed} (MAX_POOL_SIZE {case.config.max_pool_size} + {BESIDE_THE_POOL}); "
    words += f"{used} of {limit} are in use ({name})"
    if limit - used < needed:
        return Finding(
            Check.CONNECTIONS,
            Result.WARNING,
            f"{words}: no room for one more process of this configuration",
            f"Raise {name} to at least {used + needed}, or set MAX_POOL_SIZE={max(2, limit - used - BESIDE_THE_POOL)}",
        )
    return Finding(Check.CONNECTIONS, Result.OK, words)


async def schema(case: Case) -> Finding:
    """Whether the tables are those of this code."""
    migrate = "`agent-messaging migrate`"
    try:
        await diagnosis.schema(case.link)
    except SchemaOutOfDateError as error:
        lacking = one_line(str(error).partition(";")[0])
        found = await diagnosis.server(case.link)
        if not found.may_create:
            grant = f"GRANT CREATE ON SCHEMA {quoted(found.schema or 'public')} TO {quoted(found.role)}"
            return Finding(
                Check.SCHEMA,
                Result.FAILING,
                f"{lacking}, and role {one_line(found.role)} may not create tables",
                f"{migrate} with the role that owns the tables in DATABASE_URL, or {grant}",
            )
        if case.config.auto_migrate:
            do = f"{migrate}; or the next process does it when it starts (AUTO_MIGRATE)"
            return Finding(Check.SCHEMA, Result.WARNING, lacking, do)
        return Finding(
            Check.SCHEMA, Result.FAILING, f"{lacking}, and AUTO_MIGRATE is false: no process would start", migrate
        )
    except SchemaTooNewError as error:
        do = "Update agent-messaging on this host: pip install --upgrade agent-messaging"
        return Finding(Check.SCHEMA, Result.FAILING, one_line(str(error).partition(";")[0]), do)
    except MigrationChangedError as error:
        return Finding(
            Check.SCHEMA,
            Result.FAILING,
            one_line(str(error).partition(";")[0]),
            "Install the released version of agent-messaging that this database was migrated with, or a newer one; "
            "migrations are never edited.",
        )
    except ForeignSchemaError as error:
        return Finding(
            Check.SCHEMA,
            Result.FAILING,
            one_line(str(error).partition(";")[0]),
            "Give agent-messaging a database of its own: CREATE DATABASE agent_messaging, and name it in "
            f"{case.address_variable}.",
        )
    except PermissionError as error:
        found = await diagnosis.server(case.link)
        return Finding(
            Check.SCHEMA,
            Result.FAILING,
            f"the role may not look: {one_line(str(error))}",
            f"As the owner: GRANT SELECT ON schema_migrations TO {quoted(found.role)}",
        )
    case.schema_is_current = True
    return Finding(Check.SCHEMA, Result.OK, "current")


async def clock(case: Case) -> Finding:
    """How far this host's clock and the database's are apart."""
    ahead: list[float] = []
    for _ in range(3):
        before = case.clock()
        there = await diagnosis.time(case.link)
        here = datetime.fromtimestamp((before + case.clock()) / 2, UTC)
        ahead.append((here - there).total_seconds())
    apart = median(ahead)
    if abs(apart) < CLOCK_TOLERANCE:
        return Finding(Check.CLOCK, Result.OK, f"this host and the database are {milliseconds(abs(apart))} apart")
    return Finding(
        Check.CLOCK,
        Result.WARNING,
        f"this host is {span(abs(apart))} {'ahead of' if apart > 0 else 'behind'} the database; whether a JWT has "
        "expired goes by this host's clock, everything else by the database's",
        "Keep both by NTP: `timedatectl set-ntp true` on the host that is wrong (`timedatectl timesync-status` tells).",
    )
