"""What is refused before anybody looks at it: foreign Host and Origin headers, headers given twice, large bodies.

A web page that resolves its own name to this machine could else speak to the server with its reader's reach
(DNS rebinding). Held on every route, whoever serves it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_ONCE = (b"host", b"origin", b"authorization", b"content-length", b"content-type", b"mcp-session-id")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# All of it, and nothing guessed: `urlsplit` finds the host ::1 in "[::1].example.org", and drops line ends.
_ADDRESS = re.compile(
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?\.?)(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII | re.IGNORECASE,
)


class Refused(StrEnum):
    """Why a request was turned away at the edge."""

    HOST = "host"
    ORIGIN = "origin"
    HEADERS = "headers"


@dataclass(frozen=True, slots=True)
class Address:
    """A host, and a port if it matters."""

    host: str
    port: int | None

    def admits(self, other: Address) -> bool:
        return self.host == other.host and self.port in (None, other.port)


def address_of(text: str) -> Address | None:
    """The address in a Host header or in an entry of the allow-list; None for what is none."""
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"] or 0) > 65_535:
        return None
    return Address(found["host"].lower().removesuffix("."), int(found["port"]) if found["port"] else None)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a web page comes from."""

    scheme: str
    address: Address

    def __str__(self) -> str:
        """As browsers write it: without the port that its scheme has anyway."""
        port = self.address.port
        return f"{self.scheme}://{self.address.host}{'' if port == _DEFAULT_PORTS[self.scheme] else f':{port}'}"


def allowed_host(entry: str) -> Address:
    """The address of an entry of the allow-list; its port is None if any will do. Raises ValueError."""
    address = address_of(entry.removesuffix(":*"))
    if address is None:
        raise ValueError(
            f"no Host header can match {entry[:80]!r}: give a name as clients write it, without scheme, path and "
            "wildcard, for example agents.example.org or agents.example.org:8443"
        )
    return address


def allowed_origin(entry: str) -> Origin:
    """The origin of an entry of the allow-list. Raises ValueError."""
    origin = _origin(entry)
    if origin is None:
        raise ValueError(
            f"no Origin header can match {entry[:80]!r}: give it as browsers write it, scheme and name without a path "
            "or a final slash, for example https://app.example.org"
        )
    return origin


class Edge:
    """Lets through what is meant for this server. `allowed_hosts` and `allowed_origins` add to the loopback
    names, and raise ValueError if they are none; `refused` is told of what was turned away.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: Iterable[str],
        allowed_origins: Iterable[str],
        max_body_bytes: int,
        refused: Callable[[str], None],
    ) -> None:
        self._app = RequestBodyLimitMiddleware(app, max_body_bytes)
        self._hosts = [allowed_host(name) for name in (*LOOPBACK, *allowed_hosts)]
        self._origins = frozenset(map(allowed_origin, allowed_origins))
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http" or (why := self._objection(scope["headers"])) is None:
            await self._app(scope, receive, self._counting(send))
            return
        self._refused(why)
        status, words = _ANSWERS[why]
        await PlainTextResponse(words, status_code=status, headers={"connection": "close"})(scope, receive, send)

    def _counting(self, send: Send) -> Send:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start" and (why := _REFUSED_FURTHER_IN.get(message["status"])):
                self._refused(why)
            await send(message)

        return counting

    def _objection(self, headers: Iterable[tuple[bytes, bytes]]) -> Refused | None:
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _ONCE and name in found:
                return Refused.HEADERS
            found[name] = value
        host = address_of(found.get(b"host", b"").decode("latin-1"))
        if host is None or not self._is_allowed(host):
            return Refused.HOST
        origin = found.get(b"origin")
        if origin is not None and not self._is_allowed_origin(origin.decode("latin-1")):
            return Refused.ORIGIN
        return None

    def _is_allowed(self, address: Address) -> bool:
        return any(allowed.admits(address) for allowed in self._hosts)

    def _is_allowed_origin(self, text: str) -> bool:
        origin = _origin(text)
        return origin is not None and (origin in self._origins or self._is_allowed(origin.address))


_REFUSED_FURTHER_IN = {401: "token", 413: "body"}

_ANSWERS = {
    Refused.HOST: (421, "This server does not answer for that host. Its operator allows it with --allowed-host."),
    Refused.ORIGIN: (
        403,
        "Pages of that origin may not call this server. Its operator allows them with --allowed-origin.",
    ),
    Refused.HEADERS: (400, "A header is given twice."),
}


def _origin(text: str) -> Origin | None:
    scheme, separator, rest = text.partition("://")
    address = address_of(rest) if separator and scheme in _DEFAULT_PORTS else None
    if address is None:
        return None
    return Origin(scheme, Address(address.host, address.port or _DEFAULT_PORTS[scheme]))
