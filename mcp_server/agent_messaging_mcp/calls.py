"""One tool call from its arguments to its result: who calls, what is done, what else waits for the caller."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from mcp import MCPError
from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult

from agent_messaging.errors import AgentMessagingError
from agent_messaging_mcp import identity, logs, offers
from agent_messaging_mcp.also import also_line, named, told_by
from agent_messaging_mcp.errors import CLIENT_GONE, outage, outcome, too_many_calls, too_many_waits
from agent_messaging_mcp.limits import Door, Open, Rate, TooManyOpen, pause
from agent_messaging_mcp.metrics import Numbers
from agent_messaging_mcp.rendering import rendered
from agent_messaging_mcp.results import Refusal, Result
from agent_messaging_mcp.service import Service
from agent_messaging_mcp.text import tell_time_by
from agent_messaging_mcp.waits import LONGEST_WAIT, ClientGone, Waits

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
    context: Context[Any, Any] | None
    """Of the request; None for a call that is made for a task, which holds nothing."""
    view: View
    shown: list[InboxItem[Any]] = field(default_factory=list["InboxItem[Any]"])
    """What the result of a call for a task shows; see `Found`."""

    @property
    def me(self) -> str:
        return self.view.external_id

    def hold(self, seconds: float, wait: Callable[[float], Awaitable[T]]) -> Awaitable[T]:
        """Wait inside this call, as long as calls are held at most; only look, if the wait can go on as a task.
        Raises what `Waits.hold` raises.
        """
        if self.context is None:
            return wait(0)
        offer = offers.current()
        if offer is not None and seconds > self.desk.waits.longest:
            return self._as_task(self.context, offer, seconds, wait)
        return self.desk.waits.hold(self.context, self.me, seconds, wait)

    async def _as_task(
        self, context: Context[Any, Any], offer: offers.Offer, seconds: float, wait: Callable[[float], Awaitable[T]]
    ) -> T:
        if not await self.view.may_begin_task():
            return await self.desk.waits.hold(context, self.me, seconds, wait)
        offer.seconds = seconds
        return await wait(0)

    async def show(self, items: Sequence[InboxItem[Any]]) -> None:
        """Note that the result shows these, so that they end no later wait."""
        if self.context is None:
            self.shown.extend(items)
        elif fresh := [item for item in items if not item.shown]:
            await self.view.shown(fresh)


@dataclass(frozen=True, slots=True)
class Found:
    """What the call of a task found. What that shows counts as shown once it is the task's result, and not before: a
    task that is cancelled meanwhile, or an outage, must not take it away from the next wait.
    """

    result: CallToolResult
    _call: Call

    async def is_told(self) -> None:
        """The result has become the task's."""
        try:
            if fresh := [item for item in self._call.shown if not item.shown]:
                await self._call.view.shown(fresh)
        except Exception:  # it ends a later wait once more
            logger.warning("could not note what the result of a task shows", exc_info=True)


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
    with desk.numbers.calling(), logs.called(function.__name__, count=desk.numbers.called) as line:
        view = await desk.view()
        call = Call(desk, context, view)
        result = await _result(call, function, arguments)
        line.gave(result, arguments)
        await _park(view, result)
        return await _told(call, result)


async def look(desk: Desk, function: Function, arguments: Mapping[str, Any], *, is_last: bool) -> Found | None:
    """Make the call of a task once more, which holds nothing; None if there is nothing yet and this is not the last
    look. Raises `MCPError` as `perform` does.
    """
    with offers.offered(offers.Offer()):  # whoever has a task is told to wait as a task
        call = Call(desk, None, await desk.view())
        result = await _result(call, function, {**arguments, "wait_seconds": LONGEST_WAIT})
        if isinstance(result, Result) and result.resume is not None and not is_last:
            return None
        return Found(await _told(call, result), call)


async def _told(call: Call, result: Result | Refusal) -> CallToolResult:
    if isinstance(result, Refusal) or result.inbox:
        return rendered(result)
    return rendered(result, await _also(call, result))


async def _park(view: View, result: Result | Refusal) -> None:
    """Have a wait that found nothing go on as a task, if that was offered and taken."""
    offer = offers.current()
    if offer is None or not offer.seconds or not isinstance(result, Result) or result.resume is None:
        return
    try:
        offer.task = await view.begin_task(asdict(result.resume), seconds=offer.seconds)
    except Exception as failed:
        raise outage(failed) from None


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


async def _also(call: Call, result: Result) -> str:
    # What was asked for is done: an outage from here on must not look as if it were not.
    try:
        page = await call.view.pending()
        told = [item for item in page.items if told_by(item, result.subjects)]
        others = [item for item in page.items if not told_by(item, result.subjects)]
        shown = named(others, call.me)
        await call.show([*told, *shown])
        return also_line(shown, more=page.more > 0 or len(shown) < len(others))
    except Exception:
        logger.warning("could not look at what else waits", exc_info=True)
        return ""
