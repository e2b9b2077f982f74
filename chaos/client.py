"""One life of a client process: it makes calls, writes down what comes of them, and knows what earlier lives began."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from chaos import plan
from chaos.hands import Hands, Page, Refused, Unknown, Untyped
from chaos.history import HUNG, OK, REFUSED, UNKNOWN, Line, Recorder

Result = TypeVar("Result")

PLAN, TOKENS, SERVERS, DRAIN, FINISH = "plan.json", "tokens.json", "servers.json", "drain", "finish"
"""What the directory of a run holds, besides histories."""
PATIENCE = 3.0
"""How long a wait is held, in seconds."""
HUNG_AFTER = 50.0
"""Seconds that a call may take beyond its patience. It is generous: what is longer is taken for a wait without end."""


class Client:
    """One life of a client process: its history, its chance, and how it makes calls."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.plan = plan.read(directory / PLAN)
        self.recorder = Recorder(directory, name)
        self.rng = random.Random(f"{self.plan.seed}/{name}/{self.recorder.life}")
        self._tries: Counter[str] = Counter(line["op"] for line in self.recorder.before if line["what"] == "invoked")
        self._made = 0

    @property
    def is_draining(self) -> bool:
        """Whether nothing new is to be begun."""
        return (self.directory / DRAIN).exists()

    @property
    def is_finishing(self) -> bool:
        """Whether nobody will send any more: who has nothing unread is done."""
        return (self.directory / FINISH).exists()

    def new_op(self, agent: str) -> str:
        """A name for an operation that nothing ever had."""
        self._made += 1
        return f"{agent}/{self.name}.{self.recorder.life}.{self._made}"

    def chance_of(self, op: str) -> random.Random:
        """Chance that decides the same after a crash."""
        return random.Random(f"{self.plan.seed}/{op}")

    def unfinished(self, agent: str, *calls: str) -> list[Line]:
        """The first tries of the operations that earlier lives began, and whose outcome they did not learn."""
        begun: dict[str, Line] = {}
        for line in self.recorder.before:
            match line["what"]:
                case "invoked" if line["agent"] == agent and line["call"] in calls:
                    begun.setdefault(line["op"], line)
                case "returned" if line["outcome"] in (OK, REFUSED) and line.get("state") != "waiting":
                    begun.pop(line["op"], None)
                case "abandoned":
                    begun.pop(line["op"], None)
                case _:
                    pass
        return list(begun.values())

    async def tried(
        self,
        op: str,
        call: str,
        agent: str,
        work: Callable[[], Awaitable[Result]],
        *,
        patience: float = 0.0,
        cancel_after: float | None = None,
        result: Callable[[Result], dict[str, Any]] = lambda _: {},
        **facts: Any,
    ) -> tuple[str, Result | None]:
        """Make a call, and write down that it is made and what comes of it; gives the outcome, and what came back.

        `cancel_after`: give the call up then, as a caller does who has lost interest.
        """
        self._tries[op] += 1
        said = {"op": op, "try": self._tries[op], "call": call, "agent": agent}
        self.recorder.write("invoked", **said, **facts)
        outcome, why, came, known = UNKNOWN, "", None, dict[str, Any]()
        guard = asyncio.timeout(patience + HUNG_AFTER)
        try:
            async with guard, asyncio.timeout(cancel_after):
                came = await work()
                outcome, known = OK, result(came)
        except Refused as refused:
            outcome, why = REFUSED, str(refused)
        except Untyped as untyped:
            why, known = str(untyped), {"untyped": True}
        except Unknown as unknown:
            why = str(unknown)
        except TimeoutError:
            if guard.expired():
                outcome = HUNG
            else:
                known = {"cancelled": True}
        self.recorder.write("returned", **said, outcome=outcome, **({"why": why[:300]} if why else {}), **known)
        return outcome, came

    async def settled(
        self, op: str, call: str, agent: str, work: Callable[[], Awaitable[Result]], **options: Any
    ) -> tuple[str, Result | None]:
        """The same, tried until the outcome is known. It must be safe to repeat."""
        while True:
            outcome, came = await self.tried(op, call, agent, work, **options)
            if outcome in (OK, REFUSED):
                return outcome, came
            options.pop("cancel_after", None)
            await asyncio.sleep(self.rng.uniform(0.05, 0.3))

    async def looked(self, hands: Hands, agent: str, patience: float = PATIENCE) -> tuple[Page, float]:
        """What the agent's inbox shows, and when it was asked."""
        op = self.new_op(agent)
        while True:
            asked_at = time.monotonic()
            _, page = await self.tried(
                op,
                "look",
                agent,
                lambda: hands.look(agent, patience),
                patience=patience,
                result=lambda page: {"items": len(page.items)},
            )
            if page is not None:
                return page, asked_at
            await asyncio.sleep(self.rng.uniform(0.05, 0.2))

    async def acknowledged(self, hands: Hands, agent: str, receipt: object, ops: list[str]) -> None:
        """Acknowledge what a page showed, once: what that fails for comes again."""
        outcome, _ = await self.tried(
            self.new_op(agent), "acknowledge", agent, lambda: hands.acknowledge(agent, receipt)
        )
        if outcome == OK:
            self.recorder.write("acknowledged", agent=agent, ops=ops)
