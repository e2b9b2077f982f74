"""What agents are called: external ids to rows and back, remembered for as long as the process lives, as they
never change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID

from agent_messaging.coalescing import Coalescer
from agent_messaging.errors import AgentNotFoundError
from agent_messaging.identifiers import is_external_id
from agent_messaging_db import directory
from agent_messaging_db.pool import Connection, Database
from agent_messaging_db.rows import IdentityRow

REMEMBERED = 100_000


class Names:
    """Resolves agents; raises AgentNotFoundError for one that does not exist."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_name: dict[str, IdentityRow] = {}
        self._by_id: dict[UUID, IdentityRow] = {}
        self._organizations: dict[UUID, UUID] = {}
        self._load = Coalescer(self._load_all)

    async def agent(self, external_id: str) -> IdentityRow:
        return (await self.agents([external_id]))[0]

    async def agents(self, external_ids: Sequence[str]) -> list[IdentityRow]:
        """Give the agents in the order in which they were named."""
        try:
            return [self._by_name[name] for name in external_ids]
        except (KeyError, TypeError):  # one that is not remembered, or no name at all
            pass
        # What is no external id cannot have been registered, and PostgreSQL could not even be asked about some of it.
        possible = [name for name in external_ids if is_external_id(name)]
        if unknown := [name for name in possible if name not in self._by_name]:
            await self._load(unknown)
        if missing := [name for name in external_ids if name not in possible or name not in self._by_name]:
            listed = ", ".join(repr(name)[:140] for name in missing)
            raise AgentNotFoundError(f"there is no agent {listed}; register it first, or check the name")
        return [self._by_name[name] for name in external_ids]

    async def of(self, ids: Iterable[UUID | None]) -> dict[UUID, str]:
        """Give the external ids of agents by their ids."""
        wanted = {id for id in ids if id is not None}
        # Not the difference with keys(), which walks through all of them.
        if unknown := [id for id in wanted if id not in self._by_id]:
            await self._load(unknown)
        return {id: self._by_id[id].external_id for id in wanted if id in self._by_id}

    async def identity(self, id: UUID) -> IdentityRow:
        await self.of([id])
        return self._by_id[id]

    async def _load_all(self, batch: Sequence[Sequence[str | UUID]]) -> list[None]:
        wanted = {key for keys in batch for key in keys}
        external_ids = [key for key in wanted if isinstance(key, str)]
        ids = [key for key in wanted if not isinstance(key, str)]

        async def read(connection: Connection, _again: bool) -> list[IdentityRow]:
            return await directory.get_identities(connection, external_ids=external_ids, ids=ids)

        if len(self._by_id) > REMEMBERED:
            self._by_id.clear()
            self._by_name.clear()
        for found in await self._database.run(read):
            # One object for each organization, not one for each of its agents; and many are called what their id says.
            organization = self._organizations.setdefault(found.organization_id, found.organization_id)
            name = found.external_id if found.name == found.external_id else found.name
            row = replace(found, organization_id=organization, name=name)
            self._by_name[row.external_id] = row
            self._by_id[row.id] = row
        return [None] * len(batch)
