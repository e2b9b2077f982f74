"""Keeps one agent's requests from standing in front of everybody else's: a few are served at once, the others queue,
and whoever goes on and on after being refused is turned away unread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from agent_messaging_mcp.http.credentials import current
from agent_messaging_mcp.limits import Door
from agent_messaging_mcp.text import span
from agent_messaging_mcp.waits import LEAVE

MOST_QUEUED = 64
"""Requests of one agent that have been taken and not been begun."""
PLACE_SECONDS = 2.0
"""How long a request keeps its place: what takes longer is not busy but waits, for its client or for the database."""
_SOON = 1
"""Seconds after which a request that found no room is made again."""


class NoRoom(Exception):
    """As many requests of the agent are queued as may be."""


@dataclass(slots=True)
class _Line:
    served: int = 0
    queued: deque[asyncio.Future[None]] = field(default_factory=deque[asyncio.Future[None]])


class Gate:
    """Serves `at_once` requests of each agent; more of them come in as they came. `refused` is told of what was turned
    away.
    """

    def __init__(self, door: Door, *, at_once: int, refused: Callable[[str], None]) -> None:
        self._door = door
        self._at_once = at_once
        self._refused = refused
        self._lines: dict[str, _Line] = {}

    def place(self, agent: str) -> _Place:
        """One of the agent's places, for as long as the block runs or until what it gives is called: a request that
        only waits needs none. Raises NoRoom.
        """
        return _Place(self, agent)

    def guarding(self, app: ASGIApp) -> ASGIApp:
        """`app` behind the gate. What opens a stream has no place, nor what is only posted to one: there the request
        itself gets one (`Exchanges.middleware`).
        """

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            credential = current()
            if scope["type"] != "http" or credential is None or credential.subject is None:
                await app(scope, receive, send)
                return
            agent = credential.subject
            if seconds := self._door.closed_for(agent):
                self._refused("flood")
                words = f"You went on calling after being refused. Try again in {span(seconds)}."
                await _too_many(words, seconds)(scope, receive, send)
                return
            if not has_place_of_its_own(scope):
                await app(scope, receive, send)
                return
            try:
                async with self.place(agent) as leave:
                    scope[LEAVE] = leave
                    await app(scope, receive, send)
            except NoRoom:
                self._refused("queue")
                words = f"{MOST_QUEUED} requests of yours are waiting to be served. Try again soon."
                await _too_many(words, _SOON)(scope, receive, send)

        return guarded

    async def enter(self, agent: str) -> None:
        """Take a place of the agent's, once there is one. Raises NoRoom."""
        line = self._lines.setdefault(agent, _Line())
        if line.served < self._at_once:
            line.served += 1
            return
        if len(line.queued) >= MOST_QUEUED:
            raise NoRoom
        turn = asyncio.get_running_loop().create_future()
        line.queued.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.let_next_in(agent)  # it was given a place that it does not take any more
            else:
                line.queued.remove(turn)
            raise

    def let_next_in(self, agent: str) -> None:
        """Hand a place that is free to the request that has been queued longest, if there is one."""
        line = self._lines[agent]
        while line.queued:
            turn = line.queued.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        line.served -= 1
        if not line.served:
            del self._lines[agent]


class _Place:
    """A request's place, from when the block begins until it ends or `leave` is called."""

    __slots__ = ("_agent", "_gate", "_timer")

    def __init__(self, gate: Gate, agent: str) -> None:
        self._gate = gate
        self._agent = agent
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Callable[[], None]:
        await self._gate.enter(self._agent)
        self._timer = asyncio.get_running_loop().call_later(PLACE_SECONDS, self.leave)
        return self.leave

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._gate.let_next_in(self._agent)


def has_place_of_its_own(scope: Scope) -> bool:
    """Whether the HTTP request lasts as long as what it asks for."""
    return scope["method"] in ("POST", "DELETE") and not scope["path"].startswith("/messages")


def _too_many(words: str, seconds: float) -> PlainTextResponse:
    # Closed, because the body has not been read and nobody wants to.
    return PlainTextResponse(words, 429, headers={"retry-after": f"{max(1, round(seconds))}", "connection": "close"})
