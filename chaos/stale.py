"""`python -m chaos stale`: holders of the floor are stopped past their turn, and speak when they can again (R4)."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from chaos import history, plan, run
from chaos.checker import check
from chaos.client import PLAN, SERVERS
from chaos.grounds import Ground, ground
from chaos.history import Recorder
from chaos.holders import Held, have_passed, held_by
from chaos.plan import Plan
from chaos.processes import Process, program, server
from tools.figures import record

WAYS = ("sdk", "sdk", "mcp", "mcp", "mcp")
"""How the members of the processes that are stopped are attached. Of the last one, the server is stopped instead."""
EACH = 4
LONGEST = 280.0
"""Seconds after which it ends, however many there were."""


@dataclass(frozen=True)
class Stoppable:
    """What is stopped, and the members whose turns pass meanwhile."""

    process: Process
    members: Sequence[str]


def main(arguments: list[str]) -> int:
    """Run, print, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos stale", description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="how many speeches are to come after their turn")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", type=Path, default=None, help="leave the histories in this directory")
    given = parser.parse_args(arguments)
    seed: int = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    directory: Path = given.keep or Path(tempfile.mkdtemp(prefix="agent-messaging-chaos-history-"))
    directory.mkdir(parents=True, exist_ok=True)
    chosen = plan.two_person_meetings(seed, ways=WAYS, each=EACH)
    stopped = run.until_done(play(chosen, given.times, directory))
    verdict = check(history.read_all(directory))
    failures = [str(violation) for violation in verdict.violations]
    if verdict.stale < given.times:
        failures.append(f"only {verdict.stale} speeches came after their turn")
    print(f"seed {seed}")
    for name, times in sorted(stopped.items()):
        print(f"  {times:6}  turns passed while {name} was stopped")
    print(f"  {verdict.stale:6}  speeches came after their turn, reach {given.times}")
    print(f"  {verdict.checked['speak']:6}  speeches in {verdict.meetings} meetings")
    print("every one was refused" if not failures else "BROKEN")
    print("".join(f"  {failure}\n" for failure in failures[:40]), end="")
    if failures or given.keep:
        print(f"histories: {directory}")
    else:
        shutil.rmtree(directory)
    what = "speeches after the turn of a stopped speaker"
    record("R4", what, tried=verdict.stale, broken=len(failures), speeches=verdict.checked["speak"], seed=seed)
    print(f"again: python -m chaos stale --times {given.times} --seed {seed}")
    return bool(failures)


async def play(chosen: Plan, times: int, directory: Path) -> Counter[str]:
    """Hold the meetings, and stop their speakers until so many turns have passed; gives how many did, by process."""
    plan.write(chosen, directory / PLAN)
    recorder = Recorder(directory, "harness")
    async with ground() as ours, AsyncExitStack() as stack:
        await run.register(ours, chosen, directory)
        common = {"DATABASE_URL": ours.dsn, **run.ENVIRONMENT}
        servers = [server(name, ours.dsn, directory, **run.ENVIRONMENT) for name in ("server-1", "server-2")]
        run.announce(servers[:1], directory / SERVERS)
        run.announce(servers[1:], directory / "servers-stopped.json")
        last = f"{WAYS[-1]}-{len(WAYS)}"
        clients = [
            program(
                name,
                "chaos.clients",
                *(name, str(directory)),
                directory=directory,
                **common,
                CHAOS_SERVERS="servers-stopped.json" if name == last else SERVERS,
            )
            for name in chosen.processes
        ]
        for process in (*servers, *clients):
            stack.push_async_callback(process.kill)
        await asyncio.gather(*(process.start() for process in servers))
        await asyncio.gather(*(process.ready() for process in servers))
        await asyncio.gather(*(process.start() for process in clients))
        await run.all_say(directory, clients, "began")
        stoppable = [
            Stoppable(servers[1] if client.name == last else client, [role.agent for role in chosen.of(client.name)])
            for client in clients
            if client.name != "steady"
        ]
        passed: Counter[str] = Counter()
        ends_at = time.monotonic() + LONGEST
        async with asyncio.TaskGroup() as stopping:
            for one in stoppable:
                chance = random.Random(f"{chosen.seed}/{one.process.name}")
                stopping.create_task(_stop(ours, one, chance, recorder, passed, times, ends_at))
        await run.quiet(clients, directory, recorder)
        await run.audit(ours, chosen, Recorder(directory, "audit"))
    return passed


async def _stop(
    ours: Ground,
    one: Stoppable,
    chance: random.Random,
    recorder: Recorder,
    passed: Counter[str],
    times: int,
    ends_at: float,
) -> None:
    """Stop the process whenever some of its members have the floor, until their turns have passed."""
    async with ours.connection() as database:
        while passed.total() < 1.05 * times and time.monotonic() < ends_at:
            if not await held_by(database, one.members):
                await asyncio.sleep(0.02)
                continue
            await asyncio.sleep(chance.uniform(0, 0.1))
            one.process.freeze()
            try:
                held: list[Held] = await held_by(database, one.members)
                if held and await have_passed(database, held):
                    passed[one.process.name] += len(held)
                    for turn in held:
                        recorder.write("fault", kind="stopped", process=one.process.name, passed=True, **turn.facts)
                    # Until it is somebody else's turn, or its own again, under another number.
                    await asyncio.sleep(chance.uniform(0, 0.5))
            finally:
                one.process.thaw()
            await asyncio.sleep(chance.uniform(0.1, 0.4))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
