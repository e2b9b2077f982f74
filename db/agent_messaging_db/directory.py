"""Statements on organizations, agents and what they permit each other."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import AgentRow, IdentityRow, OrganizationListRow, OrganizationRow
from agent_messaging_db.statements import load

_SQL = load("directory")


async def insert_organization(connection: Connection, *, id: UUID, external_id: str, name: str) -> bool:
    """Say whether the name was free."""
    return await connection.fetchval(_SQL["insert_organization"], id, external_id, name) is not None


async def get_organization(connection: Connection, *, external_id: str) -> OrganizationRow | None:
    row = await connection.fetchrow(_SQL["get_organization"], external_id)
    return None if row is None else OrganizationRow(**row)


async def list_organizations(connection: Connection) -> list[OrganizationListRow]:
    return [OrganizationListRow(**row) for row in await connection.fetch(_SQL["list_organizations"])]


async def insert_agent(connection: Connection, *, id: UUID, external_id: str, organization_id: UUID, name: str) -> bool:
    """Say whether the name was free."""
    return await connection.fetchval(_SQL["insert_agent"], id, external_id, organization_id, name) is not None


async def get_agents(connection: Connection, *, external_ids: Iterable[str]) -> list[AgentRow]:
    return [AgentRow(**row) for row in await connection.fetch(_SQL["get_agents"], list(external_ids))]


async def list_agents(
    connection: Connection, *, organization_id: UUID | None, limit: int | None = None
) -> list[AgentRow]:
    """Give the agents of an organization, or, with None, of all."""
    return [AgentRow(**row) for row in await connection.fetch(_SQL["list_agents"], organization_id, limit)]


async def get_identities(
    connection: Connection, *, external_ids: Iterable[str] = (), ids: Iterable[UUID] = ()
) -> list[IdentityRow]:
    return [IdentityRow(**row) for row in await connection.fetch(_SQL["get_identities"], list(external_ids), list(ids))]


async def visible_agents(
    connection: Connection, *, organization_id: UUID, query: str | None, limit: int
) -> list[AgentRow]:
    return [AgentRow(**row) for row in await connection.fetch(_SQL["visible_agents"], organization_id, query, limit)]


async def mutually_allowed(connection: Connection, *, organization_id: UUID) -> set[UUID]:
    return {row[0] for row in await connection.fetch(_SQL["mutually_allowed"], organization_id)}


async def set_permission(connection: Connection, *, organization_id: UUID, allows_id: UUID) -> None:
    await connection.execute(_SQL["set_permission"], organization_id, allows_id)


async def unset_permission(connection: Connection, *, organization_id: UUID, allows_id: UUID) -> None:
    await connection.execute(_SQL["unset_permission"], organization_id, allows_id)
