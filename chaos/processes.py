"""The processes that are put under fire: servers and clients, started, stopped and killed by their id."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
START_SECONDS = 180
DRAIN_SECONDS = 10.0
"""What a server has from SIGTERM to its end."""

_LISTENING = re.compile(r"Listening: (http://127\.0\.0\.1:\d+)/mcp")
_READYZ = "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
_PR_SET_PDEATHSIG = 1


class DidNotStart(Exception):
    """A process ended, or said nothing, instead of becoming ready."""


@dataclass(frozen=True, slots=True)
class Drain:
    """How many seconds a process took to end, and for how many of these it was ready to run and others did."""

    seconds: float
    starved: float

    @property
    def own(self) -> float:
        """What it would have taken on a machine that has nothing else to do, at most."""
        return self.seconds - self.starved


@dataclass
class Process:
    """A program of ours that may be killed and started again; what it says goes to `log`, life after life."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    lives: int = field(default=0, init=False)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    """Held by whoever does something to the process, so that two faults never mix up."""
    _running: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """The id of the process; raises DidNotStart if there is none."""
        if self._running is None:
            raise DidNotStart(f"{self.name} does not run")
        return self._running.pid

    @property
    def is_running(self) -> bool:
        """Whether there is a process, stopped or not."""
        return self._running is not None and self._running.returncode is None

    @property
    def code(self) -> int | None:
        """How the last life ended, if it has."""
        return None if self._running is None else self._running.returncode

    async def start(self) -> None:
        """Start it. It ends with the harness, however that ends."""
        self.lives += 1
        with self.log.open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(
                *self.command,
                env={
                    "PATH": os.environ.get("PATH", ""),
                    "PYTHONPATH": _python_path(),
                    "PYTHONFAULTHANDLER": "1",
                    **self.environment,
                },
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_dies_with_us,
            )

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP)."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self.send(signal.SIGCONT)

    async def say_where(self) -> None:
        """Make it write into its log what each of its threads is doing, and end."""
        self.send(signal.SIGABRT)
        self.thaw()
        if not await self.ended(within=5):
            await self.kill()

    async def kill(self) -> None:
        """End it at once (SIGKILL), frozen or not."""
        self.send(signal.SIGKILL)
        if self._running is not None:
            await self._running.wait()

    async def terminate(self, *, within: float) -> Drain:
        """Ask it to end (SIGTERM), and say how long that took; killed, and for ever, if it takes too long."""
        starved = before = _starved(self.pid)
        began = time.monotonic()
        self.send(signal.SIGTERM)
        while not await self.ended(within=0.05):
            starved = max(starved, _starved(self.pid))
            if time.monotonic() > began + within:
                await self.say_where()
                return Drain(math.inf, 0.0)
        return Drain(time.monotonic() - began, starved - before)

    async def ended(self, *, within: float) -> bool:
        """Wait until it has ended by itself; says whether it has."""
        if self._running is None:
            return True
        try:
            await asyncio.wait_for(self._running.wait(), within)
        except TimeoutError:
            return False
        return True


@dataclass
class Server(Process):
    """`agent-messaging serve`, on a port that the system chooses anew for every life."""

    address: str = field(default="", init=False)
    announce: Callable[[], None] = field(default=lambda: None)
    """Called when the address has changed."""

    async def start(self) -> None:
        """Start it, and wait until it takes calls. Raises DidNotStart."""
        self.address = ""
        said = self.log.stat().st_size if self.log.exists() else 0
        await super().start()
        give_up_at = time.monotonic() + START_SECONDS
        while not (found := _LISTENING.search(_text(self.log, said))):
            if not self.is_running or time.monotonic() > give_up_at:
                await self.say_where()
                raise DidNotStart(f"{self.name}: {_text(self.log, said)}")
            await asyncio.sleep(0.02)
        self.address = found[1]
        self.announce()

    async def is_ready(self) -> bool:
        """Whether it reaches its database and hears the others, as it says itself."""
        port = int(self.address.rpartition(":")[2])
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(
                        f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
                    )
                    return b" 200 " in await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    async def ready(self) -> None:
        """Wait until it is. Raises DidNotStart."""
        give_up_at = time.monotonic() + START_SECONDS
        while not await self.is_ready():
            if not self.is_running or time.monotonic() > give_up_at:
                raise DidNotStart(f"{self.name} does not become ready: {_text(self.log, 0)[-2000:]}")
            await asyncio.sleep(0.05)


def server(name: str, dsn: str, directory: Path, **environment: str) -> Server:
    """A server process on a database; not started yet."""
    command = (sys.executable, "-m", "agent_messaging_mcp", "serve", "--port", "0")
    return Server(name, command, {"DATABASE_URL": dsn, **environment}, directory / f"{name}.log")


def stdio_command(agent: str) -> list[str]:
    """How a host starts the stdio server of an agent; it takes its database from DATABASE_URL."""
    return [sys.executable, "-m", "agent_messaging_mcp", "--agent", agent]


def program(name: str, module: str, *arguments: str, directory: Path, **environment: str) -> Process:
    """A Python program, for example one that uses the library; not started yet."""
    command = (sys.executable, "-m", module, *arguments)
    return Process(name, command, environment, directory / f"{name}.log")


def _python_path() -> str:
    """The harness's own packages, and the product from wherever the harness has it."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _starved(pid: int) -> float:
    """For how long the main thread of a process has waited for a processor, in seconds; 0 where nobody tells."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _text(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def _dies_with_us() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
