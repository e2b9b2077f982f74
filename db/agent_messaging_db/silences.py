"""Statements on silences: whom an operator has forbidden to write, and until when."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import SilenceRow
from agent_messaging_db.statements import load

_SQL = load("silences")

_LAST_YEAR = 9999


def bounded(until: datetime | None) -> datetime | None:
    """Give a moment, or None for the end of time."""
    return None if until is None or until.year == _LAST_YEAR else until


async def set_silence(
    connection: Connection, *, subject: UUID, until: datetime | None, seconds: float | None
) -> datetime | None:
    """Silence an agent or an organization: whatever is accepted from here on has seen it. Says until when; None:
    until it is lifted.
    """
    return await connection.fetchval(_SQL["set_silence"], subject, until, seconds)


async def outdate_meetings(connection: Connection, *, agent: UUID | None, organization: UUID | None) -> None:
    """Have what was decided in the meetings of an agent, or of an organization's agents, decided again."""
    await connection.execute(_SQL["outdate_meetings"], agent, organization)


async def lift_silence(connection: Connection, *, subject: UUID) -> bool:
    """Say whether there was one in force."""
    return await connection.fetchval(_SQL["lift_silence"], subject) or False


async def list_silences(connection: Connection) -> list[SilenceRow]:
    return [SilenceRow(**row) for row in await connection.fetch(_SQL["list_silences"])]


async def agents_of(connection: Connection, *, organization: UUID) -> list[UUID]:
    return [row[0] for row in await connection.fetch(_SQL["agents_of"], organization)]


async def silenced_until(connection: Connection, *, agent: UUID) -> tuple[bool, datetime | None]:
    """Say whether an agent is silenced now, and until when (None: until it is lifted)."""
    until = await connection.fetchval(_SQL["silenced_until"], agent)
    return until is not None, bounded(until)


async def hop_of(connection: Connection, *, agent: UUID, heard_seconds: float) -> int:
    """Give the hop of what an agent sends now, as far as what it was shown tells."""
    return await connection.fetchval(_SQL["hop_of"], agent, heard_seconds)
