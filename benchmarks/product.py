"""The product's side of each comparison."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any
from uuid import UUID

from agent_messaging import AgentMessaging
from benchmarks.floor import BODY


class Product:
    """One SDK object with pairs of agents, of which each second one has a handler."""

    def __init__(self, sdk: AgentMessaging[Any]) -> None:
        self._sdk = sdk
        self._pairs = 0

    async def prepare(self, *, pairs: int) -> None:
        """Register the agents and their handlers."""
        sdk, self._pairs = self._sdk, pairs
        await sdk.register_organization("bench", "Bench")
        for number in range(pairs):
            await sdk.register_agent(f"asker{number}", "bench", "Asker")
            await sdk.register_agent(f"answerer{number}", "bench", "Answerer")
            await sdk.register_agent(f"reader{number}", "bench", "Reader")
            sdk.register_handler(f"answerer{number}")(self._answer)
        for name in ("ann", "ben", "cleo"):
            await sdk.register_agent(name, "bench", name)
        await sdk.get_agent("ann")

    async def send_one(self) -> None:
        await self._sdk.async_conversation.send("asker0", "reader0", BODY)

    async def send(self, number: int) -> None:
        await self._sdk.async_conversation.send(f"asker{number % self._pairs}", f"reader{number % self._pairs}", BODY)

    async def ask(self, number: int) -> None:
        await self._sdk.sync_conversation.send_and_wait(f"asker{number}", f"answerer{number}", BODY, timeout=60)

    async def hand_over_ms(self, *, turns: int) -> float:
        """The median from a call of `speak` to the return of the next speaker's wait."""
        meeting = self._sdk.meeting
        id = await meeting.create_meeting("ann", ["ben", "cleo"], max_turns=turns)
        spoke_at: list[float] = []
        durations: list[float] = []
        members = [asyncio.create_task(self._take_part(name, id, spoke_at, durations)) for name in ("ben", "cleo")]
        for name in ("ben", "cleo"):
            await self._attends(id, name)
        signal = await meeting.start_meeting("ann", id, BODY, wait=True)
        await self._go_on("ann", id, signal, spoke_at, durations)
        await asyncio.gather(*members)
        return statistics.median(durations) * 1000

    async def _attends(self, id: UUID, name: str) -> None:
        changed = asyncio.Event()
        stop = await self._sdk.as_agent(name).on_meeting_change(id, changed.set)
        while (await self._sdk.meeting.get_meeting_status(id)).participant_status[name] != "attending":
            await changed.wait()
            changed.clear()
        stop()

    async def _take_part(self, name: str, id: UUID, spoke_at: list[float], durations: list[float]) -> None:
        signal = await self._sdk.meeting.attend_meeting(name, id, timeout=60)
        await self._go_on(name, id, signal, spoke_at, durations)

    async def _go_on(self, name: str, id: UUID, signal: Any, spoke_at: list[float], durations: list[float]) -> None:
        while signal.reason == "your_turn":
            if spoke_at:
                durations.append(time.perf_counter() - spoke_at[-1])
            spoke_at.append(time.perf_counter())
            signal = await self._sdk.meeting.speak(name, id, BODY, timeout=60)

    async def _answer(self, message: Any, context: Any) -> Any:
        return message if context.requires_reply else None
