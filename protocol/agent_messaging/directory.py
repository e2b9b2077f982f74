"""Organizations and agents: registering and looking up."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from agent_messaging.content import checked_text
from agent_messaging.engine import Engine
from agent_messaging.errors import (
    AgentAlreadyExistsError,
    AgentNotFoundError,
    InvalidArgumentError,
    OrganizationAlreadyExistsError,
    OrganizationNotFoundError,
)
from agent_messaging.identifiers import checked_external_id, is_external_id
from agent_messaging.models import Agent, Organization, OrganizationListing
from agent_messaging_db import directory
from agent_messaging_db.ids import new_id
from agent_messaging_db.pool import Connection
from agent_messaging_db.rows import AgentRow, IdentityRow

LONGEST_NAME = 200
MOST_COMPARED = 5_000


class Directory:
    """Who there is."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine

    async def register_organization(self, external_id: str, name: str, *, exist_ok: bool) -> UUID:
        """See AgentMessaging.register_organization."""
        await self._engine.ready()
        checked_external_id(external_id)
        _check_name(name)
        id = new_id()

        async def insert(connection: Connection, again: bool) -> UUID:
            if await directory.insert_organization(connection, id=id, external_id=external_id, name=name):
                return id
            row = await directory.get_organization(connection, external_id=external_id)
            if row is not None and (exist_ok or (again and row.id == id)):
                return row.id
            raise OrganizationAlreadyExistsError(
                f"there is an organization {external_id!r} already; pass exist_ok=True to use it"
            )

        return await self._engine.database.run(insert)

    async def register_agent(self, external_id: str, organization: str, name: str, *, exist_ok: bool) -> UUID:
        """See AgentMessaging.register_agent."""
        await self._engine.ready()
        checked_external_id(external_id)
        _check_name(name)
        home = await self.get_organization(organization)
        id = new_id()

        async def insert(connection: Connection, again: bool) -> UUID:
            if await directory.insert_agent(
                connection, id=id, external_id=external_id, organization_id=home.id, name=name
            ):
                return id
            rows = await directory.get_identities(connection, external_ids=[external_id])
            if rows and (exist_ok or (again and rows[0].id == id)):
                return _at_home(rows[0], home)
            raise AgentAlreadyExistsError(f"there is an agent {external_id!r} already; pass exist_ok=True to use it")

        return await self._engine.database.run(insert)

    async def get_organization(self, external_id: str) -> Organization:
        """Give an organization; raises OrganizationNotFoundError."""
        await self._engine.ready()
        row = None
        if is_external_id(external_id):
            row = await self._engine.read(
                lambda connection: directory.get_organization(connection, external_id=external_id)
            )
        if row is None:
            near = _close_to(external_id, [other.external_id for other in await self.organizations()])
            raise OrganizationNotFoundError(
                f"there is no organization {str(external_id)[:140]!r}; {near or 'register it first'}"
            )
        return Organization(
            id=row.id,
            external_id=row.external_id,
            name=row.name,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )

    async def organizations(self) -> list[OrganizationListing]:
        """See AgentMessaging.organizations."""
        await self._engine.ready()
        rows = await self._engine.read(directory.list_organizations)
        allows = {row.external_id: row.allows for row in rows}
        return [
            OrganizationListing(
                id=row.id,
                external_id=row.external_id,
                name=row.name,
                created_at=row.created_at,
                updated_at=row.updated_at,
                agent_count=row.agent_count,
                allows=tuple(row.allows),
                reaches=tuple(other for other in row.allows if row.external_id in allows[other]),
            )
            for row in rows
        ]

    async def allow(self, organization: str, other: str) -> bool:
        """See AgentMessaging.allow_organization."""
        home, guest = await self._two(organization, other)

        async def permit(connection: Connection, _again: bool) -> bool:
            await directory.set_permission(connection, organization_id=home.id, allows_id=guest.id)
            return guest.id in await directory.mutually_allowed(connection, organization_id=home.id)

        return await self._engine.database.run(permit)

    async def disallow(self, organization: str, other: str) -> None:
        """See AgentMessaging.disallow_organization."""
        home, guest = await self._two(organization, other)
        await self._engine.read(
            lambda connection: directory.unset_permission(connection, organization_id=home.id, allows_id=guest.id)
        )

    async def get_agent(self, external_id: str) -> Agent:
        """Give an agent with its presence; raises AgentNotFoundError."""
        await self._engine.ready()
        rows: list[AgentRow] = []
        if is_external_id(external_id):
            rows = await self._engine.read(
                lambda connection: directory.get_agents(connection, external_ids=[external_id])
            )
        if not rows:
            raise AgentNotFoundError(
                f"there is no agent {str(external_id)[:140]!r}; register it first, or check the name"
            )
        return agent_from(rows[0])

    async def agents(self, organization: str | None = None) -> list[Agent]:
        """See AgentMessaging.agents."""
        await self._engine.ready()
        home = None if organization is None else (await self.get_organization(organization)).id
        rows = await self._engine.read(lambda connection: directory.list_agents(connection, organization_id=home))
        return [agent_from(row) for row in rows]

    async def identity(self, external_id: str) -> IdentityRow:
        """Give an agent, for whoever may see all of them; raises AgentNotFoundError, which names near matches."""
        try:
            return await self._engine.names.agent(external_id)
        except AgentNotFoundError:
            rows = await self._engine.read(
                lambda connection: directory.list_agents(connection, organization_id=None, limit=MOST_COMPARED)
            )
            near = _close_to(external_id, [row.external_id for row in rows])
            raise AgentNotFoundError(
                f"there is no agent {str(external_id)[:140]!r}; {near or 'register it first'}"
            ) from None

    async def visible_from(self, organization: UUID, *, query: str | None = None, limit: int = 100) -> list[Agent]:
        """Give the agents that one of this organization may see: its own, and those of mutually allowed ones."""
        rows = await self._engine.read(
            lambda connection: directory.visible_agents(
                connection, organization_id=organization, query=query or None, limit=limit
            )
        )
        return [agent_from(row) for row in rows]

    async def near_matches(self, organization: UUID, name: str, *, limit: int = 3) -> list[str]:
        """Give visible agents with names like this one."""
        agents = await self.visible_from(organization, limit=MOST_COMPARED)
        return difflib.get_close_matches(name, [agent.external_id for agent in agents], n=limit, cutoff=0.5)

    async def _two(self, organization: str, other: str) -> tuple[Organization, Organization]:
        await self._engine.ready()
        home, guest = await self.get_organization(organization), await self.get_organization(other)
        if home.id == guest.id:
            raise InvalidArgumentError(
                f"the agents of {home.external_id!r} reach each other anyway; name two organizations"
            )
        return home, guest


def _close_to(name: object, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name)[:140], names, n=3, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else ""


def _check_name(name: str) -> None:
    if not checked_text(name, name="the name", limit=LONGEST_NAME, error=InvalidArgumentError):
        raise InvalidArgumentError(f"the name is text of 1 to {LONGEST_NAME} characters; none was given")


def agent_from(row: AgentRow) -> Agent:
    return Agent(
        id=row.id,
        external_id=row.external_id,
        organization_id=row.organization_id,
        organization_external_id=row.organization_external_id,
        name=row.name,
        created_at=row.created_at,
        updated_at=row.updated_at,
        online=row.online,
        reachable=row.has_handler or row.reads_inbox,
        last_seen_at=row.last_seen_at,
        silenced=row.silenced,
        silenced_until=row.silenced_until,
    )


def _at_home(row: IdentityRow, home: Organization) -> UUID:
    if row.organization_id != home.id:
        raise AgentAlreadyExistsError(
            f"there is an agent {row.external_id!r} already, and it belongs to another organization than "
            f"{home.external_id!r}; choose another name"
        )
    return row.id
