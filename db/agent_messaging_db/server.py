"""What there is to know about the server itself."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from agent_messaging_db.pool import Connection


async def about(connection: Connection) -> tuple[int, str]:
    """Give the server's major version and whether its commits wait for the disk (`synchronous_commit`)."""
    setting = await connection.fetchval("SELECT current_setting('synchronous_commit')")
    return connection.get_server_version().major, setting


async def installation(connection: Connection) -> UUID:
    """Give the random id of the database, by which its processes know each other on a bus."""
    return await connection.fetchval("SELECT id FROM installation")


async def now(connection: Connection) -> datetime:
    """Give the server's time."""
    return await connection.fetchval("SELECT clock_timestamp()")
