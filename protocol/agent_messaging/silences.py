"""Silences: an operator's switch that lets an agent, or a whole organization, read and no longer write."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from agent_messaging.config import LONGEST
from agent_messaging.directory import Directory
from agent_messaging.engine import Engine
from agent_messaging.errors import InvalidArgumentError
from agent_messaging.models import Silence
from agent_messaging.waiting import agent_topic
from agent_messaging_db import silences
from agent_messaging_db.pool import Connection


class Silences:
    """Whom an operator has silenced.

    Who is silenced can read, attend meetings, pass and leave; what it sends, asks, answers and speaks is refused with
    SilencedError, and its handlers rest: what comes meanwhile waits for them. Questions that are open to it stand.
    """

    def __init__(self, engine: Engine[Any], directory: Directory) -> None:
        self._engine = engine
        self._directory = directory

    async def silence_agent(
        self, external_id: str, *, seconds: float | None = None, until: datetime | None = None
    ) -> Silence:
        """Silence an agent for `seconds`, or until a moment; with neither, until that is lifted.

        Once this returns, no process accepts anything that the agent writes. Silencing again replaces the end.

        Raises:
            AgentNotFoundError: the agent does not exist. InvalidArgumentError: `seconds` is not a number above 0,
                `until` has no time zone, or both are given.
        """
        await self._engine.ready()
        agent = await self._directory.identity(external_id)
        await self._set(agent.id, seconds, until, agent=agent.id)
        return await self._found(external_id, None)

    async def silence_organization(
        self, external_id: str, *, seconds: float | None = None, until: datetime | None = None
    ) -> Silence:
        """Silence every agent of an organization, those that come later included; as for `silence_agent`.

        Raises:
            OrganizationNotFoundError: it does not exist. InvalidArgumentError: as for `silence_agent`.
        """
        organization = await self._directory.get_organization(external_id)
        await self._set(organization.id, seconds, until, organization=organization.id)
        return await self._found(None, external_id)

    async def lift_agent(self, external_id: str) -> bool:
        """Let an agent write again, unless its organization is silenced; says whether it was silenced. Raises
        AgentNotFoundError.
        """
        await self._engine.ready()
        agent = await self._directory.identity(external_id)
        return await self._lift(agent.id, [agent.id])

    async def lift_organization(self, external_id: str) -> bool:
        """Let the agents of an organization write again, except for those silenced by name; says whether it was
        silenced. Raises OrganizationNotFoundError.
        """
        organization = await self._directory.get_organization(external_id)
        agents = await self._engine.read(
            lambda connection: silences.agents_of(connection, organization=organization.id)
        )
        return await self._lift(organization.id, agents)

    async def list(self) -> list[Silence]:
        """Give every silence in force, by organization and agent."""
        await self._engine.ready()
        return [
            Silence(
                agent_external_id=row.agent_external_id,
                organization_external_id=row.organization_external_id,
                since=row.since,
                until=row.until,
            )
            for row in await self._engine.read(silences.list_silences)
        ]

    async def _set(
        self,
        subject: UUID,
        seconds: float | None,
        until: datetime | None,
        *,
        agent: UUID | None = None,
        organization: UUID | None = None,
    ) -> None:
        checked_seconds, checked_until = _checked(seconds, until)

        async def silence(connection: Connection, _again: bool) -> None:
            await silences.set_silence(connection, subject=subject, until=checked_until, seconds=checked_seconds)
            await silences.outdate_meetings(connection, agent=agent, organization=organization)

        await self._engine.database.run(silence)

    async def _lift(self, subject: UUID, agents: list[UUID]) -> bool:
        async def lift(connection: Connection, again: bool) -> bool:
            return await silences.lift_silence(connection, subject=subject) or again

        lifted = await self._engine.database.run(lift)
        # Their handlers have something to do.
        self._engine.waiting.wake([agent_topic(agent) for agent in agents])
        return lifted

    async def _found(self, agent: str | None, organization: str | None) -> Silence:
        for silence in await self.list():
            if agent is None and silence.agent_external_id is None:
                if silence.organization_external_id == organization:
                    return silence
            elif agent is not None and silence.agent_external_id == agent:
                return silence
        raise InvalidArgumentError("`until` has passed already; name a moment that is to come")


def _checked(seconds: object, until: object) -> tuple[float | None, datetime | None]:
    if seconds is not None and until is not None:
        raise InvalidArgumentError("give seconds or until, not both")
    if seconds is not None:
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= LONGEST:
            raise InvalidArgumentError(f"seconds is a number above 0, not {str(seconds)[:40]!r}")
        return float(seconds), None
    if until is None:
        return None, None
    if not isinstance(until, datetime) or until.tzinfo is None:
        raise InvalidArgumentError(f"until is a moment with a time zone, not {str(until)[:40]!r}")
    return None, until.astimezone(UTC)
