"""Whatever the clocks of the processes' hosts say, everything happens when the database's clock says so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.model import clock
from tests.model.generator import Generator
from tests.model.operations import Operation
from tests.model.processes import LocalProcess, Process
from tests.model.remote import RemoteProcess
from tests.model.replay import Seeded, seed_of
from tests.model.world import Laboratory, World
from tests.promises import THOROUGH, kept, tries

HISTORIES = tries(3, 200)
STEPS = tries(20, 40)
HOUR = 3_600.0
# A call that is cut somewhere has no outcome that could be the same again, and a new process takes a second to start.
LEFT_OUT = ("cut",) if THOROUGH else ("cut", "crash", "restart")


@dataclass
class Played:
    """The operations of some histories, and what came of each."""

    histories: list[list[Operation]] = field(default_factory=list[list[Operation]])
    outcomes: list[list[Any]] = field(default_factory=list[list[Any]])

    @property
    def operations(self) -> int:
        return sum(map(len, self.histories))


async def play(laboratory: Laboratory, seed: int) -> Played:
    """Random histories, by processes whose clocks are right."""
    played = Played()
    for number in range(HISTORIES):
        chance = Seeded(f"{seed}.{number}")
        world = World(laboratory)
        generator = Generator(chance, lambda world=world: world.reference, without=LEFT_OUT)
        await world.begin()
        for _ in range(STEPS):
            if (operation := generator.next()) is not None:
                await world.do(operation, looks=chance.pick((True, False)))
        await world.ends()
        played.histories.append(world.history)
        played.outcomes.append(world.transcript)
    return played


async def play_again(laboratory: Laboratory, first: Played) -> Played:
    """The very same histories, each step held against the model as the first time."""
    again = Played()
    for operations in first.histories:
        world = World(laboratory)
        await world.begin()
        for operation in operations:
            await world.do(operation)
        await world.ends(by_itself=True)
        again.histories.append(world.history)
        again.outcomes.append(world.transcript)
    return again


async def under(dsn: str, offs: tuple[float, float], first: Played) -> Played:
    """The histories by two processes of their own, whose clocks are so many seconds off."""
    opened: list[RemoteProcess] = []

    async def open_process(place: int) -> Process:
        remote = await RemoteProcess.open(dsn, off=offs[place])
        opened.append(remote)
        return remote

    laboratory = await Laboratory.open(dsn, open_process)
    try:
        for remote, off in zip(opened, offs, strict=False):
            assert set(remote.clocks) == {"time", "now", "id"}
            assert all(abs(said - off) < HOUR / 4 for said in remote.clocks.values()), "its clock is not off"
        return await play_again(laboratory, first)
    finally:
        await asyncio.gather(*(remote.crash() for remote in opened))
        await laboratory.connection.close()


@pytest.mark.requirement("model:clock-skew")
@pytest.mark.timeout(tries(300, 7200))
async def test_processes_whose_clocks_are_an_hour_off_do_the_same(dsn: str) -> None:
    seed = seed_of("test_processes_whose_clocks_are_an_hour_off_do_the_same")
    await clock.install(dsn)
    laboratory = await Laboratory.open(dsn, lambda _: LocalProcess.open(dsn))
    try:
        first = await play(laboratory, seed)
    finally:
        await laboratory.close()
    different = 0
    for offs in ((HOUR, -HOUR), (-HOUR, HOUR)):
        again = await under(dsn, offs, first)
        different += sum(one != other for one, other in zip(first.outcomes, again.outcomes, strict=True))
    kept(
        "R9",
        "random histories again, by processes whose clocks are one hour ahead and one hour behind: the same outcomes",
        tried=2 * HISTORIES,
        broken=different,
        operations=2 * first.operations,
        seed=str(seed),
    )
