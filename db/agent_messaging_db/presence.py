"""Statements on processes, their leases, and which agents they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import AttachmentKind
from agent_messaging_db.statements import load

_SQL = load("presence")


async def renew_lease(connection: Connection, *, process: UUID, seconds: float) -> None:
    await connection.execute(_SQL["renew_lease"], process, seconds)


async def attach(connection: Connection, *, agents: Iterable[UUID], kind: AttachmentKind, process: UUID) -> None:
    await connection.execute(_SQL["attach"], list(agents), kind, process)


async def detach(connection: Connection, *, agents: Iterable[UUID], kind: AttachmentKind, process: UUID) -> None:
    await connection.execute(_SQL["detach"], list(agents), kind, process)


async def leave(connection: Connection, *, process: UUID, agents: Iterable[UUID]) -> None:
    """Remove the process; `agents` are those for which it may hold claims."""
    await connection.execute(_SQL["leave"], process, list(agents))


async def touch(connection: Connection, *, agents: Iterable[UUID], callers: Iterable[UUID]) -> None:
    await connection.execute(_SQL["touch"], list(agents), list(callers))


async def mark_readers(connection: Connection, *, agents: Iterable[UUID]) -> None:
    await connection.execute(_SQL["mark_readers"], list(agents))


async def forget_processes(connection: Connection) -> None:
    await connection.execute(_SQL["forget_processes"])


async def has_others(connection: Connection, *, process: UUID, timeout: float) -> bool:
    """Is any other process alive? Waits `timeout` seconds for the server to say so."""
    return await connection.fetchval(_SQL["has_others"], process, timeout=timeout)
