"""Runs one scenario with OpenTelemetry set up, and prints the spans it made, one JSON object a line.

In a process of its own: OpenTelemetry can be set up once, and would stay on for every test that follows.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
from mcp import MCPError
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent_messaging import AgentMessagingError
from tests.mcp_server.hosts import host
from tests.protocol.world import eventually, opened

SECRET = "xyzzy"
BOUND = 45


async def ask(dsn: str) -> None:
    """A question and its answer, between two hosts; and what is refused."""
    async with host(dsn, "alice") as alice, host(dsn, "bob") as bob:
        await bob.call("list_agents")
        await alice.call("list_agents")
        async with anyio.create_task_group() as tasks:

            async def answer() -> None:
                came = await bob.status("check_inbox", wait_seconds=BOUND)
                await bob.call("reply", question=came["items"][0]["question"], message=f"{SECRET} answer")

            tasks.start_soon(answer)
            answered = await alice.status("send_and_wait", to="bob", message=f"{SECRET} question", key=f"{SECRET}-key")
            assert answered["status"] == "answered"
        await alice.result("send", to=f"{SECRET}", message=SECRET)
        await alice.result("reply", question=SECRET, message=SECRET)
        meeting = {"title": SECRET, "agenda": SECRET, "agents": "bob"}
        created = await alice.status("create_meeting", **meeting)
        await alice.call("end_meeting", meeting=created["meeting"], outcome=SECRET)


async def together(dsn: str) -> None:
    """Sends that are under way at the same time."""
    async with opened(dsn, "alice", "bob") as sdk:
        metadata = {"note": SECRET}
        sends = [sdk.async_conversation.send("alice", "bob", SECRET, metadata=metadata) for _ in range(20)]
        await asyncio.gather(*sends)


async def failing(dsn: str) -> None:
    """Calls that fail: refused, out of time, cancelled, and without a database."""
    async with opened(dsn, "alice", "bob", database_patience=0) as sdk:
        with suppress(AgentMessagingError):
            await sdk.async_conversation.send("alice", "nobody-here", SECRET)
        with suppress(AgentMessagingError):
            await sdk.sync_conversation.send_and_wait("alice", "bob", SECRET, timeout=0)
        waiting = asyncio.create_task(sdk.async_conversation.wait_for_message("alice", "bob", BOUND))
        await eventually(lambda: _open_waits(sdk))
        waiting.cancel()
        await asyncio.wait([waiting])
        async with sdk._engine.database.connection() as connection:
            await connection.execute("ALTER TABLE pairs RENAME TO elsewhere")
        with suppress(Exception):
            await sdk.async_conversation.send("alice", "bob", SECRET)


async def _open_waits(sdk: Any) -> int:
    return sdk.measures.snapshot().waits_open


async def background(dsn: str) -> None:
    """A process that sweeps, and was opened by a call that somebody traces."""
    tracer = trace.get_tracer("test")
    process = opened(dsn, "alice", "bob", sweep_interval=0.05)
    with tracer.start_as_current_span("opening"):
        sdk = await process.__aenter__()
        await eventually(lambda: _swept(sdk, 3))

        @sdk.register_handler("bob")
        async def handle(_message: Any, _context: Any) -> str:
            await sdk.async_conversation.send("bob", "alice", "by the way")
            return "answer"

        await sdk.sync_conversation.send_and_wait("alice", "bob", "?", BOUND)
    with tracer.start_as_current_span("later"):
        await sdk.sync_conversation.send_and_wait("alice", "bob", "?", BOUND)
    await process.__aexit__(None, None, None)


async def _swept(sdk: Any, rounds: int) -> bool:
    return sdk.measures.snapshot().sweeps.count >= rounds


async def outage(_dsn: str) -> None:
    """A call over MCP while there is no database."""
    nowhere = f"postgresql://nobody:{SECRET}@127.0.0.1:1/none"
    async with host(nowhere, "alice", organization="default") as alice:
        with suppress(MCPError):
            await alice.result("send", to="bob", message=SECRET)


SCENARIOS: dict[str, Callable[[str], Awaitable[None]]] = {
    scenario.__name__: scenario for scenario in (ask, together, failing, background, outage)
}


def told(span: ReadableSpan, names: dict[int, str]) -> dict[str, Any]:
    """Everything that an exporter would get."""
    assert span.context is not None
    return {
        "id": span.context.span_id,
        "name": span.name,
        "parent": None if span.parent is None else span.parent.span_id,
        "parent_name": None if span.parent is None else names.get(span.parent.span_id),
        "kind": span.kind.name,
        "attributes": dict(span.attributes or {}),
        "events": [(event.name, dict(event.attributes or {})) for event in span.events],
        "links": [names.get(link.context.span_id) for link in span.links],
        "status": span.status.status_code.name,
        "description": span.status.description,
        "start": span.start_time,
        "end": span.end_time,
        "scope": span.instrumentation_scope.name if span.instrumentation_scope else None,
    }


async def main(scenario: str, dsn: str) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    async with asyncio.timeout(BOUND * 2):
        await SCENARIOS[scenario](dsn)
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans if span.context is not None}
    for span in spans:
        print(json.dumps(told(span, names)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
