"""A proxy between clients and a PostgreSQL: it freezes, resets, delays, refuses, swallows notifications, and cuts
connections around a commit.

It counts what really happened: a fault that was ordered and met nothing is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from chaos.proxy_link import Cutting, Fault, Link, Orders, When

_SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Passes everything on, except as told. `dsn` is its own address, `fired` what it has done."""

    def __init__(self, dsn: str, directory: Path | None = None, *, deaf: bool = False) -> None:
        """Listens, once `accept` was called, on a Unix socket in `directory`, or without one on a port of loopback."""
        url = urlsplit(dsn)
        self._query = dict(parse_qsl(url.query))
        self._host = self._query.pop("host", url.hostname or "localhost")
        self._port = int(self._query.pop("port", url.port or 5432))
        self._begins = f"{url.scheme}://{url.netloc.rpartition('@')[0]}@"
        self._path = url.path
        self._directory = directory
        self._own_port = 5432 if directory else 0
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.freezes_new = False
        """Whether connections that are opened carry nothing."""
        self._orders = Orders(deaf=deaf)
        self.connections = 0
        """How many have been opened so far."""

    @property
    def fired(self) -> Counter[Fault]:
        """How often each fault has really happened."""
        return self._orders.fired

    @property
    def cuts(self) -> Counter[str]:
        """Where connections were cut, by the message that no longer arrived."""
        return self._orders.cuts

    @property
    def dsn(self) -> str:
        """The address of the database, by way of the proxy."""
        host = str(self._directory or "127.0.0.1")
        return (
            f"{self._begins}{self._path}?{urlencode({'host': host, 'port': self._own_port, **self._query}, safe='/')}"
        )

    def open_connections(self, only: str = "") -> int:
        """How many there are now whose `application_name` begins with `only`."""
        return len(self._chosen(only))

    def freeze(self, *, only: str = "", but: str | None = None, new: bool = False) -> int:
        """From now on the connections that are open carry nothing, and are not closed either; gives how many they are.

        `only`: those whose `application_name` begins with it. `but`: those whose name this is not. `new`: those opened
        from now on as well, until `thaw`.
        """
        chosen = [link for link in self._chosen(only) if link.flow.is_set() and link.session.application != but]
        for link in chosen:
            link.flow.clear()
        self.fired[Fault.FREEZE] += len(chosen)
        self.freezes_new = new
        return len(chosen)

    def thaw(self) -> None:
        """Carry on, with what was held back first."""
        self.freezes_new = False
        for link in self._links:
            link.flow.set()

    def reset(self, *, only: str = "") -> int:
        """Reset every connection, or those whose `application_name` begins with `only`; gives how many they were."""
        chosen = self._chosen(only)
        for link in chosen:
            link.abort()
        self.fired[Fault.RESET] += len(chosen)
        return len(chosen)

    def delay(self, seconds: float) -> None:
        """Hand on every piece so much later, in both directions; 0 ends it."""
        self._orders.seconds = seconds

    def cut_commits(self, when: When, *, times: int = 1, matching: str = "") -> None:
        """Cut the connections of the next `times` commits, each at another place.

        `before`: the server never gets what would have made it commit. `after`: it commits, and its reply does not
        arrive, or not all of it. A statement outside a transaction commits by itself. `matching`: a regular expression
        that some statement of the transaction has to match; without it, what only reads is cut like the rest.
        """
        self._orders.cutting = Cutting(when, times, matching)

    def spare_commits(self) -> None:
        """Cut no more commits."""
        self._orders.cutting = None

    async def accept(self) -> None:
        """Take connections, at the same address as before."""
        if self._server is not None:
            return
        if self._directory is not None:
            self._server = await asyncio.start_unix_server(self.serve, self._directory / _SOCKET)
        else:
            self._server = await asyncio.start_server(self.serve, "127.0.0.1", self._own_port)
            self._own_port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Reset every connection and take no new ones, as a server that is away, until `accept`."""
        self.fired[Fault.REFUSE] += len(self._chosen(""))
        await self.close()

    async def close(self) -> None:
        """Take no more connections, and end those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in list(self._links):
            link.abort()
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either end closes it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            server_reader, server = await self._connect()
            if self._server is None:
                server.close()
                return
            self.connections += 1
            link = Link(self._orders, reader, writer, server_reader, server)
            self._links.add(link)
            if self.freezes_new:
                link.flow.clear()
                self.fired[Fault.FREEZE] += 1
            try:
                await link.run()
            finally:
                self._links.discard(link)
        except OSError:  # the server is away, or has just gone
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    def _chosen(self, only: str) -> list[Link]:
        return [link for link in self._links if link.is_open and link.session.application.startswith(only)]

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._host.startswith("/"):
            return await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        return await asyncio.open_connection(self._host, self._port)


@asynccontextmanager
async def proxied(dsn: str, *, deaf: bool = False, tcp: bool = False) -> AsyncGenerator[Proxy]:
    """A proxy to this database. A `deaf` one keeps notifications to itself, as a transaction-mode pooler does."""
    with tempfile.TemporaryDirectory(prefix="agm-proxy-") as directory:
        proxy = Proxy(dsn, None if tcp else Path(directory), deaf=deaf)
        try:
            await proxy.accept()
            yield proxy
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await proxy.close()
