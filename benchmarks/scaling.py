"""Several processes on one PostgreSQL: where their throughput bends, with wake-ups over NOTIFY and over NATS.

Each process is a program of its own with the library in it, as a server process has. It asks agents whose handlers are
in the next process, so that every question and every answer crosses processes; with one process they stay inside. The
callers are divided among the processes, so that the database is asked for the same in every cell.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from pydantic import SecretStr

from agent_messaging import AgentMessaging, Config
from agent_messaging_db import embedded, migrate
from benchmarks.floor import BODY
from benchmarks.sizes import sizes, table

PROCESSES = (1, 2, 4, 8)
CALLERS = 64
"""Questions under way at a time, over all processes together."""
SECONDS = 3.0
"""For which each cell is measured, after as many calls as there are callers."""
LONGEST = 170.0
"""Seconds for all rounds together: another one that would not fit is left out."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What so many processes came to, with one kind of wake-ups, all of them together. `clients`: the CPUs that they
    kept busy; `connections`: theirs to PostgreSQL; `heard`: topics of others a second.
    """

    wakeups: str
    processes: int
    trips: float
    p50_ms: float
    p99_ms: float
    clients: float
    connections: int
    heard: float


def name(role: str, process: int, number: int) -> str:
    return f"{role}-{process}-{number}"


async def work(dsn: str, bus: str, process: int, processes: int) -> None:
    """One process: says `ready`, measures when it is told to, prints what came of it, and leaves when told."""
    options: dict[str, Any] = {"database_url": SecretStr(dsn), "max_pool_size": 4}
    if bus:
        options["wakeups_url"] = SecretStr(bus)
    callers = CALLERS // processes
    other = (process + 1) % processes
    async with AgentMessaging[Any](Config(**options)) as sdk:

        async def answer(message: Any, context: Any) -> Any:
            return message

        for number in range(callers):
            sdk.register_handler(name("answerer", process, number))(answer)
        await sdk.organizations()  # writes the registrations
        print("ready", flush=True)
        await _told()
        durations: list[float] = []
        until = 0.0

        async def caller(number: int) -> None:
            asker, answerer = name("asker", process, number), name("answerer", other, number)
            await sdk.sync_conversation.send_and_wait(asker, answerer, BODY, timeout=60)
            warm.release()
            await go.wait()
            while time.perf_counter() < until:
                began = time.perf_counter()
                await sdk.sync_conversation.send_and_wait(asker, answerer, BODY, timeout=60)
                durations.append(time.perf_counter() - began)

        warm, go = asyncio.Semaphore(0), asyncio.Event()
        tasks = [asyncio.create_task(caller(number)) for number in range(callers)]
        for _ in range(callers):
            await warm.acquire()
        print("warm", flush=True)
        await _told()
        cpu, began = time.process_time(), time.perf_counter()
        heard = _heard(sdk)
        until = began + SECONDS
        go.set()
        await asyncio.gather(*tasks)
        spent = time.perf_counter() - began
        told = {
            "durations": durations,
            "cpu": (time.process_time() - cpu) / spent,
            "heard": (_heard(sdk) - heard) / spent,
        }
        print(json.dumps(told), flush=True)
        await _told()


def _heard(sdk: AgentMessaging[Any]) -> int:
    counted = sdk.measures.snapshot().wakeups
    return 0 if counted is None else counted.heard


async def _told() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def measured(dsn: str, bus: str, processes: int) -> Cell:
    """Start the processes, have them work at the same time, and add up."""
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "benchmarks.scaling", "--work", dsn, bus, str(process), str(processes)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**26,
        )
        for process in range(processes)
    ]
    try:
        async with asyncio.timeout(90):
            for _ in ("ready", "warm"):
                await asyncio.gather(*(_line(one) for one in running))
                for one in running:
                    _tell(one)
            told = [json.loads(await _line(one)) for one in running]
            connection = await asyncpg.connect(dsn)
            connections = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await connection.close()
            for one in running:
                _tell(one)
                await one.wait()
    finally:
        for one in running:
            if one.returncode is None:
                one.kill()
                await one.wait()
    durations = sorted(duration for one in told for duration in one["durations"])
    return Cell(
        wakeups="NATS" if bus else "NOTIFY",
        processes=processes,
        trips=len(durations) / SECONDS,
        p50_ms=statistics.median(durations) * 1000,
        p99_ms=durations[int(len(durations) * 0.99)] * 1000,
        clients=sum(one["cpu"] for one in told),
        connections=connections,
        heard=sum(one["heard"] for one in told),
    )


async def _line(one: asyncio.subprocess.Process) -> str:
    assert one.stdout is not None
    if not (line := await one.stdout.readline()):
        raise RuntimeError("a process ended before it had measured")
    return line.decode()


def _tell(one: asyncio.subprocess.Process) -> None:
    assert one.stdin is not None
    one.stdin.write(b"go\n")


@asynccontextmanager
async def bus_of(directory: Path) -> AsyncGenerator[str]:
    """A NATS server on a loopback port of its choice; nothing if the program is not there."""
    program = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if program is None:
        print("nats-server is not there: NOTIFY alone is measured", file=sys.stderr)
        yield ""
        return
    server = await asyncio.create_subprocess_exec(
        program,
        *("--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", str(directory)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(20):
            while not (url := _url(directory)):  # noqa: ASYNC110 - another program has no event to set
                await asyncio.sleep(0.02)
        yield url
    finally:
        server.kill()
        await server.wait()


def _url(directory: Path) -> str:
    for path in directory.glob("*.ports"):
        with suppress(ValueError, KeyError):  # half written
            return json.loads(path.read_text("utf-8"))["nats"][0]
    return ""


async def prepare(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await migrate.migrate(connection)
    await connection.close()
    async with AgentMessaging[Any](Config(database_url=SecretStr(dsn))) as sdk:
        await sdk.register_organization("bench", "Bench", exist_ok=True)
        for processes in PROCESSES:
            for process in range(processes):
                for number in range(CALLERS // processes):
                    for role in ("asker", "answerer"):
                        await sdk.register_agent(name(role, process, number), "bench", role, exist_ok=True)


async def main(rounds: int) -> str:
    """Measure on a database of its own; gives the tables."""
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory(prefix="agent-messaging-scaling-") as directory:
        server = await embedded.ensure(Path(directory) / "database", linger=0)
        try:
            await prepare(server.dsn)
            async with bus_of(Path(directory)) as bus:
                began = time.monotonic()
                for number in range(rounds):
                    if number and (time.monotonic() - began) * (number + 1) / number > LONGEST:
                        break
                    for processes in PROCESSES:
                        for kind in dict.fromkeys(("", bus)):
                            cells.append(await measured(server.dsn, kind, processes))
                            print(f"round {number + 1} of {rounds}: {_shown(cells[-1])}", file=sys.stderr)
            connection = await asyncpg.connect(server.dsn)
            await connection.execute("VACUUM ANALYZE")
            grown = table(await sizes(connection))
            await connection.close()
        finally:
            server.release()
            embedded.stop(Path(directory) / "database")
    return f"{report(cells)}\n\nWhat the run left in the database:\n\n{grown}"


def report(cells: list[Cell]) -> str:
    """The medians in Markdown, each kind against itself with one process."""
    lines = [
        "| processes | wake-ups | round trips/s | against one | p50 | p99 | our CPUs | connections | topics heard/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    base: dict[str, float] = {}
    for processes in PROCESSES:
        for kind in ("NOTIFY", "NATS"):
            of = [cell for cell in cells if (cell.processes, cell.wakeups) == (processes, kind)]
            if not of:
                continue
            trips = statistics.median(cell.trips for cell in of)
            base.setdefault(kind, trips)
            p50, p99 = statistics.median(cell.p50_ms for cell in of), statistics.median(cell.p99_ms for cell in of)
            lines.append(
                f"| {processes} | {kind} | {trips:,.0f} | {trips / base[kind]:.2f} × | {p50:.0f} ms | {p99:.0f} ms | "
                f"{statistics.median(cell.clients for cell in of):.2f} | {max(cell.connections for cell in of)} | "
                f"{statistics.median(cell.heard for cell in of):,.0f} |"
            )
    return "\n".join(lines)


def _shown(cell: Cell) -> str:
    return (
        f"{cell.processes} processes, {cell.wakeups}: {cell.trips:,.0f} round trips/s, p50 {cell.p50_ms:.1f} ms, "
        f"p99 {cell.p99_ms:.1f} ms"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=4, required=True, metavar=("DSN", "BUS", "PROCESS", "PROCESSES"))
    dsn, bus, process, processes = parser.parse_args().work
    try:
        import uvloop
    except ImportError:
        asyncio.run(work(dsn, bus, int(process), int(processes)))
    else:
        uvloop.run(work(dsn, bus, int(process), int(processes)))
