"""An issuer of JWTs on loopback, with its keys, and JWTs made by hand, however wrong they are."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

AUDIENCE = "https://agents.example.org/mcp"
KEYS_PATH = "/keys.json"
METADATA_PATH = "/.well-known/oauth-authorization-server"
OPENID_PATH = "/.well-known/openid-configuration"

_ALGORITHMS = get_default_algorithms()


def new_key(algorithm: str) -> Any:
    match algorithm[:2]:
        case "RS" | "PS":
            return rsa.generate_private_key(65537, 2048)
        case "ES":
            return ec.generate_private_key({"256": ec.SECP256R1(), "384": ec.SECP384R1()}[algorithm[2:]])
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def encoded(data: bytes | Mapping[str, Any]) -> str:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def jwt_of(header: bytes | Mapping[str, Any], claims: bytes | Mapping[str, Any], sign: Any) -> str:
    """A JWT with exactly this header and these claims; `sign` makes the signature of what is to be signed."""
    signed = f"{encoded(header)}.{encoded(claims)}"
    return f"{signed}.{encoded(sign(signed.encode()))}"


def signer(algorithm: str, key: Any) -> Any:
    """Signs with a private key, or, for HS256 and its like, with the bytes of a key."""
    if algorithm.startswith("HS"):
        return lambda data: hmac.digest(key, data, f"sha{algorithm[2:]}")
    return lambda data: _ALGORITHMS[algorithm].sign(data, key)


def unsigned(_: bytes) -> bytes:
    return b""


class Issuer:
    """Publishes the keys of its private `keys`, by their id and algorithm, and counts who asks for what. It says
    nothing at all while `answers` is not set.
    """

    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, Any]] = {}
        self.pages: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.answers = asyncio.Event()
        self.answers.set()
        self.url = ""
        self._server: asyncio.Server | None = None

    def add(self, kid: str, algorithm: str) -> None:
        self.keys[kid] = algorithm, new_key(algorithm)

    def public(self, kid: str) -> dict[str, Any]:
        """The public key as JWK."""
        algorithm, key = self.keys[kid]
        jwk = _ALGORITHMS[algorithm].to_jwk(key.public_key(), as_dict=True)
        return {**jwk, "kid": kid, "alg": algorithm, "use": "sig"}

    def claims(self, subject: Any = "alice", **others: Any) -> dict[str, Any]:
        """Good claims, with `others` in their place; None leaves one out."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600}
        return {name: value for name, value in (claims | others).items() if value is not None}

    def token(self, kid: str, claims: bytes | Mapping[str, Any] | None = None, /, **header: Any) -> str:
        """A JWT signed with a key of the issuer."""
        algorithm, key = self.keys[kid]
        whole = {"alg": algorithm, "kid": kid, "typ": "JWT"} | header
        return jwt_of(whole, self.claims() if claims is None else claims, signer(algorithm, key))

    def for_agent(self, agent: str, kid: str) -> str:
        return self.token(kid, self.claims(agent))

    async def start(self) -> None:
        """Listen, where it listened before if it did."""
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 5)
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            self.asked[path] += 1
            await self.answers.wait()
            page = self._page(path)
            status = b"404 Not Found" if page is None else b"200 OK"
            if page is not None and page.startswith(b"http://"):
                status = b"302 Found\r\nLocation: " + page
            body = page or b""
            writer.write(b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n" % status)
            writer.write(b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        writer.close()

    def _page(self, path: str) -> bytes | None:
        if path in self.pages:
            return self.pages[path]
        match path:
            case "/.well-known/oauth-authorization-server":
                return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}{KEYS_PATH}"}).encode()
            case "/keys.json":
                return json.dumps({"keys": [self.public(kid) for kid in self.keys]}).encode()
            case _:
                return None


@asynccontextmanager
async def issuing(*algorithms: str) -> AsyncGenerator[Issuer]:
    """An issuer with a key for each of these algorithms, whose id is the algorithm in small letters."""
    issuer = Issuer()
    for algorithm in algorithms:
        issuer.add(algorithm.lower(), algorithm)
    await issuer.start()
    try:
        yield issuer
    finally:
        await issuer.stop()


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
