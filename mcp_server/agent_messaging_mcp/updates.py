"""Resource updates, to clients of both protocol eras, from whichever process made the change.

An update only says that a page is worth reading again: at most one is unsent per connection and URI, and
nobody who makes a change
waits for a client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.subscriptions import ResourceUpdated
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY, event_to_notification
from mcp_types import (
    INVALID_REQUEST,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from agent_messaging.errors import AgentMessagingError, NotFoundError
from agent_messaging_mcp import identity
from agent_messaging_mcp.calls import Desk
from agent_messaging_mcp.errors import TOO_MANY_REQUESTS, outage
from agent_messaging_mcp.limits import TooManyOpen
from agent_messaging_mcp.resources import unknown
from agent_messaging_mcp.waits import leave_gate

if TYPE_CHECKING:
    from agent_messaging_mcp.calls import View

MOST_URIS = 64
"""Subscriptions of one connection."""
PATIENCE_SECONDS = 5.0
"""How long a connection of the 2025 era may take none before it loses its subscriptions."""

Unsubscribe = Callable[[], None]

logger = logging.getLogger(__name__)


class News:
    """The URIs that one client has not been told about yet."""

    def __init__(self) -> None:
        self._unsent: dict[str, None] = {}
        self._some = asyncio.Event()

    def about(self, uri: str) -> None:
        self._unsent[uri] = None
        self._some.set()

    async def next(self) -> str:
        """The URI whose news is oldest, once there is one."""
        await self._some.wait()
        uri = next(iter(self._unsent))
        del self._unsent[uri]
        if not self._unsent:
            self._some.clear()
        return uri


@dataclass(slots=True)
class _Connection:
    """A client of the 2025 era, with its subscriptions."""

    connection: Any
    news: News = field(default_factory=News)
    watched: dict[str, Unsubscribe] = field(default_factory=dict[str, Unsubscribe])
    sending: asyncio.Task[None] | None = None


class Updates:
    """The subscriptions of one server process."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._connections: dict[int, _Connection] = {}

    async def listen(self, ctx: ServerRequestContext[Any, Any]) -> HandlerResult:
        """Serve `subscriptions/listen` of the current era: who may listen is who may read, and one unsent update per
        URI is enough.
        """
        params = SubscriptionsListenRequestParams.model_validate(ctx.params or {}, by_name=False)
        if ctx.request_id is None:
            raise MCPError(INVALID_REQUEST, "subscriptions/listen requires a request id")
        leave_gate(ctx.request)
        try:
            with self._desk.streams.one(identity.caller()):
                return await self._listen(ctx, ctx.request_id, params)
        except TooManyOpen as refused:
            self._desk.numbers.refused("streams")
            raise MCPError(
                TOO_MANY_REQUESTS, f"{refused.most} streams of yours are open, and one agent may have no more."
            ) from None

    async def _listen(
        self, ctx: ServerRequestContext[Any, Any], request: str | int, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        uris = list(dict.fromkeys(params.notifications.resource_subscriptions or ()))
        news = News()
        watched = await self._watch_all(uris, news)
        numbers = self._desk.numbers
        numbers.subscriptions += 1
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: request}
        honoured = SubscriptionFilter(resource_subscriptions=uris or None)
        try:
            await ctx.session.send_notification(
                SubscriptionsAcknowledgedNotification(
                    params=SubscriptionsAcknowledgedNotificationParams(notifications=honoured, _meta=meta)
                ),
                related_request_id=request,
            )
            while (uri := await self._next_unless_stopping(news)) is not None:
                await ctx.session.send_notification(
                    event_to_notification(ResourceUpdated(uri=uri), meta), related_request_id=request
                )
            return SubscriptionsListenResult(_meta=meta)
        finally:
            numbers.subscriptions -= 1
            _end(watched)

    async def _next_unless_stopping(self, news: News) -> str | None:
        fresh = asyncio.ensure_future(news.next())
        stopping = asyncio.ensure_future(self._desk.waits.stopping.wait())
        try:
            await asyncio.wait((fresh, stopping), return_when=asyncio.FIRST_COMPLETED)
            return fresh.result() if fresh.done() else None
        finally:
            fresh.cancel()
            stopping.cancel()

    def add_to(self, server: MCPServer[Any]) -> None:
        """Serve `resources/subscribe`. Without the SDK's low-level server, only the current era gets
        updates.
        """
        low_level = getattr(server, "_lowlevel_server", None)
        if low_level is None:
            logger.warning("this SDK has no _lowlevel_server: clients of the 2025 protocol get no resource updates")
            return
        low_level.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        low_level.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, self._unsubscribe)

    async def _subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        # ctx.session lives for one request; only the connection lives as long as the client.
        connection = getattr(ctx.session, "_connection", None)
        uri = str(params.uri)
        if connection is None:
            raise unknown(uri)
        known = self._connections.get(id(connection))
        if known is None:
            known = self._connections[id(connection)] = _Connection(connection)
            self._desk.numbers.subscriptions += 1
            connection.exit_stack.callback(self._drop, id(connection))
            connection.exit_stack.callback(identity.when_over(partial(self._drop, id(connection))))
            known.sending = asyncio.create_task(self._send(known), name="agent-messaging updates")
        if uri in known.watched:
            return EmptyResult()
        if len(known.watched) >= MOST_URIS:
            raise MCPError(INVALID_REQUEST, f"At most {MOST_URIS} subscriptions for one connection.")
        end = await self._watch(await self._desk.view(), uri, known.news)
        if uri in known.watched or id(connection) not in self._connections:
            end()
        else:
            known.watched[uri] = end
        return EmptyResult()

    async def _unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        connection = getattr(ctx.session, "_connection", None)
        known = self._connections.get(id(connection))
        if known and (end := known.watched.pop(str(params.uri), None)):
            end()
        return EmptyResult()

    async def _send(self, known: _Connection) -> None:
        try:
            while True:
                uri = await known.news.next()
                if uri in known.watched:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await known.connection.notify("notifications/resources/updated", {"uri": uri})
        except Exception as lost:
            logger.info("a client takes no updates and loses its subscriptions: %r", lost)
        finally:
            self._drop(id(known.connection))

    def _drop(self, key: int) -> None:
        known = self._connections.pop(key, None)
        if known is None:
            return
        self._desk.numbers.subscriptions -= 1
        _end(known.watched.values())
        known.watched.clear()
        if known.sending and known.sending is not asyncio.current_task():
            known.sending.cancel()

    async def _watch_all(self, uris: Iterable[str], news: News) -> list[Unsubscribe]:
        watched: list[Unsubscribe] = []
        try:
            view = await self._desk.view()
            for uri in uris:
                watched.append(await self._watch(view, uri, news))
        except BaseException:
            _end(watched)
            raise
        return watched

    async def _watch(self, view: View, uri: str, news: News) -> Unsubscribe:
        """Begin to watch what a URI shows. Raises `MCPError`, the same for what is unknown and what is not
        the caller's.
        """

        def changed() -> None:
            news.about(uri)

        address = urlsplit(uri)
        parts = [address.netloc, *(unquote(part) for part in address.path.split("/")[1:])]
        if address.scheme != "messaging":
            raise unknown(uri)
        try:
            match parts:
                case ["inbox"] | ["agents"]:
                    # Presence changes with every breath of every agent; what is told is that one of them wrote.
                    return await view.on_inbox_change(changed)
                case ["conversations", agent]:
                    return await view.on_conversation_change(agent, changed)
                case ["meetings"]:
                    return await _AllMeetings(view, changed).begin()
                case ["meetings", meeting] | ["meetings", meeting, "history"]:
                    return await view.on_meeting_change(meeting, changed)
                case _:
                    raise unknown(uri)
        except NotFoundError:
            raise unknown(uri) from None
        except AgentMessagingError as failed:
            raise outage(failed) from None


class _AllMeetings:
    """Watches the meetings of an agent: those it has, and those it is invited to later."""

    def __init__(self, view: View, changed: Callable[[], None]) -> None:
        self._view = view
        self._changed = changed
        self._watched: dict[str, Unsubscribe] = {}
        self._looking: asyncio.Task[None] | None = None

    async def begin(self) -> Unsubscribe:
        end_inbox = await self._view.on_inbox_change(self._look_again)
        try:
            await self._look()
        except BaseException:
            end_inbox()
            _end(self._watched.values())
            raise

        def end() -> None:
            end_inbox()
            if self._looking:
                self._looking.cancel()
            _end(self._watched.values())

        return end

    def _look_again(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_for_new())

    async def _look_for_new(self) -> None:
        # Told even if nothing is new: after a lost channel nobody knows what was.
        self._changed()
        try:
            await self._look()
        except Exception as failed:
            logger.info("could not look for new meetings: %r", failed)

    async def _look(self) -> None:
        for status in await self._view.meetings():
            if status.handle not in self._watched and str(status.status) != "ended":
                end = await self._view.on_meeting_change(status.handle, self._changed)
                self._watched[status.handle] = end


def _end(watched: Iterable[Unsubscribe]) -> None:
    for end in list(watched):
        end()
