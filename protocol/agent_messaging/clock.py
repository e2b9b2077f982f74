"""What time it is in the database, for whoever puts it into words: nothing is decided by this."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agent_messaging_db import server
from agent_messaging_db.pool import Connection


class Clock:
    """The database's clock, as far as this host can tell: its own, set right by the difference it last measured."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    async def measure(self, connection: Connection) -> None:
        """Ask the database, to half a round trip."""
        before = datetime.now(UTC)
        there = await server.now(connection)
        self._ahead = there - (before + (datetime.now(UTC) - before) / 2)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead
