"""Sessions of the 2025 era over Streamable HTTP: an agent that opens ever more of them loses its own oldest,
not the room of others.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_messaging_mcp.http.credentials import current

MOST_SESSIONS = 64
"""Of one agent. Hosts that are killed leave theirs behind, for the half hour that the SDK keeps them."""
_SESSION_ID = "mcp-session-id"


def is_of_2025(headers: Headers) -> bool:
    """Whether the SDK takes a request for one of the 2025 era, which alone has sessions."""
    return headers.get("mcp-protocol-version", "") in ("", *HANDSHAKE_PROTOCOL_VERSIONS)


class Sessions:
    """Passes everything on to `app`, and notes which sessions it opens for whom."""

    def __init__(self, app: ASGIApp, *, most: int = MOST_SESSIONS) -> None:
        self._app = app
        self._most = most
        self._of_agent: dict[str, OrderedDict[str, None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Hand on, and be gone: what is awaited here would be kept by every held call."""
        credential = current()
        if scope["type"] != "http" or credential is None or credential.subject is None:
            return self._app(scope, receive, send)
        agent = credential.subject
        headers = Headers(scope=scope)
        session = headers.get(_SESSION_ID)
        if session is not None:
            self._used(agent, session)
            return self._app(scope, receive, send)
        if not is_of_2025(headers):
            return self._app(scope, receive, send)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 300:
                opened = Headers(raw=message.get("headers", [])).get(_SESSION_ID)
                if opened is not None:
                    self._opened(agent, opened, scope)
            await send(message)

        return self._app(scope, receive, noting)

    def _used(self, agent: str, session: str) -> None:
        # What another agent names is not moved; the SDK tells it that there is no such session.
        known = self._of_agent.get(agent)
        if known is not None and session in known:
            known.move_to_end(session)

    def _opened(self, agent: str, session: str, scope: Scope) -> None:
        known = self._of_agent.setdefault(agent, OrderedDict())
        known[session] = None
        while len(known) > self._most:
            oldest, _ = known.popitem(last=False)
            task = asyncio.create_task(self._end(oldest, scope), name="agent-messaging session")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _end(self, session: str, opening: Scope) -> None:
        """Do what a client does that ends its session; for one that has ended already, nothing."""
        scope = {
            **opening,
            "method": "DELETE",
            "query_string": b"",
            "headers": [(_SESSION_ID.encode(), session.encode()), (b"accept", b"application/json")],
        }

        async def nothing_more() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def unread(_: Message) -> None:
            return

        await self._app(scope, nothing_more, unread)
