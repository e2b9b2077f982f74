"""The statement that says how much is waiting in the database, for whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass

from agent_messaging_db.pool import Connection
from agent_messaging_db.statements import load

_SQL = load("depths")

COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Depths:
    """How much is unread, open and under way, in all processes together. Exact below `COUNTED`; from there on
    no less than that, and as much as the last ANALYZE or VACUUM found.
    """

    unread_deliveries: int
    open_questions: int
    live_meetings: int


async def depths(connection: Connection) -> Depths:
    """Costs the same however many rows there are."""
    row = await connection.fetchrow(_SQL["depths"], COUNTED)
    assert row is not None  # noqa: S101 - without FROM there is always one
    return Depths(**row)
