"""Fifty agents that pass on whatever they get come to an end, and are silenced by the switch. How fast is measured by
`python -m tests.hostile.echo`.
"""

from __future__ import annotations

import pytest

from tests.hostile.echoing import Echo, echoing
from tests.promises import kept, tries
from tests.protocol.world import ORGANIZATION, eventually, fetch, opened

AGENTS = 50
TWICE = 2


async def stored(dsn: str) -> int:
    return (await fetch(dsn, "SELECT count(*) FROM messages"))[0][0]


async def at_rest(dsn: str, echo: Echo) -> None:
    """Everything that was sent has been handled."""

    async def handled() -> bool:
        unread = await fetch(dsn, "SELECT FROM deliveries WHERE read_at IS NULL LIMIT 1")
        return echo.handled >= await stored(dsn) and not unread

    await eventually(handled, within=300)


@pytest.mark.requirement("etiquette:loops")
@pytest.mark.timeout(600)
async def test_an_echo_of_fifty_agents_ends_at_the_limit_of_hops(dsn: str) -> None:
    hops = tries(5, 9)
    async with echoing(dsn, agents=AGENTS, times=TWICE, max_hops=hops) as echo:
        await echo.begin()
        await at_rest(dsn, echo)
        by_hop = await fetch(dsn, "SELECT hop, count(*) FROM messages GROUP BY hop ORDER BY hop")
        assert [tuple(row) for row in by_hop] == [(hop, TWICE**hop) for hop in range(hops + 1)]
        assert echo.refused == {"HopLimitError": TWICE ** (hops + 1)}


@pytest.mark.requirement("etiquette:loops")
@pytest.mark.timeout(600)
async def test_an_echo_without_a_limit_of_hops_ends_when_every_pair_has_spent_its_budget(dsn: str) -> None:
    agents, budget = 6, 3
    async with echoing(dsn, agents=agents, times=TWICE, max_hops=0, exchange_budget=budget) as echo:
        await echo.begin()
        await at_rest(dsn, echo)
        by_pair = await fetch(dsn, "SELECT count(*) AS messages FROM messages GROUP BY pair_id")
        assert max(row["messages"] for row in by_pair) == budget
        assert len(by_pair) <= agents * (agents - 1) / 2
        assert set(echo.refused) == {"ExchangeBudgetError"}


@pytest.mark.requirement("etiquette:silence:at-once")
@pytest.mark.timeout(600)
async def test_an_echo_of_fifty_agents_is_silenced_by_the_switch(dsn: str) -> None:
    async with (
        echoing(dsn, agents=AGENTS, times=TWICE, max_hops=0, sweep_interval=0.1) as echo,
        opened(dsn) as operator,
    ):
        await echo.begin()
        await eventually(lambda: fetch(dsn, "SELECT FROM messages OFFSET 300 LIMIT 1"))
        await operator.silences.silence_organization(ORGANIZATION)
        at_once = await stored(dsn)
        begun = echo.handled

        async def nobody_works() -> bool:
            at_work = "SELECT FROM deliveries WHERE read_at IS NULL AND claimed_by IS NOT NULL LIMIT 1"
            return not await fetch(dsn, at_work)

        await eventually(nobody_works)
        rounds = sum(sdk.measures.snapshot().sweeps.count for sdk in echo.processes)

        async def swept() -> bool:
            return sum(sdk.measures.snapshot().sweeps.count for sdk in echo.processes) > rounds + 6

        await eventually(swept)
        assert await stored(dsn) == at_once
        working = AGENTS * 8
        assert echo.handled <= begun + working, "only handlers that had begun went on"
        assert set(echo.refused) <= {"SilencedError"}
        kept("R17", "messages of an organization after it was silenced", tried=at_once, broken=0)
