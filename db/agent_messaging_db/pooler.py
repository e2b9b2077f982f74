"""What tells a connection to PostgreSQL itself from one to a pooler, which lends its connections out.

Both questions are asked so that no pooler can get the answer wrong: without a prepared statement, or in one
transaction.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import asyncpg

_FOUND = "SELECT 1"  # the tag of a command that gave one row


async def is_direct(connection: asyncpg.Connection[Any]) -> bool:
    """Is it the server that this connection was made to? What lies between and speaks PostgreSQL's protocol,
    a pooler for one, announces a process number of its own; routers and TCP proxies do not. One round trip.
    """
    process = connection.get_server_pid()
    return await connection.execute(f"SELECT 1 WHERE pg_backend_pid() = {process:d}") == _FOUND


async def keeps_statements(connection: asyncpg.Connection[Any]) -> bool:
    """Does the pooler of this connection keep track of the statements that are prepared through it?

    One that does not may run, under the name of a statement, what another client of it has given that name.
    One that does gives the statement a name of its own, which the server shows. A pooler that keeps one server
    connection for each client passes the name on as well, and would not need to keep track.
    """
    name = f"agent_messaging_{uuid4().hex}"
    async with connection.transaction(readonly=True):
        await connection.prepare("SELECT 1", name=name)
        passed_on = await connection.execute(f"SELECT 1 FROM pg_prepared_statements WHERE name = '{name}'") == _FOUND  # noqa: S608
        if passed_on:
            await connection.execute(f"DEALLOCATE {name}")
    return not passed_on
