"""Statements on bearer tokens; what a token's holder keeps secret never comes here."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import TokenRow
from agent_messaging_db.statements import load

_SQL = load("tokens")


async def insert_token(
    connection: Connection,
    *,
    id: UUID,
    prefix: str,
    sha256: bytes,
    agent_id: UUID,
    name: str,
    expires_in: float | None,
) -> bool:
    """Say whether the prefix was free. `expires_in` counts seconds by the database's clock; None: for ever."""
    return await connection.fetchval(_SQL["insert_token"], id, prefix, sha256, agent_id, name, expires_in) is not None


async def get_token(connection: Connection, *, prefix: str) -> TokenRow | None:
    row = await connection.fetchrow(_SQL["get_token"], prefix)
    return None if row is None else TokenRow(**row)


async def list_tokens(
    connection: Connection, *, agent_id: UUID | None, organization_id: UUID | None, include_ended: bool
) -> list[TokenRow]:
    """Give the tokens of an agent, of an organization, or, with None, of all."""
    rows = await connection.fetch(_SQL["list_tokens"], agent_id, organization_id, include_ended)
    return [TokenRow(**row) for row in rows]


async def revoke_token(connection: Connection, *, prefix: str) -> TokenRow | None:
    """End a token, unless it was revoked before, and give it as it is now."""
    await connection.execute(_SQL["revoke_token"], prefix)
    return await get_token(connection, prefix=prefix)


async def ended_tokens(connection: Connection, *, ids: Iterable[UUID]) -> set[UUID]:
    """Give those of the tokens that are revoked, expired or gone."""
    return {row[0] for row in await connection.fetch(_SQL["ended_tokens"], list(ids))}
