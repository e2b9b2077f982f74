"""A database whose clock stands still until the test moves it.

The product asks the database for the time, by the name `clock_timestamp()` alone. A schema that comes before
`pg_catalog` in the search path of this one database gives that name another meaning: the moment in a row. So
nothing of the product is changed or patched, and no history depends on how fast the machine is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

import asyncpg

LEASE = 10.0
"""The product's `handler_lease`, in seconds."""

_INSTALL = """
CREATE SCHEMA virtual;
CREATE TABLE virtual.clock AS
    SELECT pg_catalog.date_trunc('second', pg_catalog.clock_timestamp()) AS started, 0::float8 AS passed;
CREATE FUNCTION virtual.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT started + make_interval(secs => passed) FROM virtual.clock';
DO $$
DECLARE
    found record;
BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path TO virtual, pg_catalog, public', current_database());
    FOR found IN SELECT table_name, column_name FROM information_schema.columns
                 WHERE table_schema = 'public' AND column_default LIKE '%clock_timestamp()%'
    LOOP
        EXECUTE format('ALTER TABLE public.%I ALTER COLUMN %I SET DEFAULT virtual.clock_timestamp()',
                       found.table_name, found.column_name);
    END LOOP;
END $$;
"""
_ADVANCE = """
WITH moved AS (UPDATE virtual.clock SET passed = passed + $1 RETURNING started + make_interval(secs => passed) AS now)
UPDATE processes SET lease_until = moved.now + make_interval(secs => $2) FROM moved WHERE id = ANY ($3::uuid[])
"""


async def install(dsn: str) -> None:
    """Give the database, which nobody has opened yet, a clock of its own that shows the present second."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(dsn, timeout=20, command_timeout=20)
    try:
        await connection.execute(_INSTALL)
    finally:
        await connection.close()


async def advance(connection: asyncpg.Connection[Any], seconds: float, *, alive: Collection[UUID]) -> None:
    """Let time pass. The processes that are alive renew their leases meanwhile, as they do many times over."""
    await connection.execute(_ADVANCE, seconds, LEASE, list(alive))


async def reading(connection: asyncpg.Connection[Any]) -> tuple[float, float]:
    """How many seconds have passed, and when (as seconds of the epoch) that count began."""
    row = await connection.fetchrow("SELECT passed, extract(epoch FROM started)::float8 AS started FROM virtual.clock")
    assert row is not None
    return row["passed"], row["started"]
