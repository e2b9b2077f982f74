"""Organizations and agents: registering and looking up."""

from __future__ import annotations

import difflib
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
from agent_messaging.identifiers import checked_external_id, is_external_id, new_id
from agent_messaging.models import Agent, Organization
from agent_messaging_db import directory
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
            raise OrganizationNotFoundError(f"there is no organization {str(external_id)[:140]!r}; register it first")
        return Organization(
            id=row.id,
            external_id=row.external_id,
            name=row.name,
            created_at=row.created_at,
            updated_at=row.updated_at,
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
    )


def _at_home(row: IdentityRow, home: Organization) -> UUID:
    if row.organization_id != home.id:
        raise AgentAlreadyExistsError(
            f"there is an agent {row.external_id!r} already, and it belongs to another organization than "
            f"{home.external_id!r}; choose another name"
        )
    return row.id
