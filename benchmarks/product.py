"""The product's side of each comparison."""

from __future__ import annotations

import asyncio
from typing import Any

from agent_messaging import AgentMessaging
from benchmarks.floor import BODY

STARTED = 2.0
"""Seconds after which a process has done what it does as it starts, and knows who else is there."""


class Product:
    """One SDK object with pairs of agents; `answering`: each answerer has a handler here."""

    def __init__(self, sdk: AgentMessaging[Any]) -> None:
        self._sdk = sdk

    async def prepare(self, *, pairs: int, answering: bool = False) -> None:
        """Register the agents, and the handlers."""
        sdk = self._sdk
        await sdk.register_organization("bench", "Bench", exist_ok=True)
        names = [f"{role}{number}" for number in range(pairs) for role in ("asker", "answerer", "reader")]
        for begin in range(0, len(names), 100):
            await asyncio.gather(
                *(sdk.register_agent(name, "bench", name, exist_ok=True) for name in names[begin : begin + 100])
            )
        if answering:
            self.answer(pairs)
        await asyncio.sleep(STARTED)

    def answer(self, pairs: int) -> None:
        """Have this process answer whatever the answerers are asked."""
        for number in range(pairs):
            self._sdk.register_handler(f"answerer{number}")(_echo)

    async def send(self, number: int, *, key: str | None = None) -> None:
        await self._sdk.async_conversation.send(f"asker{number}", f"reader{number}", BODY, idempotency_key=key)

    async def ask(self, number: int) -> None:
        await self._sdk.sync_conversation.send_and_wait(f"asker{number}", f"answerer{number}", BODY, timeout=60)


async def _echo(message: Any, context: Any) -> Any:
    return message if context.requires_reply else None
