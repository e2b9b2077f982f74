"""Wake-ups along the configured paths, and what lies on the way to the database."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median

from agent_messaging_db import diagnosis
from agent_messaging_db import pooler as poolers
from agent_messaging_db.diagnosis import Ear, Link, Unreachable
from agent_messaging_mcp.doctor.findings import Case, Check, Finding, Result, milliseconds
from agent_messaging_mcp.doctor.reaching import obstacle

SAMPLES = 5
WITHIN = 1.5
"""Seconds until a wake-up counts as lost: by then the sweep has looked."""
IDLE = 1.5
"""Seconds of silence between two rounds: what lies on the way may have let go of the connection."""
SLOW = 0.1
"""Seconds, from which a wake-up is felt to be slow."""

_LATE = "waits still end, by the sweep, but up to a second late each way"
_DIRECT = "LISTEN_DATABASE_URL=postgresql://… with an address that leads to PostgreSQL itself, past the pooler"


@dataclass(frozen=True, slots=True)
class _Heard:
    delays: list[float]
    lost: int
    listener_is_direct: bool
    same_place: bool


async def wakeups(case: Case) -> Finding:
    """Listen as a process listens, publish as a process publishes, twice, with silence in between."""
    if case.config.wakeups_address is not None:
        return await _over_nats(case.config.wakeups_address)
    listen_dsn = case.config.listen_dsn or case.dsn
    variable = "LISTEN_DATABASE_URL" if case.config.listen_dsn else case.address_variable
    try:
        async with diagnosis.reached(listen_dsn) as listener:
            heard = await _listen(listener, case.link)
    except Unreachable as unreachable:
        found, do = obstacle(unreachable, listen_dsn, variable)
        return Finding(Check.WAKEUPS, Result.FAILING, f"nobody can listen: {found}", do)
    except PermissionError as refused:
        return Finding(
            Check.WAKEUPS,
            Result.FAILING,
            f"LISTEN is refused ({refused})",
            f"Let {variable} lead to the primary: a standby neither takes LISTEN nor hears NOTIFY.",
        )
    return _judged(case, heard)


async def _over_nats(urls: str) -> Finding:
    try:
        # Only here: the client is an extra.
        from agent_messaging_db import nats_diagnosis
    except ImportError:
        do = "pip install 'agent-messaging[nats]', or unset WAKEUPS_URL."
        return Finding(Check.WAKEUPS, Result.FAILING, "WAKEUPS_URL is set and the NATS client is not there", do)
    try:
        delays = await nats_diagnosis.delays(urls, rounds=(0.0, IDLE), times=SAMPLES, within=WITHIN)
    except nats_diagnosis.NotReached as error:
        do = "Look at WAKEUPS_URL, its user and password, and whether the NATS server runs and lets this host in."
        return Finding(Check.WAKEUPS, Result.WARNING, f"no NATS server was reached ({error}): {_LATE}", do)
    if not delays or None in delays:
        do = "Let the account publish and subscribe to agent_messaging.> on the NATS server."
        return Finding(Check.WAKEUPS, Result.WARNING, f"do not arrive over NATS: {_LATE}", do)
    middle = median(delay for delay in delays if delay is not None)
    words = f"arrive over NATS after {milliseconds(middle)} (median of {len(delays)}, in two rounds)"
    if middle >= SLOW:
        return Finding(Check.WAKEUPS, Result.WARNING, words, "Run agent-messaging near its NATS server.")
    return Finding(Check.WAKEUPS, Result.OK, words)


async def _listen(listener: Link, publisher: Link) -> _Heard:
    # Asked first: a connection that has been silent may answer nothing any more.
    is_direct = await poolers.is_direct(listener)
    places = await diagnosis.place(listener), await diagnosis.place(publisher)
    ear = Ear(listener)
    await ear.open()
    delays: list[float] = []
    lost = 0
    try:
        for pause in (0.0, IDLE):
            await asyncio.sleep(pause)
            for _ in range(SAMPLES):
                delay = await ear.hear(publisher, within=WITHIN)
                if delay is None:
                    lost += 1
                    break  # the others of the round would only take as long
                delays.append(delay)
    finally:
        await ear.close()
    return _Heard(delays, lost, is_direct, same_place=None in places or places[0] == places[1])


def _judged(case: Case, heard: _Heard) -> Finding:
    if not heard.lost:
        middle = median(heard.delays)
        words = f"arrive after {milliseconds(middle)} (median of {len(heard.delays)}, in two rounds)"
        if middle >= SLOW:
            do = "Run agent-messaging near its database, and look at what keeps the server busy."
            return Finding(Check.WAKEUPS, Result.WARNING, words, do)
        return Finding(Check.WAKEUPS, Result.OK, words)
    # A server that hears nothing calls itself not ready, so that no load balancer sends it anything.
    result = Result.FAILING if case.serves else Result.WARNING
    not_ready = "; /readyz of `agent-messaging serve` says no" if case.serves else ""
    if heard.delays:
        words = f"some are lost ({heard.lost} of {heard.lost + len(heard.delays)})"
        do = "Look for what closes or freezes idle connections on the way: " + (
            "a pooler; " + f"set {_DIRECT}" if not heard.listener_is_direct else "a firewall, a NAT gateway, a proxy."
        )
        return Finding(Check.WAKEUPS, result, f"{words}: {_LATE}{not_ready}", do)
    if not heard.same_place:
        return Finding(
            Check.WAKEUPS,
            result,
            f"do not arrive, as LISTEN_DATABASE_URL leads to another database than {case.address_variable}: "
            f"{_LATE}{not_ready}",
            f"Let LISTEN_DATABASE_URL lead to the database of {case.address_variable}, on the same server.",
        )
    if heard.listener_is_direct:
        do = f"Let {case.address_variable} and LISTEN_DATABASE_URL lead to the same primary, with nothing between."
        return Finding(Check.WAKEUPS, result, f"do not arrive: {_LATE}{not_ready}", do)
    return Finding(
        Check.WAKEUPS,
        result,
        f"do not arrive, as a pooler on the way swallows LISTEN: {_LATE}{not_ready}",
        f"Set {_DIRECT}",
    )


async def pooler(case: Case) -> Finding:
    """What lies between the pool and PostgreSQL, and whether our way of using it survives that."""
    try:
        found = await diagnosis.pooling(case.dsn)
    except Unreachable as unreachable:
        words, do = obstacle(unreachable, case.dsn, case.address_variable)
        return Finding(Check.POOLER, Result.FAILING, words, do)
    listens_apart = case.config.listen_dsn is not None or case.config.wakeups_address is not None
    return pooler_finding(found, address=case.address_variable, listens_apart=listens_apart)


def pooler_finding(found: diagnosis.Pooling, *, address: str, listens_apart: bool) -> Finding:
    """What such a way to the database comes to; `address` is the variable with its address."""
    if not found.shares:
        if found.is_direct:
            return Finding(Check.POOLER, Result.OK, "none: the connections lead to PostgreSQL itself")
        return Finding(
            Check.POOLER,
            Result.OK,
            "something that speaks PostgreSQL's protocol lies between; each connection keeps its server process, as "
            "with a pooler in session mode",
        )
    mode = "a pooler in transaction mode lies between: it lends a server process out for one transaction"
    if not found.keeps_statements:
        return Finding(
            Check.POOLER,
            Result.WARNING,
            f"{mode}, and does not keep track of prepared statements, so that each takes one more round trip",
            "PgBouncer 1.21 or newer with max_prepared_statements = 200 (its default from 1.24 on), or "
            f"pool_mode = session; or let {address} lead to PostgreSQL itself.",
        )
    if not listens_apart:
        return Finding(Check.POOLER, Result.WARNING, f"{mode}, and therefore swallows LISTEN", f"Set {_DIRECT}")
    return Finding(
        Check.POOLER,
        Result.OK,
        f"{mode}, and keeps track of prepared statements; wake-ups have a way of their own",
    )
