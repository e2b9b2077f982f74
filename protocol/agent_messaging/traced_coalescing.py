"""Coalesced statements that know whom they are for: each runs in the span of its caller, not in that of whoever
began the queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from agent_messaging.coalescing import Coalescer
from agent_messaging.tracing import current_span, is_on, together

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Row = TypeVar("Row")
Result = TypeVar("Result")


def coalescer(
    flush: Callable[[Sequence[Row]], Awaitable[Sequence[Result]]],
    *,
    apart: Callable[[Row], object] | None = None,
    undo: Callable[[Row, Result], None] | None = None,
) -> Coalescer[Row, Result]:
    """Make a Coalescer, one that traces if OpenTelemetry is on."""
    kind = TracedCoalescer[Row, Result] if is_on() else Coalescer[Row, Result]
    return kind(flush, apart=apart, undo=undo)


class TracedCoalescer(Coalescer[Row, Result]):
    """A Coalescer for where OpenTelemetry is on."""

    def __init__(
        self,
        flush: Callable[[Sequence[Row]], Awaitable[Sequence[Result]]],
        *,
        apart: Callable[[Row], object] | None = None,
        undo: Callable[[Row, Result], None] | None = None,
    ) -> None:
        callers: dict[int, Span] = {}
        name = f"Outbox.{getattr(flush, '__name__', 'flush').strip('_')}"

        async def flush_in_span(batch: Sequence[Row]) -> Sequence[Result]:
            with together(name, [callers.get(id(row)) for row in batch]):
                return await flush(batch)

        super().__init__(flush_in_span, apart=apart, undo=undo)
        self._callers = callers

    async def __call__(self, row: Row) -> Result:
        """Have the row done; raises what the flush raised for it."""
        self._callers[id(row)] = current_span()
        try:
            return await super().__call__(row)
        finally:
            self._callers.pop(id(row), None)
