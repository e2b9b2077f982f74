"""One ASGI app for everything that comes over HTTP: from the outside in, the edge, the pages of the operator,
authentication, and the two transports of MCP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.context import ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import INVALID_REQUEST
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from agent_messaging_mcp.calls import Desk
from agent_messaging_mcp.http import health
from agent_messaging_mcp.http.authentication import Authentication
from agent_messaging_mcp.http.credentials import Credentials, current
from agent_messaging_mcp.http.edge import Edge, allowed_origin
from agent_messaging_mcp.http.exchanges import STREAMABLE_PATH, Exchanges
from agent_messaging_mcp.http.gate import Gate
from agent_messaging_mcp.http.issuer import Issuer
from agent_messaging_mcp.http.sessions import Sessions
from agent_messaging_mcp.server import build_server
from agent_messaging_mcp.service import Service
from agent_messaging_mcp.settings import Settings

# The edge has looked at every request already.
_LOOKED_AT = TransportSecuritySettings(enable_dns_rebinding_protection=False)

_ANSWER_SECONDS = 2.5


@dataclass(slots=True)
class HttpServer:
    """The server of one process, before anybody listens on a port for it."""

    app: ASGIApp
    mcp: MCPServer[Any]
    desk: Desk
    exchanges: Exchanges
    is_stopping: bool = field(default=False)

    async def drain(self) -> None:
        """End every wait with its result, and then every stream: nothing is lost, it is only not waited for."""
        self.is_stopping = True
        self.desk.waits.stop()
        await self.exchanges.end(_ANSWER_SECONDS)


def build(settings: Settings, service: Service) -> HttpServer:
    """The server for `settings` over `service`, whose callers are the agents of their tokens."""
    server, desk = build_server(settings, service, _identify)
    issuer = None
    if settings.oauth_issuer and settings.oauth_audience:
        issuer = Issuer(settings.oauth_issuer, settings.oauth_audience, settings.oauth_jwks_url)
    credentials = Credentials(service, issuer)
    gate = Gate(desk.door, at_once=settings.max_requests_at_once, refused=desk.numbers.refused)
    exchanges = Exchanges(credentials, gate, desk.streams, refused=desk.numbers.refused)
    server.middleware.insert(0, exchanges.middleware)

    server.streamable_http_app(transport_security=_LOOKED_AT)  # which makes the session manager
    sse = server.sse_app(transport_security=_LOOKED_AT, max_request_body_size=settings.max_body_bytes)
    transports = Sessions(_transports(sse, server.session_manager))
    metadata_url, discovery = _discovery(settings)
    protected = Authentication(gate.guarding(exchanges.tracked(transports)), credentials, metadata_url=metadata_url)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        service.begin()
        looking = asyncio.create_task(credentials.look_for_ever(), name="agent-messaging tokens")
        try:
            async with server.session_manager.run():
                yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            await service.close()

    pages = health.routes(desk, exchanges, is_stopping=lambda: built.is_stopping)
    outer = _beside(Starlette(routes=[*pages, *discovery], lifespan=lifespan), protected)
    edge = Edge(
        _answering_browsers(outer, settings) if settings.allowed_origins else outer,
        allowed_hosts=settings.allowed_hosts,
        allowed_origins=settings.allowed_origins,
        max_body_bytes=settings.max_body_bytes,
        refused=desk.numbers.refused,
    )
    built = HttpServer(edge, server, desk, exchanges)
    return built


def _beside(pages: Starlette, protected: ASGIApp) -> ASGIApp:
    """`pages` where its routes are, `protected` everywhere else. Starlette around both would cost every held call as
    much memory as its wait does.
    """
    open_to_all = {route.path for route in pages.routes if isinstance(route, Route)}

    def app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        is_open = scope["type"] == "lifespan" or scope["path"] in open_to_all
        return (pages if is_open else protected)(scope, receive, send)

    return app


def _transports(sse: Starlette, manager: StreamableHTTPSessionManager) -> ASGIApp:
    """Streamable HTTP at its path, and SSE elsewhere. Of the SDK's app for the former nothing is left but what it is
    for: its router, and a second look at the size of the body, would be kept by every held call.
    """
    streamable = manager.asgi_app.app
    others = Router(routes=sse.routes, redirect_slashes=False)

    def app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return (streamable if scope["path"] == STREAMABLE_PATH else others)(scope, receive, send)

    return app


def _answering_browsers(app: ASGIApp, settings: Settings) -> ASGIApp:
    # A page asks first, without its token, and reads only what it is let.
    return CORSMiddleware(
        app,
        allow_origins=[str(allowed_origin(entry)) for entry in settings.allowed_origins],
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=[
            "authorization",
            "content-type",
            "last-event-id",
            "mcp-method",
            "mcp-name",
            "mcp-protocol-version",
            "mcp-session-id",
        ],
        expose_headers=["mcp-session-id", "www-authenticate"],
    )


def _identify(_: ServerRequestContext[Any, Any]) -> str:
    credential = current()
    if credential is None or credential.subject is None:
        raise MCPError(INVALID_REQUEST, "This request has no token.")  # whoever has none was refused long before
    return credential.subject


def _discovery(settings: Settings) -> tuple[AnyHttpUrl | None, list[BaseRoute]]:
    """Where a client without a token learns who issues them (RFC 9728), if somebody does."""
    if not settings.oauth_issuer or not settings.public_url:
        return None, []
    resource = AnyHttpUrl(settings.public_url)
    routes = create_protected_resource_routes(
        resource_url=resource, authorization_servers=[AnyHttpUrl(settings.oauth_issuer)], scopes_supported=None
    )
    return build_resource_metadata_url(resource), list(routes)
