"""One connection through the proxy: carried message by message, and what is done to it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from chaos.postgres_protocol import (
    CANCEL_REQUEST,
    ENCRYPTION_REQUESTS,
    Boundary,
    Message,
    Messages,
    Session,
    boundaries,
)

When = Literal["before", "after"]

CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: do not linger, say RST


class Fault(StrEnum):
    """What can be done to connections; each is counted when it has really happened."""

    FREEZE = "freeze"  # a connection that carries nothing from now on
    WITHHELD = "withheld"  # a piece that a frozen connection held back
    RESET = "reset"  # a connection
    REFUSE = "refuse"  # a connection that was there when the proxy began to refuse
    DELAY = "delay"  # a piece that came late
    CUT_BEFORE = "cut before commit"  # a commit that the server never got to see
    CUT_AFTER = "cut after commit"  # a commit whose client was never told
    DEAF = "deaf"  # a notification that nobody got


@dataclass(slots=True)
class Cutting:
    """Commits that are to be cut: so many more of those with a statement that matches."""

    when: When
    left: int
    matching: str


@dataclass(slots=True)
class Orders:
    """What is to be done to connections, and what has been done."""

    deaf: bool = False
    seconds: float = 0.0
    cutting: Cutting | None = None
    fired: Counter[Fault] = field(default_factory=Counter[Fault])
    cuts: Counter[str] = field(default_factory=Counter[str])

    def take(self, session: Session) -> When | None:
        """Say whether to cut the commit that the client of this session has just asked for."""
        cutting = self.cutting
        if cutting is None or cutting.left == 0 or not session.commits(cutting.matching):
            return None
        cutting.left -= 1
        return cutting.when

    def give_back(self, when: When) -> None:
        """What was taken was no commit after all."""
        if self.cutting is not None and self.cutting.when == when:
            self.cutting.left += 1

    def boundary(self, messages: list[Message], *, replies: bool) -> Boundary:
        """Choose where to cut: at the place that was cut least often so far."""
        chosen = min(boundaries(messages, replies=replies), key=lambda boundary: self.cuts[boundary.name])
        self.cuts[chosen.name] += 1
        self.fired[Fault.CUT_AFTER if replies else Fault.CUT_BEFORE] += 1
        return chosen


class Link:
    """One connection of a client, and the one to the server that it stands for."""

    def __init__(
        self,
        orders: Orders,
        client_reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        self._orders = orders
        self._client_reader, self._client = client_reader, client
        self._server_reader, self._server = server_reader, server
        self._held: list[Message] = []
        self._cut: When | None = None
        self._replies: list[Message] = []
        self._ended = asyncio.Event()
        self.session = Session()
        self.flow = asyncio.Event()
        self.flow.set()

    @property
    def is_open(self) -> bool:
        """Whether it has not been aborted, and neither end has closed it."""
        return not self._ended.is_set()

    async def run(self) -> None:
        """Carry everything until one end closes, or `abort`."""
        tasks = [asyncio.create_task(work) for work in (self._ask(), self._answer(), self._ended.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ended.set()
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            self._client.close()
            self._server.close()
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                raise outcome

    def abort(self) -> None:
        """End both connections at once and without a word, what was on its way included."""
        for end in (self._client, self._server):
            opened: socket.socket = end.get_extra_info("socket")
            if opened.family != socket.AF_UNIX and opened.fileno() >= 0:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()
        self._ended.set()

    async def _ask(self) -> None:
        messages = Messages(opening=True)
        while data := await self._client_reader.read(CHUNK):
            await self._passage()
            for message in messages.feed(data):
                if not await self._said(message):
                    return
        await self.flow.wait()  # over a frozen network, nobody learns that the other end has gone

    async def _said(self, message: Message) -> bool:
        """Hand on what the client says, by whole requests; says whether the connection lives on."""
        self.session.sent(message)
        if not message.letter and message.code in ENCRYPTION_REQUESTS:
            await _write(self._client, b"N")
            return True
        self._held.append(message)
        if message.letter in ("S", "Q"):
            match self._orders.take(self.session):
                case "before":
                    boundary = self._orders.boundary(self._held, replies=False)
                    await _write(self._server, boundary.until_here(self._held))
                    return False
                case cut:
                    self._cut = cut
        if message.letter not in ("P", "B", "D", "E", "C"):
            await _write(self._server, b"".join(held.data for held in self._held))
            self._held.clear()
        return message.letter != "" or message.code != CANCEL_REQUEST

    async def _answer(self) -> None:
        messages = Messages()
        while data := await self._server_reader.read(CHUNK):
            await self._passage()
            passed = bytearray()
            for message in messages.feed(data):
                self.session.replied(message)
                if message.letter == "A" and self._orders.deaf:
                    self._orders.fired[Fault.DEAF] += 1
                elif self._cut is None:
                    passed += message.data
                else:
                    self._replies.append(message)
                    if message.letter == "Z" and (rest := self._settle()) is not None:
                        await _write(self._client, bytes(passed) + rest)
                        return
                    if self._cut is None:
                        passed += b"".join(reply.data for reply in self._replies)
                        self._replies.clear()
            await _write(self._client, bytes(passed))
        await self.flow.wait()

    def _settle(self) -> bytes | None:
        """The reply is complete. Give what of it gets through if it is cut, or None if nothing was committed."""
        assert self._cut is not None
        committed = all(reply.letter != "E" for reply in self._replies) and self._replies[-1].body == b"I"
        if committed:
            return self._orders.boundary(self._replies, replies=True).until_here(self._replies)
        self._orders.give_back(self._cut)
        self._cut = None
        return None

    async def _passage(self) -> None:
        if self._orders.seconds:
            self._orders.fired[Fault.DELAY] += 1
            await asyncio.sleep(self._orders.seconds)
        if not self.flow.is_set():
            self._orders.fired[Fault.WITHHELD] += 1
            await self.flow.wait()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(data)
        await writer.drain()
