"""The examination itself: every check once, each only if what it needs is there, and none for longer than it
should take.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from agent_messaging_mcp.doctor import access, configuration, database, edge, reaching, wakeups
from agent_messaging_mcp.doctor.findings import Case, Check, Finding, Missing, Result
from agent_messaging_mcp.text import one_line

LONGEST = 25.0
"""Seconds for one check; connecting may take ten of them."""

_AGAIN = "Run `agent-messaging doctor` again; if it stays so, report it with this line."


async def examine(*, clock: Callable[[], float] = time.time) -> list[Finding]:
    """Examine the installation that the environment describes. `clock` reads this host's clock.

    Nothing is changed: the schema is only looked at, and nothing is written but NOTIFY. An embedded database
    that is not running is started as a server would start it.
    """
    case = Case(clock)
    async with AsyncExitStack() as until_the_end:

        async def reach(case: Case) -> Finding:
            return await reaching.reach(case, until_the_end)

        checks: tuple[tuple[Check, Callable[[Case], Awaitable[Finding]]], ...] = (
            (Check.CONFIGURATION, configuration.read),
            (Check.DATABASE, reach),
            (Check.SERVER, database.server),
            (Check.ROLE, database.role),
            (Check.CONNECTIONS, database.connections),
            (Check.SCHEMA, database.schema),
            (Check.WAKEUPS, wakeups.wakeups),
            (Check.POOLER, wakeups.pooler),
            (Check.CLOCK, database.clock),
            (Check.TOKENS, access.tokens),
            (Check.ISSUER, access.issuer),
            (Check.EDGE, edge.edge),
        )
        return [await _finding(check, look, case) for check, look in checks]


async def _finding(check: Check, look: Callable[[Case], Awaitable[Finding]], case: Case) -> Finding:
    try:
        async with asyncio.timeout(LONGEST):
            return await look(case)
    except Missing as missing:
        return Finding(check, Result.SKIPPED, f"not looked at, as {missing}")
    except TimeoutError:
        return Finding(
            check,
            Result.FAILING,
            f"no answer within {LONGEST:.0f} s",
            "Run `agent-messaging doctor` again; if it stays so, look at what the database is doing "
            "(SELECT pid, state, wait_event, query FROM pg_stat_activity).",
        )
    except Exception as error:
        # A check that breaks is itself a finding; the others have still something to say.
        said = one_line(f"{type(error).__name__}: {error}", 300)
        return Finding(check, Result.FAILING, f"could not be looked at ({said})", _AGAIN)
