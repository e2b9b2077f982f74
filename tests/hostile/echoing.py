"""An echo: agents whose handlers send whatever they are sent on to others of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from agent_messaging import AgentMessaging, AgentMessagingError
from tests.protocol.world import opened, register


@dataclass
class Echo:
    """Who takes part, in which processes, and what became of what they sent."""

    agents: list[str]
    processes: list[AgentMessaging[Any]]
    handled: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])

    async def begin(self) -> None:
        """Somebody says something."""
        await self.processes[0].async_conversation.send(self.agents[0], self.agents[1], "pass this on")


@asynccontextmanager
async def echoing(dsn: str, *, agents: int, times: int, **options: Any) -> AsyncGenerator[Echo]:
    """Have so many agents, in two processes, ready to send each message on to so many others."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(opened(dsn, **options)) for _ in range(2)]
        echo = Echo([f"echo{number}" for number in range(agents)], processes)
        await register(processes[0], *echo.agents)
        for number, agent in enumerate(echo.agents):
            _handle(echo, processes[number % 2], number, agent, times)
        for sdk in processes:
            await sdk.agents()  # registrations count from the next call on
        yield echo


def _handle(echo: Echo, sdk: AgentMessaging[Any], number: int, agent: str, times: int) -> None:
    steps = itertools.cycle(range(1, len(echo.agents)))

    @sdk.register_handler(agent)
    async def pass_on(message: Any, _context: Any) -> None:
        echo.handled += 1
        for step in itertools.islice(steps, times):
            try:
                await sdk.async_conversation.send(agent, echo.agents[(number + step) % len(echo.agents)], message)
            except AgentMessagingError as error:
                echo.refused[type(error).__name__] += 1
