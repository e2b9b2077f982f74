"""The protocol layer behind the server: opened when it is first needed, kept open, closed at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

if TYPE_CHECKING:
    from agent_messaging import AgentMessaging, Config

    Messaging: TypeAlias = AgentMessaging[Any]

Open: TypeAlias = "Callable[[AsyncExitStack], Awaitable[Messaging]]"
"""Opens the protocol layer; what has to be closed is entered into the stack."""

_CLOSING_SECONDS = 4.0

logger = logging.getLogger(__name__)


class Service:
    """One protocol layer for the whole process. A failed start is told to whoever waits for it; the next
    one tries again.
    """

    def __init__(self, open_: Open) -> None:
        self._open = open_
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[Messaging] | None = None
        self._closing = asyncio.Event()

    def begin(self) -> None:
        """Start, unless that has been tried: what nobody has asked for yet is not tried twice."""
        if self._ready is None:
            self.start()

    def start(self) -> asyncio.Future[Messaging]:
        """Begin to open, unless that has been done; what is returned ends when it is open, or has failed."""
        if self._ready is None or (self._ready.done() and self._ready.exception() is not None):
            self._ready = asyncio.get_running_loop().create_future()
            # Nobody may be waiting for the one that fails; whoever comes next starts another.
            self._ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
            self._task = asyncio.create_task(
                # It outlives the request that starts it, and is no part of it.
                self._run(self._ready),
                name="agent-messaging service",
                context=Context(),
            )
        return self._ready

    async def messaging(self) -> Messaging:
        """The open protocol layer. Raises what opening it raised."""
        return await asyncio.shield(self.start())

    async def close(self) -> None:
        """End everything that was opened; bounded, whatever the database does."""
        self._closing.set()
        if self._task is None:
            return
        if self._ready is not None and not self._ready.done():
            self._task.cancel()
        _, unfinished = await asyncio.wait([self._task], timeout=_CLOSING_SECONDS)
        if unfinished:
            logger.warning("the service did not close within %s s", _CLOSING_SECONDS)
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)

    async def _run(self, ready: asyncio.Future[Messaging]) -> None:
        # One task opens and closes: connections and leases are scopes, and a scope ends in the task that
        # began it.
        try:
            async with AsyncExitStack() as stack:
                ready.set_result(await self._open(stack))
                await self._closing.wait()
        except Exception as failed:
            if ready.done():
                logger.warning("the service ended badly: %r", failed)
            else:
                logger.warning(
                    "the service could not be opened: %r", failed, exc_info=logger.isEnabledFor(logging.DEBUG)
                )
                ready.set_exception(failed)
        finally:
            if not ready.done():
                ready.cancel()


def opened_for(
    agent: str, organization: str, config: Config | None = None, *, exchange_budget: int | None = None
) -> Open:
    """Opens the database of `config`, or the configured one, for a stdio server: its agent is registered if
    missing, and shown as connected. `exchange_budget` replaces that of the configuration.
    """

    async def open_(stack: AsyncExitStack) -> Messaging:
        messaging = await stack.enter_async_context(await _configured(config, exchange_budget))
        await messaging.register_organization(organization, organization, exist_ok=True)
        await messaging.register_agent(agent, organization, agent, exist_ok=True)
        await stack.enter_async_context(messaging.connection(agent))
        return messaging

    return open_


def opened(config: Config | None = None, *, exchange_budget: int | None = None) -> Open:
    """Opens the database of `config`, or the configured one, for a server of many agents. `exchange_budget` replaces
    that of the configuration.
    """

    async def open_(stack: AsyncExitStack) -> Messaging:
        return await stack.enter_async_context(await _configured(config, exchange_budget))

    return open_


async def _configured(config: Config | None, exchange_budget: int | None) -> Messaging:
    return await anyio.to_thread.run_sync(_make, config, exchange_budget)


def _make(config: Config | None, exchange_budget: int | None) -> Messaging:
    # Imported in a thread and not before it is needed: hosts allow 5 s from spawn to handshake.
    from agent_messaging import AgentMessaging, Config

    config = config or Config()
    if exchange_budget is not None:
        config = config.model_copy(update={"exchange_budget": exchange_budget})
    return AgentMessaging[Any](config)
