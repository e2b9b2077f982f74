"""No wake-up is lost on a quiet system that never sweeps: each way to lose one is made to happen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent_messaging.waiting import agent_topic
from agent_messaging_db.sync_points import SyncPoint
from tests.promises import kept, tries
from tests.protocol.world import fetch
from tests.races.stops import BOUND, acting, soon
from tests.races.waits import Pair, Wait, overheard, pair

Interleaving = Callable[[Pair, Wait, str], Awaitable[bool]]


async def gives(call: asyncio.Task[Any], expected: Any) -> bool:
    """Whether the wait ends, with what it was to give."""
    try:
        async with asyncio.timeout(BOUND):
            return await asyncio.shield(call) == expected
    except TimeoutError:
        call.cancel()
        return False


async def asleep(pair: Pair, wait: Wait) -> asyncio.Task[Any]:
    """A wait that has looked and has found nothing."""
    stop = pair.stops.at(SyncPoint.WAIT_SLEEPS, actor="waiter")
    call = acting("waiter", wait.wait())
    await stop.reached()
    stop.go()
    await pair.marked()
    return call


async def deaf(pair: Pair, dsn: str, until: SyncPoint) -> Any:
    """The listener of `here` has lost its connection, and is stopped on its way to another one."""
    stop = pair.stops.at(until, actor="here")
    sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'agent-messaging listener' ORDER BY backend_start"
    pids = [row[0] for row in await fetch(dsn, sql.replace("ORDER", "AND datname = current_database() ORDER"))]
    assert len(pids) == 2
    await fetch(dsn, "SELECT pg_terminate_backend($1)", pids[-1])  # that of `there` never goes away
    await stop.reached()
    return stop


async def carried(pair: Pair, topics: list[str]) -> None:
    """Go on when everything that `there` has said is past those who do not listen."""
    marker = agent_topic((await pair.there.get_agent("zoe")).id)
    before = topics.count(marker)

    async def one_more() -> bool:
        return topics.count(marker) > before

    await pair.there.async_conversation.send("yves", "zoe", "marker")
    await soon(one_more)


async def before_the_first_look(pair: Pair, wait: Wait, _dsn: str) -> bool:
    stop = pair.stops.at(SyncPoint.WAIT_SUBSCRIBED, actor="waiter")
    call = acting("waiter", wait.wait())
    await stop.reached()
    expected = await wait.end()
    await pair.marked()
    stop.go()
    return await gives(call, expected)


async def between_the_look_and_the_sleep(pair: Pair, wait: Wait, _dsn: str) -> bool:
    stop = pair.stops.at(SyncPoint.WAIT_LOOKED, actor="waiter")
    call = acting("waiter", wait.wait())
    await stop.reached()
    expected = await wait.end()
    await pair.marked()
    stop.go()
    return await gives(call, expected)


async def while_the_listener_is_away(pair: Pair, wait: Wait, dsn: str) -> bool:
    async with overheard(dsn) as topics:
        call = await asleep(pair, wait)
        stop = await deaf(pair, dsn, SyncPoint.LISTENER_CONNECTED)
        expected = await wait.end()
        await carried(pair, topics)
    assert not call.done(), "the wake-up was not lost, so nothing was tried"
    stop.go()
    return await gives(call, expected)


async def of_a_wait_that_begins_while_the_listener_is_away(pair: Pair, wait: Wait, dsn: str) -> bool:
    async with overheard(dsn) as topics:
        away = await deaf(pair, dsn, SyncPoint.LISTENER_CONNECTED)
        stop = pair.stops.at(SyncPoint.WAIT_SLEEPS, actor="waiter")
        call = acting("waiter", wait.wait())
        await stop.reached()
        expected = await wait.end()
        await carried(pair, topics)
        stop.go()
    assert not call.done(), "the wake-up was not lost, so nothing was tried"
    away.go()
    return await gives(call, expected)


async def when_the_listener_listens_and_nobody_was_told_to_look(pair: Pair, wait: Wait, dsn: str) -> bool:
    call = await asleep(pair, wait)
    stop = await deaf(pair, dsn, SyncPoint.LISTENER_LISTENS)
    expected = await wait.end()
    given = await gives(call, expected)
    stop.go()
    return given


async def while_others_are_on_their_way(pair: Pair, wait: Wait, _dsn: str) -> bool:
    call = await asleep(pair, wait)
    stop = pair.stops.at(SyncPoint.WAKEUPS_GO, actor="there")
    await pair.there.async_conversation.send("yves", "zoe", "on its way")
    await stop.reached()
    expected = await wait.end()
    stop.go()
    return await gives(call, expected)


INTERLEAVINGS: list[Interleaving] = [
    before_the_first_look,
    between_the_look_and_the_sleep,
    while_the_listener_is_away,
    of_a_wait_that_begins_while_the_listener_is_away,
    when_the_listener_listens_and_nobody_was_told_to_look,
    while_others_are_on_their_way,
]


@pytest.mark.timeout(1800)
@pytest.mark.requirement("waiting:no-lost-wake-up")
@pytest.mark.parametrize("interleaving", INTERLEAVINGS, ids=lambda interleaving: interleaving.__name__)
async def test_no_wake_up_is_lost_on_a_quiet_system_that_never_sweeps(dsn: str, interleaving: Interleaving) -> None:
    tried, lost = 0, list[str]()
    async with pair(dsn) as running:
        for number in range(tries(4, 100)):
            wait = running.waits[number % len(running.waits)]
            await wait.prepare()
            tried += 1
            if not await interleaving(running, wait, dsn):
                lost.append(type(wait).__name__)
            if len(lost) == 2:
                break
    what = f"a wake-up {interleaving.__name__.replace('_', ' ')}, sweep off"
    kept("R5", what, tried=tried, broken=len(lost), lost=" ".join(sorted(set(lost))))
