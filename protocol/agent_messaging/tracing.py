"""A span for each call of a service, where OpenTelemetry is set up; without its SDK, nothing at all.

A span says which operation it is, who acts, and what it is about: external ids and UUIDs, never content. What
went wrong is told by the type of the error alone.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Service = TypeVar("Service")
Operation: TypeAlias = Callable[..., Awaitable[Any]]

TRACER = "agent_messaging"
ATTRIBUTES = {
    "sender_external_id": "agent_messaging.agent",
    "agent_external_id": "agent_messaging.agent",
    "host_external_id": "agent_messaging.agent",
    "speaker_external_id": "agent_messaging.agent",
    "requester_external_id": "agent_messaging.agent",
    "recipient_external_id": "agent_messaging.with_agent",
    "other_external_id": "agent_messaging.with_agent",
    "question_id": "agent_messaging.question",
    "meeting_id": "agent_messaging.meeting",
}
"""Of which arguments a span tells, and as what. Of nothing else."""
READERS = {
    "get_messages_from_agent": ("recipient_external_id", "sender_external_id"),
    "wait_for_message": ("recipient_external_id", "sender_external_id"),
}
"""Calls in which the recipient acts: its argument, and that of the other agent."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-:@/]{0,127}")
_operation: ContextVar[tuple[Span, object] | None] = ContextVar("agent_messaging_operation", default=None)


def _sdk_is_there() -> bool:
    try:
        return find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False


INSTALLED = _sdk_is_there()


_on = False


def look() -> None:
    """See whether the program has set up OpenTelemetry: as an SDK object is opened, since on every call that would cost
    more than much of what the call does.
    """
    global _on
    _on = INSTALLED and not isinstance(_api().get_tracer_provider(), _api().ProxyTracerProvider)


def is_on() -> bool:
    """Was OpenTelemetry set up when an SDK object was opened last?"""
    return _on


@cache
def _api() -> ModuleType:
    # An import statement on every call would cost more than what is asked there.
    from opentelemetry import trace

    return trace


def traced(service: type[Service]) -> type[Service]:
    """Have each public coroutine method of a service run in a span `Service.method`. Without the SDK, the class
    stays as it is.
    """
    if INSTALLED:
        for name, method in list(vars(service).items()):
            if not name.startswith("_") and inspect.iscoroutinefunction(method):
                setattr(service, name, _in_span(f"{service.__name__}.{name}", method))
    return service


def _in_span(name: str, method: Operation) -> Operation:
    told = _told_arguments(method)

    @wraps(method)
    def run(*arguments: Any, **named: Any) -> Awaitable[Any]:
        # No coroutine around the other: a call may wait for long, and there are thousands.
        return traced_run(*arguments, **named) if _on else method(*arguments, **named)

    async def traced_run(*arguments: Any, **named: Any) -> Any:
        from opentelemetry import trace
        from opentelemetry.context import Context

        current, task = trace.get_current_span(), asyncio.current_task()
        if _operation.get() == (current, task):
            return await method(*arguments, **named)  # a part of an operation
        # A task may have outlived the call that began it.
        parent = Context() if _is_over(current) else None
        with trace.get_tracer(TRACER).start_as_current_span(
            name,
            context=parent,
            attributes=_attributes(told, arguments, named),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            before = _operation.set((span, task))
            try:
                return await method(*arguments, **named)
            except BaseException as error:
                span.set_attribute("error.type", type(error).__qualname__)
                if isinstance(error, Exception):
                    span.set_status(trace.StatusCode.ERROR)
                raise
            finally:
                _operation.reset(before)

    return run


def _told_arguments(method: Operation) -> list[tuple[int, str, str]]:
    """Give position, name and attribute of the arguments that a span tells of."""
    attributes = dict(ATTRIBUTES)
    if method.__name__ in READERS:
        mine, other = READERS[method.__name__]
        attributes |= {mine: "agent_messaging.agent", other: "agent_messaging.with_agent"}
    names = list(inspect.signature(method).parameters)
    return [(position, name, attributes[name]) for position, name in enumerate(names) if name in attributes]


def _attributes(
    told: Sequence[tuple[int, str, str]], arguments: Sequence[object], named: dict[str, object]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for position, name, attribute in told:
        value = arguments[position] if position < len(arguments) else named.get(name)
        if isinstance(value, UUID) or (isinstance(value, str) and _NAME.fullmatch(value)):
            found[attribute] = str(value)
    return found


def _is_over(span: Span) -> bool:
    return getattr(span, "end_time", None) is not None


def apart(work: Callable[[], Awaitable[None]], *, needed: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    """Have what `work` begins be no part of the call in which it is done, as it goes on after that; nothing is done
    where it is not `needed`, which costs less than asking whether anything is traced. Without the SDK, `work` stays as
    it is.
    """
    if not INSTALLED:
        return work

    async def done_apart() -> None:
        if not needed():
            return None
        if not is_on():
            return await work()
        from opentelemetry import context

        token = context.attach(context.Context())
        try:
            return await work()
        finally:
            context.detach(token)

    return done_apart


def current_span() -> Span:
    """The span that whoever calls this runs in."""
    from opentelemetry import trace

    return trace.get_current_span()


@contextmanager
def together(name: str, callers: Sequence[Span | None]) -> Generator[None]:
    """Do something for these callers at once: for one in its span, for several in a span linked with theirs."""
    from opentelemetry import trace

    living = list(dict.fromkeys(span for span in callers if span is not None and span.is_recording()))
    if len(living) < 2:
        with trace.use_span(living[0] if living else trace.INVALID_SPAN, record_exception=False):
            yield
        return
    first, *others = living
    with trace.get_tracer(TRACER).start_as_current_span(
        name,
        context=trace.set_span_in_context(first),
        links=[trace.Link(other.get_span_context()) for other in others],
        attributes={"db.operation.batch.size": len(callers)},
        record_exception=False,
        set_status_on_exception=False,
    ) as batch:
        for other in others:
            other.add_link(batch.get_span_context())
        yield
