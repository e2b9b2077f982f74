"""A pooler in front of a PostgreSQL that, like PgBouncer in transaction mode, lends a server connection to a client for
one transaction at a time.

What it has in common with PgBouncer where that matters: clients share few server connections, the one used last first;
a client without one gets no notifications, whatever it listens for; the process number it is told is none of the
server's; and prepared statements are either kept track of, under names of the pooler's own (PgBouncer from 1.21 on,
with max_prepared_statements), or passed on as they are (before that).

The first logins go through to the server, whichever way it authenticates, and leave their connections to the pool;
later clients are let in as they come.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
import tempfile
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ENCRYPTION_REQUESTS = (80877103, 80877104)
CANCEL_REQUEST = 80877102
READY = b"Z\0\0\0\x05I"
GONE = (ConnectionError, asyncio.IncompleteReadError)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """One message: its letter and its body."""
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(int.from_bytes(head[1:]) - 4)


def named(body: bytes, *, at: int = 0) -> tuple[str, bytes, bytes]:
    """Split a body into the name that begins at `at`, what precedes and what follows it."""
    end = body.index(b"\0", at)
    return body[at:end].decode(), body[:at], body[end + 1 :]


@dataclass(eq=False, slots=True)
class Server:
    """A connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    key: bytes = b""
    client: Client | None = None
    owed: int = 0
    """How many ReadyForQuery its client waits for; with none owed and no transaction open, it is given back."""
    prepared: set[str] = field(default_factory=set[str])
    unasked: deque[bool] = field(default_factory=deque[bool])
    """For each Parse under way, whether the pooler sent it of its own accord, and keeps the answer to itself."""


@dataclass(eq=False, slots=True)
class Client:
    """A connection of a client; `statements` are those it has prepared: our name for it, and what it says."""

    writer: asyncio.StreamWriter
    key: bytes
    server: Server | None = None
    statements: dict[str, tuple[str, bytes]] = field(default_factory=dict[str, "tuple[str, bytes]"])


