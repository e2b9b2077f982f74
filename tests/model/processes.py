"""Processes of a history: SDK objects that carry out calls written as plain data, here or in another process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Protocol
from uuid import UUID

from pydantic import BaseModel

from agent_messaging import AgentMessaging, AgentMessagingError
from tests.model.clock import LEASE
from tests.protocol.world import config

NEVER = 86_400.0
"""Seconds between two sweeps of a process: they are done when the history says so."""
PATIENT = 3_600.0
"""The window of a call that waits: it ends by what happens, not by the time that the test takes."""

Outcome = list[Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one method of one service (or of the SDK itself); ids are `UUID` objects."""

    service: str
    method: str
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict[str, Any])


class Process(Protocol):
    """One process on the database."""

    @property
    def id(self) -> UUID:
        """What it is called in the database."""
        ...

    async def call(self, call: Call) -> Outcome:
        """Carry out a call; a cancellation reaches it."""
        ...

    async def sweep(self) -> None:
        """Apply what is due, and look again."""
        ...

    async def waits(self) -> int:
        """How many of its calls wait."""
        ...

    async def settled(self) -> None:
        """Wait until nothing is on its way that no call waits for."""
        ...

    async def crash(self) -> None:
        """From this moment on it writes nothing more."""
        ...

    async def close(self) -> None:
        """Go in good order; the waits end first."""
        ...


class LocalProcess:
    """An SDK object in this process: to the database, a process of its own."""

    def __init__(self, sdk: AgentMessaging[Any]) -> None:
        self.sdk = sdk
        self._engine: Any = sdk._engine  # type: ignore[attr-defined]

    @classmethod
    async def open(cls, dsn: str) -> LocalProcess:
        # Two connections are the least, and a pool of ten would be opened anew after every crash.
        sdk: AgentMessaging[Any] = AgentMessaging(
            config(dsn, sweep_interval=NEVER, handler_lease=LEASE, max_pool_size=4, auto_migrate=False)
        )
        await sdk.initialize()
        return cls(sdk)

    @property
    def id(self) -> UUID:
        return self._engine.process

    async def call(self, call: Call) -> Outcome:
        return await perform(self.sdk, call)

    async def sweep(self) -> None:
        await self.sdk._sweep._sweep()  # type: ignore[attr-defined]

    async def waits(self) -> int:
        return self._engine.counts.waits_open

    async def settled(self) -> None:
        reader: Any = self.sdk._services.inbox._reader  # type: ignore[attr-defined]
        await asyncio.gather(*reader._finishing, return_exceptions=True)
        await asyncio.sleep(0)  # what was read for nobody is given back in a callback
        await self._engine.outbox.settled()

    async def crash(self) -> None:
        # Its connections end first, so that whatever it still tries to write in going down fails.
        database = self._engine.database
        pool, database._pool = database._pool, None
        pool.terminate()
        self._engine.waiting._wakeups._sent.set()  # there is nobody to publish to any more
        await self.sdk.close()

    async def close(self) -> None:
        await self.sdk.close()


async def perform(sdk: AgentMessaging[Any], call: Call) -> Outcome:
    """Make the call; gives `["ok", result]` or `["no", error, facts]` in plain values."""
    service = getattr(sdk, call.service) if call.service else sdk
    making: Coroutine[Any, Any, Any] = getattr(service, call.method)(*call.arguments, **call.options)
    try:
        return ["ok", plain(await making)]
    except AgentMessagingError as error:
        facts = {name: plain(getattr(error, name, None)) for name in ("question_id", "expired", "reason")}
        return ["no", type(error).__name__, facts]


def plain(value: Any) -> Any:
    """A result as JSON knows it."""
    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case UUID():
            return str(value)
        case list() | tuple():
            return [plain(item) for item in value]
        case _ if is_dataclass(value):
            return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
        case _:
            return value


async def soon(awaitable: Coroutine[Any, Any, Any], *, seconds: float = 20) -> Any:
    """What comes of it, bounded."""
    async with asyncio.timeout(seconds):
        return await awaitable
