"""Whether an open SDK can do its work, for whoever decides to send it some."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agent_messaging.engine import Engine
from agent_messaging_db.errors import DatabaseUnavailable, SchemaError, SchemaTooNewError
from agent_messaging_db.migrate import check

PATIENCE = 2.0  # seconds: somebody is waiting for the answer


class SchemaState(StrEnum):
    """How the tables and this code belong together."""

    CURRENT = "current"
    NEWER = "newer"  # migrated ahead of a deployment: what is open goes on
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Health:
    """`database`: it answers. `wakeups`: those of other processes arrive; without them waits are slower.
    `wakeups_are_needed`: a process without them is not ready, as the others have what it lacks. A bus that is away is
    away for every process: to take all of them out of service would make an outage of a delay.
    """

    database: bool
    schema: SchemaState
    wakeups: bool
    wakeups_are_needed: bool = True

    @property
    def is_ready(self) -> bool:
        """Whether work may be sent here."""
        hears_enough = self.wakeups or not self.wakeups_are_needed
        return self.database and hears_enough and self.schema in (SchemaState.CURRENT, SchemaState.NEWER)


async def health(engine: Engine[Any]) -> Health:
    """See AgentMessaging.health."""
    await engine.ready()
    try:
        async with asyncio.timeout(PATIENCE), engine.database.connection() as connection:
            await check(connection)
        state = SchemaState.CURRENT
    except SchemaTooNewError:
        state = SchemaState.NEWER
    except SchemaError:
        state = SchemaState.WRONG
    except (DatabaseUnavailable, TimeoutError):
        state = None
    return Health(
        database=state is not None,
        schema=state or SchemaState.UNKNOWN,
        wakeups=engine.waiting.hears,
        wakeups_are_needed=engine.wakeups_are_needed,
    )
