"""Random histories of agents, processes, time and misfortune: the product does what the reference model says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.model import clock
from tests.model import operations as op
from tests.model.generator import Generator
from tests.model.processes import LocalProcess
from tests.model.replay import seed_of
from tests.model.world import Laboratory, World
from tests.promises import kept, tries

HISTORIES = tries(25, 10_000)
STEPS = 30
DECISIONS = 64
"""Of one step, at most."""
MISFORTUNES = ("Cancel", "Cut", "Crash", "Restart", "Pass")


class Drawn:
    """Decisions that hypothesis takes, and makes simpler when they led to a failure.

    All of a step's are drawn at once, in a form that is always the same: whether a call that was cut has happened is
    not hypothesis's to decide, and what it draws must not depend on it.
    """

    def __init__(self) -> None:
        self._left = b""

    def draw(self, data: st.DataObject) -> None:
        """Draw for one more step."""
        self._left = data.draw(st.binary(min_size=DECISIONS, max_size=DECISIONS))

    def pick(self, items: Sequence[Any]) -> Any:
        if not self._left:
            return items[0]
        first, self._left = self._left[0], self._left[1:]
        return items[first % len(items)]


class Histories(RuleBasedStateMachine):
    """One history each; all of them in one database, through the same processes as long as these live."""

    runner: ClassVar[asyncio.Runner]
    laboratory: ClassVar[Laboratory]
    done: ClassVar[Counter[str]]
    endings: ClassVar[Counter[str]]

    world: World | None = None
    failed = False

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.chance = Drawn()
        self.chance.draw(data)
        self.world = world = World(self.laboratory)
        self.generator = Generator(self.chance, lambda: world.reference)
        self.run(world.begin())

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        assert self.world is not None
        self.chance.draw(data)
        if (operation := self.generator.next()) is not None:
            self.run(self.world.do(operation, looks=self.chance.pick((True, False, False))))

    def teardown(self) -> None:
        if self.world is None:
            return
        if not self.failed:
            self.run(self.world.ends())
            self.done.update(type(operation).__name__ for operation in self.world.history)
            self.done.update({"cuts": self.world.cuts, "histories": 1})
            self.endings.update(str(meeting.reason) for meeting in self.world.reference.meetings.values())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        assert self.world is not None
        try:
            self.runner.run(work)
        except BaseException as error:
            self.failed = True
            error.add_note("\n".join(map(str, self.world.history)))
            self.runner.run(self.world.abandon())
            self.runner.run(self.laboratory.renew())
            raise


@contextmanager
def laboratory(dsn: str) -> Iterator[None]:
    """A place for histories, on a loop that lasts for all of them."""
    with asyncio.Runner() as runner:
        runner.run(clock.install(dsn))
        Histories.runner = runner
        Histories.laboratory = runner.run(Laboratory.open(dsn, lambda _: LocalProcess.open(dsn)))
        Histories.done, Histories.endings = Counter(), Counter()
        try:
            yield
        finally:
            runner.run(Histories.laboratory.close())


@pytest.mark.requirement("meeting:histories", "model:histories")
@pytest.mark.timeout(tries(300, 4 * 3600))
def test_no_history_tells_the_product_from_the_model_and_every_meeting_ends(dsn: str) -> None:
    chosen = seed_of("test_no_history_tells_the_product_from_the_model_and_every_meeting_ends")
    with laboratory(dsn):
        run_state_machine_as_test(
            seed(chosen)(Histories),
            settings=settings(
                max_examples=HISTORIES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
            ),
        )
    done, ended = Histories.done, Histories.endings
    print(dict(done), dict(ended))
    assert "None" not in ended, "a meeting that has not ended"
    assert sum(done[misfortune] for misfortune in MISFORTUNES) > done["histories"] / 2
    if HISTORIES >= 1_000:
        assert all(done[kind] for kind in op.KINDS), done
        assert len(ended) == 7, "every way in which a meeting ends"
    kept(
        "R8",
        "random histories of everything that agents can do, of time, cancellations, crashes and restarts, on real "
        "PostgreSQL: each step as the reference model says, every meeting ends, nothing accepted is missing",
        tried=done["histories"],
        operations=sum(done[kind] for kind in op.KINDS),
        meetings=sum(ended.values()),
        crashes=done["Crash"],
        cancellations=done["Cancel"] + done["cuts"],
        seed=str(chosen),
    )
