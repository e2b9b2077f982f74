"""Statements on idempotency keys."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from agent_messaging_db.pool import Connection
from agent_messaging_db.statements import load

_SQL = load("keys")


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key: whose, the key, the hash of the payload."""

    agent_id: UUID
    key: str
    hash: bytes


async def get_key(connection: Connection, *, key: Key) -> tuple[bytes, str] | None:
    """Give the hash and the result of a key that was used in the last 24 hours."""
    row = await connection.fetchrow(_SQL["get_key"], key.agent_id, key.key)
    return None if row is None else (row["hash"], row["result"])


async def drop_old_key(connection: Connection, *, key: Key) -> None:
    """Free a key whose 24 hours have passed."""
    await connection.execute(_SQL["drop_old_key"], key.agent_id, key.key)
