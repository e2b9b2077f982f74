"""A span for each statement of a traced call, where OpenTelemetry is set up: its name and its text, never a value.

What the process does by itself (sweeps, wake-ups, heartbeats) belongs to no call and has no spans.
"""

from __future__ import annotations

import time
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from agent_messaging_db.statements import load

if TYPE_CHECKING:
    from asyncpg import Connection
    from asyncpg.connection import LoggedQuery


def _sdk_is_there() -> bool:
    try:
        return find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False


INSTALLED = _sdk_is_there()


def watch(connection: Connection[Any]) -> None:
    """Have the statements of this connection traced, if OpenTelemetry was set up before it was opened."""
    if not INSTALLED:
        return
    from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider

    if not isinstance(get_tracer_provider(), ProxyTracerProvider):
        connection.add_query_logger(_record)


def _record(query: LoggedQuery) -> None:
    # The driver calls this through call_soon, which keeps the context of the task that ran the statement.
    from opentelemetry import trace

    caller = trace.get_current_span()
    # One that has ended belongs to a call which the running task has outlived. What is not ours (the driver asks
    # for types, once a connection) may hold values, and tells nobody anything.
    name = _names().get(query.query)
    if name is None or not caller.get_span_context().is_valid or getattr(caller, "end_time", None) is not None:
        return
    ended = time.time_ns()
    span = trace.get_tracer("agent_messaging").start_span(
        name,
        kind=trace.SpanKind.CLIENT,
        attributes={"db.system.name": "postgresql", "db.operation.name": name, "db.query.text": query.query},
        start_time=ended - round(query.elapsed * 1e9),
    )
    if query.exception is not None:
        error = query.exception
        span.set_attribute("error.type", getattr(error, "sqlstate", None) or type(error).__qualname__)
        span.set_status(trace.StatusCode.ERROR)
    span.end(ended)


@cache
def _names() -> dict[str, str]:
    nouns = (path.name.removesuffix(".sql") for path in (files("agent_messaging_db") / "sql").iterdir())
    named = {sql: name for noun in nouns for name, sql in load(noun).items()}
    return named | {f"{verb};": verb for verb in ("BEGIN", "COMMIT", "ROLLBACK")}
