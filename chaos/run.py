"""One run: the ground, the processes on it, the fire, the quiet after it, and what is left to be read."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from agent_messaging import AgentMessaging, Config, MeetingStatus
from chaos import history, plan
from chaos.client import DRAIN, FINISH, PLAN, SERVERS, TOKENS
from chaos.faults import Faults
from chaos.grounds import Ground, ground
from chaos.history import Recorder
from chaos.kinds import Kind
from chaos.plan import Plan
from chaos.processes import Drain, Process, Server, program, server
from chaos.proxy import Proxy, proxied

Result = TypeVar("Result")

QUIET_SECONDS = 150
"""What the clients have to learn every outcome, and then to read what is left."""
ENVIRONMENT = {
    "HANDLER_LEASE": "3",
    "MAX_DELIVERY_ATTEMPTS": "50",  # a killed process is an attempt too
    "MAX_MEETING_DURATION": "120",
    "AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE": "1000000",
    "EXCHANGE_BUDGET": "0",  # what is written here is much, and no loop
    "MAX_HOPS": "0",
    "AGENT_MESSAGING_LOG_LEVEL": "warning",
}


@dataclass(frozen=True)
class Ran:
    """What a run leaves behind, besides its histories."""

    fired: Counter[Kind]
    drains: list[Drain]
    seconds: float


async def run(chosen: Plan, seconds: float, directory: Path) -> Ran:
    """Let the plan be played under fire for so long; the histories are in the directory."""
    plan.write(chosen, directory / PLAN)
    recorder = Recorder(directory, "harness")
    began = time.monotonic()
    async with ground() as ours, AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(proxied(ours.dsn)) for _ in range(2)]
        await register(ours, chosen, directory)
        servers = _servers(ours, proxies, directory)
        clients = _clients(chosen, ours, proxies, directory)
        for process in (*servers, *clients):
            stack.push_async_callback(process.kill)
        announce(servers, directory / SERVERS)
        await asyncio.gather(*(process.start() for process in servers))
        await asyncio.gather(*(process.ready() for process in servers))
        await asyncio.gather(*(process.start() for process in clients))
        await all_say(directory, clients, "began")
        faults = Faults(ours, chosen, servers, clients, proxies, recorder)
        await faults.run(seconds)
        await quiet(clients, directory, recorder)
        await audit(ours, chosen, Recorder(directory, "audit"))
    return Ran(faults.fired, faults.drains, time.monotonic() - began)


def until_done(work: Coroutine[Any, Any, Result]) -> Result:
    """Do it, and leave nothing behind if SIGTERM ends it."""

    async def ended_by_signals() -> Result:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    return asyncio.run(ended_by_signals())


async def register(ours: Ground, chosen: Plan, directory: Path) -> None:
    """Register every agent, with a token; each is known to read its inbox."""
    async with AgentMessaging[Any](Config(database_url=SecretStr(ours.dsn))) as sdk:
        await sdk.register_organization("chaos", "Chaos")
        tokens: dict[str, str] = {}
        for agent in chosen.agents:
            await sdk.register_agent(agent, "chaos", agent)
            await sdk.as_agent(agent).called()
            tokens[agent] = (await sdk.tokens.create(agent)).token
    (directory / TOKENS).write_text(json.dumps(tokens))


def _servers(ours: Ground, proxies: list[Proxy], directory: Path) -> list[Server]:
    """Three, the last one over a network that breaks."""
    roads = {"server-1": ours.dsn, "server-2": ours.dsn, "server-3": proxies[0].dsn}
    return [server(name, dsn, directory, **ENVIRONMENT) for name, dsn in roads.items()]


def _clients(chosen: Plan, ours: Ground, proxies: list[Proxy], directory: Path) -> list[Process]:
    """One for each process of the plan; those that send by the library do so over a network that breaks."""
    return [
        program(
            name,
            "chaos.clients",
            name,
            str(directory),
            directory=directory,
            DATABASE_URL=proxies[1].dsn if name == "sdk-1" else ours.dsn,
            **ENVIRONMENT,
        )
        for name in chosen.processes
    ]


def announce(servers: Sequence[Server], file: Path) -> None:
    """Keep a file that says where the servers are."""

    def write() -> None:
        unfinished = file.with_suffix(".new")
        unfinished.write_text(json.dumps({server.name: server.address for server in servers}))
        unfinished.replace(file)

    for one in servers:
        one.announce = write
    write()


async def quiet(clients: Sequence[Process], directory: Path, recorder: Recorder) -> None:
    """Nothing new, until every outcome is known; then nothing but reading, until every inbox is empty."""
    (directory / DRAIN).touch()
    give_up_at = time.monotonic() + QUIET_SECONDS
    await all_say(directory, clients, "drained")
    (directory / FINISH).touch()
    for client in clients:
        if not await client.ended(within=max(10.0, give_up_at - time.monotonic())) or client.code != 0:
            recorder.write("unfinished", process=client.name, code=client.code, log=client.log.name)
            await client.say_where()


async def all_say(directory: Path, clients: Sequence[Process], what: str) -> None:
    """Wait until each client has written such a line in its present life, at most for a while."""
    left = list(clients)
    give_up_at = time.monotonic() + QUIET_SECONDS
    while left and left[0].is_running and time.monotonic() < give_up_at:
        if what in _last_life(directory / f"{left[0].name}.jsonl"):
            left.pop(0)
        else:
            await asyncio.sleep(0.3)


def _last_life(path: Path) -> list[str]:
    """What a client has written since it last began. A life that was ended before it wrote a line is none."""
    said = [line["what"] for line in history.read(path)] if path.exists() else []
    return said[len(said) - said[::-1].index("began") - 1 :] if said else []


async def audit(ours: Ground, chosen: Plan, recorder: Recorder) -> None:
    """Read back everything, as each of those who may see it does."""
    async with AgentMessaging[Any](Config(database_url=SecretStr(ours.dsn))) as sdk:
        for pair in chosen.pairs:
            for agent, other in (pair, pair[::-1]):
                messages = await sdk.async_conversation.get_conversation(agent, other)
                entries = [
                    [message.seq, str(message.message_type), message.sender, json.loads(str(message.content))]
                    for message in messages
                ]
                recorder.write("conversation", agent=agent, other=other, entries=entries)
        for agent in chosen.agents:
            page = await sdk.inbox.page(agent)
            unread = [str(item.content) for item in page.items if not item.read]
            recorder.write("inbox", agent=agent, unread=unread)
        for host in chosen.hosts:
            for status in await sdk.as_agent(host).meetings(limit=100_000):
                await _audit_meeting(sdk, status.meeting_id, recorder)


async def _audit_meeting(sdk: AgentMessaging[Any], meeting: Any, recorder: Recorder) -> None:
    status = await sdk.meeting.get_meeting_status(meeting)
    give_up_at = time.monotonic() + 15
    while status.status is not MeetingStatus.ENDED and time.monotonic() < give_up_at:
        await asyncio.sleep(0.2)
        status = await sdk.meeting.get_meeting_status(meeting)
    entries = [
        [entry.seq, str(entry.kind), entry.turn, entry.agent or entry.sender or "", entry.content]
        for entry in await sdk.meeting.get_meeting_history(meeting)
    ]
    recorder.write(
        "audited",
        meeting=status.handle,
        status=str(status.status),
        reason=str(status.reason or ""),
        members=status.participants,
        entries=entries,
    )
