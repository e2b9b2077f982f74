"""A proxy between a client and a PostgreSQL that listens on a Unix socket: it can freeze, and swallow notifications."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

NOTIFICATION = ord("A")


class Proxy:
    """Passes everything on, but nothing in either direction on connections that were open when it froze."""

    def __init__(self, dsn: str, directory: Path, *, deaf: bool) -> None:
        url = urlsplit(dsn)
        self._server = str(Path(parse_qs(url.query)["host"][0], ".s.PGSQL.5432"))
        self._deaf = deaf
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows: set[asyncio.Event] = set()
        self.dsn = f"{url.scheme}://{url.netloc}{url.path}?host={directory}&port=5432"
        self.connections = 0

    def freeze(self) -> None:
        """From now on the connections that are open carry nothing, and are not closed either."""
        for flow in self._flows:
            flow.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        flow = asyncio.Event()
        flow.set()
        self._flows.add(flow)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server_reader, server_writer = await asyncio.open_unix_connection(self._server)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, server_writer, flow))
                group.create_task(self._answer(server_reader, writer, flow))
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass
        except* asyncio.CancelledError:  # the test is over
            pass
        finally:
            for end in (writer, server_writer):
                end.close()
            self._flows.discard(flow)
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: asyncio.Event) -> None:
        while data := await reader.read(65536):
            await flow.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionError("the client has gone")

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: asyncio.Event) -> None:
        while True:  # message by message: a letter, a length that counts itself, the rest
            head = await reader.readexactly(5)
            body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
            await flow.wait()
            if not (self._deaf and head[0] == NOTIFICATION):
                writer.write(head + body)
                await writer.drain()

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxied(dsn: str, *, deaf: bool = False) -> AsyncGenerator[Proxy]:
    """A proxy to this database; a `deaf` one keeps notifications to itself, as a transaction-mode pooler does."""
    with tempfile.TemporaryDirectory(prefix="agm-proxy-") as directory:
        proxy = Proxy(dsn, Path(directory), deaf=deaf)
        server = await asyncio.start_unix_server(proxy.serve, Path(directory, ".s.PGSQL.5432"))
        try:
            yield proxy
        finally:
            server.close()
            await proxy.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), 5)
