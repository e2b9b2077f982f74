"""A retry never duplicates: the same key ten times at once, and a connection that is cut around the commit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from chaos.proxy import Proxy, proxied
from tests.promises import kept, tries
from tests.protocol import world
from tests.races.keyed import ALL, SDK, Keyed
from tests.races.stops import BOUND
from tests.races.waits import quiet

LANES = 3


def names(lanes: int) -> list[str]:
    return [f"{name}-{lane}" for name in ("alice", "bob", "carol") for lane in range(lanes)]


@pytest.mark.timeout(3600)
@pytest.mark.requirement("idempotency:concurrent", "meeting:idempotency")
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
async def test_ten_calls_at_once_with_one_key_are_one_call(dsn: str, kind: type[Keyed]) -> None:
    tried, wrong = 0, list[str]()
    async with quiet(dsn, *names(1)) as there, quiet(dsn) as here, quiet(dsn) as elsewhere:
        operation = kind(there, dsn, 0)
        await operation.begin()
        for _ in range(tries(1, 50)):
            await operation.prepare()
            async with asyncio.timeout(4 * BOUND):
                calls = [operation.call((here, elsewhere)[number % 2]) for number in range(10)]
                results = await asyncio.gather(*calls, return_exceptions=True)
            tried += len(results)
            if any(isinstance(result, BaseException) or result != results[0] for result in results):
                wrong.append(repr(set(map(repr, results))))
            if (happened := await operation.happened()) != 1:
                wrong.append(f"happened {happened} times")
    assert not wrong, wrong[:3]
    kept("R2", f"{kind.__name__}: ten calls at once with one key", tried=tried, broken=len(wrong))


@asynccontextmanager
async def lanes(dsn: str, there: SDK) -> AsyncGenerator[list[tuple[Proxy, SDK, list[Keyed]]]]:
    """Processes, each behind a proxy of its own that cuts nothing but what its operations commit."""
    async with AsyncExitStack() as stack:
        running: list[tuple[Proxy, SDK, list[Keyed]]] = []
        for lane in range(LANES):
            proxy = await stack.enter_async_context(proxied(dsn))
            here = await stack.enter_async_context(quiet(proxy.dsn, max_pool_size=2))
            operations = [kind(there, dsn, lane * len(ALL) + place) for place, kind in enumerate(ALL)]
            for operation in operations:
                await operation.begin()
            running.append((proxy, here, operations))
        yield running


@pytest.mark.timeout(3600)
@pytest.mark.requirement("idempotency:concurrent", "meeting:unknown-outcome")
@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_is_called_as_its_connection_is_cut_around_the_commit_happens_once(dsn: str, when: Any) -> None:
    left = tries(5 * len(ALL), 475 * len(ALL))
    tried, cuts, wrong = Counter[str](), Counter[str](), list[str]()

    async def run(proxy: Proxy, here: SDK, operations: list[Keyed]) -> None:
        nonlocal left
        while left > 0:
            operation = operations[left % len(operations)]
            left -= 1
            await operation.prepare()
            before = proxy.cuts.total()
            proxy.cut_commits(when, matching=operation.commits)
            async with asyncio.timeout(4 * BOUND):
                results = [await operation.call(here)]
                proxy.spare_commits()
                results.append(await operation.call(here))
            name = type(operation).__name__
            tried[name] += proxy.cuts.total() - before
            if results[0] != results[1]:
                wrong.append(f"{name}: {results}")
            if (happened := await operation.happened()) != 1:
                wrong.append(f"{name}: happened {happened} times")

    async with world.opened(dsn, *names(LANES * len(ALL)), sweep_interval=1) as there, lanes(dsn, there) as running:
        async with asyncio.TaskGroup() as group:
            for proxy, here, operations in running:
                group.create_task(run(proxy, here, operations))
        for proxy, _, _ in running:
            cuts += proxy.cuts
    assert not wrong, wrong[:5]
    assert all(tried[kind.__name__] for kind in ALL), f"never cut: {tried}"
    what = f"calls whose connection was cut {when} the commit"
    kept("R2", what, tried=tried.total(), broken=len(wrong), cuts=", ".join(f"{n}: {c}" for n, c in cuts.items()))