class Pooler:
    """`size` server connections for any number of clients; `keeps_statements` as PgBouncer does from 1.21 on."""

    def __init__(self, dsn: str, directory: Path, *, size: int, keeps_statements: bool) -> None:
        url = urlsplit(dsn)
        query = parse_qs(url.query)
        self._host = query.get("host", [url.hostname or "localhost"])[0]
        self._port = int(query.get("port", [str(url.port or 5432)])[0])
        self.dsn = f"{url.scheme}://{url.netloc.rpartition('@')[0]}@{url.path}?host={directory}&port=5432"
        self._keeps_statements = keeps_statements
        self._room = size
        self._servers: set[Server] = set()
        self._idle: list[Server] = []
        self._freed = asyncio.Condition()
        self._clients: dict[bytes, Client] = {}
        self._greeting = b""
        self._logging_in = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.swallowed = 0
        """Notifications that nobody got."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it leaves."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        client: Client | None = None
        try:
            client = await self._greet(reader, writer)
            while client is not None:
                kind, body = await read_message(reader)
                if kind == b"X":
                    break
                await self._pass_on(client, kind, body)
        except GONE:
            pass
        except asyncio.CancelledError:  # the test is over
            pass
        finally:
            if client is not None:
                del self._clients[client.key]
                if client.server is not None:  # in the middle of something
                    self._drop(client.server)
            writer.close()
            self._tasks.discard(task)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Client | None:
        while True:
            length = int.from_bytes(await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
            code = int.from_bytes(body[:4])
            if code not in ENCRYPTION_REQUESTS:
                break
            writer.write(b"N")
        if code == CANCEL_REQUEST:
            await self._cancel(body[4:])
            return None
        async with self._logging_in:
            if self._room:
                await self._log_in(reader, writer, struct.pack("!I", length) + body)
            else:
                writer.write(message(b"R", b"\0\0\0\0") + self._greeting)
        client = Client(writer, os.urandom(8))
        self._clients[client.key] = client
        writer.write(message(b"K", client.key) + READY)
        return client

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, startup: bytes) -> None:
        """Let a client log in at the server itself, and keep that connection for everybody."""
        server = Server(*await self._connect())
        server.writer.write(startup)
        greeting = b""
        while True:
            kind, body = await read_message(server.reader)
            match kind:
                case b"Z":
                    break
                case b"K":
                    server.key = body
                    continue
                case b"S":
                    greeting += message(kind, body)
            writer.write(message(kind, body))
            if kind == b"E":
                server.writer.close()
                raise ConnectionError("the server refused the client")
            if kind == b"R" and int.from_bytes(body[:4]) not in (0, 12):  # it asks for something
                server.writer.write(message(*await read_message(reader)))
        self._greeting = greeting
        self._room -= 1
        self._servers.add(server)
        task = asyncio.create_task(self._answer(server))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await self._give_back(server)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._host.startswith("/"):
            return await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        return await asyncio.open_connection(self._host, self._port)

    async def _cancel(self, key: bytes) -> None:
        client = self._clients.get(key)
        if client is not None and client.server is not None:
            _, writer = await self._connect()
            writer.write(struct.pack("!II", 16, CANCEL_REQUEST) + client.server.key)
            await writer.drain()
            writer.close()

    async def _pass_on(self, client: Client, kind: bytes, body: bytes) -> None:
        server = client.server or await self._lend(client)
        if kind in b"QSF":
            server.owed += 1
        if self._keeps_statements:
            kind, body = self._renamed(client, server, kind, body)
        elif kind == b"P":
            server.unasked.append(False)
        server.writer.write(message(kind, body))
        await server.writer.drain()

    def _renamed(self, client: Client, server: Server, kind: bytes, body: bytes) -> tuple[bytes, bytes]:
        """The message with our name for its statement, after having prepared that on this connection if need be."""
        match kind:
            case b"P":
                name, _, rest = named(body)
                server.unasked.append(False)
                if name:
                    ours = f"pooler_{next(self._numbers)}"
                    client.statements[name] = ours, rest
                    server.prepared.add(ours)
                    return kind, ours.encode() + b"\0" + rest
            case b"B":
                name, portal, rest = named(body, at=body.index(b"\0") + 1)
                return kind, portal + self._prepared(client, server, name) + b"\0" + rest
            case b"D" if body[:1] == b"S":
                name, what, rest = named(body, at=1)
                return kind, what + self._prepared(client, server, name) + b"\0" + rest
            case b"C" if body[:1] == b"S":
                name, what, rest = named(body, at=1)
                ours = client.statements.pop(name, (name, b""))[0]
                return kind, what + ours.encode() + b"\0" + rest
            case _:
                pass
        return kind, body

    def _prepared(self, client: Client, server: Server, name: str) -> bytes:
        ours, text = client.statements.get(name, (name, b""))
        if text and ours not in server.prepared:
            server.unasked.append(True)
            server.prepared.add(ours)
            server.writer.write(message(b"P", ours.encode() + b"\0" + text))
        return ours.encode()

    async def _answer(self, server: Server) -> None:
        """Pass on what the server says to whoever has it at the moment."""
        with suppress(*GONE):
            while True:
                kind, body = await read_message(server.reader)
                if kind == b"1" and server.unasked.popleft():
                    continue
                if kind == b"E":
                    server.unasked.clear()
                if server.client is None:
                    self.swallowed += kind == b"A"
                    continue
                server.client.writer.write(message(kind, body))
                if kind == b"Z":
                    server.owed -= 1
                    if body == b"I" and not server.owed:
                        server.client.server = None
                        await self._give_back(server)
        self._drop(server)

    async def _lend(self, client: Client) -> Server:
        async with self._freed:
            await self._freed.wait_for(lambda: self._idle)
            server = self._idle.pop()
        server.client, client.server = client, server
        return server

    async def _give_back(self, server: Server) -> None:
        server.client = None
        async with self._freed:
            self._idle.append(server)
            self._freed.notify()

    def _drop(self, server: Server) -> None:
        if server in self._servers:
            self._servers.discard(server)
            self._room += 1
            if server in self._idle:
                self._idle.remove(server)
        if server.client is not None:
            server.client.writer.close()
        server.writer.close()

    async def close(self) -> None:
        for server in list(self._servers):
            self._drop(server)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def pooled(dsn: str, *, size: int = 3, keeps_statements: bool = True) -> AsyncGenerator[Pooler]:
    """A pooler in transaction mode in front of this database."""
    with tempfile.TemporaryDirectory(prefix="agm-pooler-") as directory:
        pooler = Pooler(dsn, Path(directory), size=size, keeps_statements=keeps_statements)
        listening = await asyncio.start_unix_server(pooler.serve, Path(directory, ".s.PGSQL.5432"))
        try:
            yield pooler
        finally:
            listening.close()
            await pooler.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(listening.wait_closed(), 5)
