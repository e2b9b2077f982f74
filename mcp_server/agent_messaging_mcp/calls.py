"""One tool call from its arguments to its result: who calls, what is done, what else waits for the caller."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from mcp import MCPError
from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult

from agent_messaging.errors import AgentMessagingError
from agent_messaging_mcp import identity, logs
from agent_messaging_mcp.also import also_line, named, told_by
from agent_messaging_mcp.errors import CLIENT_GONE, outage, outcome, too_many_calls, too_many_waits
from agent_messaging_mcp.limits import Door, Open, Rate, TooManyOpen, pause
from agent_messaging_mcp.metrics import Numbers
from agent_messaging_mcp.rendering import rendered
from agent_messaging_mcp.results import Refusal, Result
from agent_messaging_mcp.service import Service
from agent_messaging_mcp.text import tell_time_by
from agent_messaging_mcp.waits import ClientGone, Waits

if TYPE_CHECKING:
    from agent_messaging import AgentView
    from agent_messaging.models import InboxItem

    View: TypeAlias = AgentView[Any]

T = TypeVar("T")

_KNOWN_AGENDAS = 4_096

logger = logging.getLogger(__name__)


class Agendas:
    """Which agendas need not be told again: the agent has spoken on a turn whose signal carried it.

    A hint to save reading: another process tells an agenda once more.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def proved(self, agent: str, meeting: str) -> None:
        self._known[agent, meeting] = None
        if len(self._known) > _KNOWN_AGENDAS:
            self._known.popitem(last=False)

    def is_known(self, agent: str, meeting: str) -> bool:
        return (agent, meeting) in self._known


@dataclass(frozen=True, slots=True)
class Desk:
    """What every call of one server process shares."""

    service: Service
    waits: Waits
    agendas: Agendas
    rate: Rate
    numbers: Numbers
    streams: Open = field(default_factory=lambda: Open(16))
    door: Door = field(default_factory=Door)

    async def view(self) -> View:
        """The protocol as the caller of this request sees it. Raises `MCPError` while the service cannot be
        opened.
        """
        try:
            messaging = await self.service.messaging()
        except Exception as failed:
            raise outage(failed) from None
        tell_time_by(messaging.now)
        return messaging.as_agent(identity.caller(), within_organization=True)


@dataclass(frozen=True, slots=True)
class Call:
    """What a tool is given besides its arguments."""

    desk: Desk
    context: Context[Any, Any]
    view: View

    @property
    def me(self) -> str:
        return self.view.external_id

    async def hold(self, seconds: float, wait: Callable[[float], Awaitable[T]]) -> T:
        """Wait inside this call, as long as calls are held at most. Raises what `Waits.hold` raises."""
        return await self.desk.waits.hold(self.context, self.me, seconds, wait)


Function: TypeAlias = Callable[..., Awaitable[Result | Refusal]]


def overdrawn(desk: Desk, tool: str) -> CallToolResult | None:
    """The refusal of a call, whatever its arguments are, if its caller has made too many."""
    if not (seconds := pause()):
        return None
    result = too_many_calls(tool, desk.rate.per_minute, seconds)
    with logs.called(tool, count=desk.numbers.called) as line:
        line.gave(result, {})
    return rendered(result)


async def perform(
    desk: Desk, function: Function, context: Context[Any, Any], arguments: dict[str, Any]
) -> CallToolResult:
    """Run one tool. Raises `MCPError` for an outage and for a defect of the server."""
    tool = function.__name__
    with desk.numbers.calling(), logs.called(tool, count=desk.numbers.called) as line:
        view = await desk.view()
        result = await _result(Call(desk, context, view), function, arguments)
        line.gave(result, arguments)
        if isinstance(result, Refusal) or result.inbox:
            return rendered(result)
        return rendered(result, await _also(view, result))


async def _result(call: Call, function: Function, arguments: dict[str, Any]) -> Result | Refusal:
    tool = function.__name__
    try:
        await call.view.called()
        try:
            return await function(call, **arguments)
        except AgentMessagingError as refused:
            return outcome(refused, tool, arguments)
        except TooManyOpen as refused:
            call.desk.numbers.refused("waits")
            return too_many_waits(tool, refused.most)
    except MCPError:
        raise
    except ClientGone:
        raise MCPError(CLIENT_GONE, "The connection that made this call is closed.") from None
    except Exception as failed:
        raise outage(failed) from None


async def _also(view: View, result: Result) -> str:
    # What was asked for is done: an outage from here on must not look as if it were not.
    try:
        page = await view.pending()
        told = [item for item in page.items if told_by(item, result.subjects)]
        others = [item for item in page.items if not told_by(item, result.subjects)]
        shown = named(others, view.external_id)
        await mark_shown(view, [*told, *shown])
        return also_line(shown, more=page.more > 0 or len(shown) < len(others))
    except Exception:
        logger.warning("could not look at what else waits", exc_info=True)
        return ""


async def mark_shown(view: View, items: Sequence[InboxItem[Any]]) -> None:
    """Note that a result shows these, so that they end no later wait."""
    if fresh := [item for item in items if not item.shown]:
        await view.shown(fresh)
