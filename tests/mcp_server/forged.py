"""What somebody sends who has no good token, or has one and hides it: headers that are none, tokens that nearly are."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

from tests.mcp_server.issuing import encoded, sha256
from tests.mcp_server.wire import Headers, bearer


@dataclass(frozen=True)
class Attempt:
    """What is added to a request that has no token."""

    headers: Headers = ()
    query: str = ""
    body: bytes | None = None
    body_type: str = "application/json"
    trailer: bytes = b""
    is_http: bool = field(default=True)
    """False: it is not even HTTP, or larger than HTTP may be, and is refused as that."""


def smuggled(good: str, other: str) -> dict[str, Attempt]:
    """Good tokens, where none is looked for."""
    basic = base64.b64encode(f"alice:{good}".encode()).decode()
    elsewhere = (
        "Proxy-Authorization",
        "X-Authorization",
        "X-Forwarded-Authorization",
        "X-Original-Authorization",
        "Authorisation",
        "Authentication",
        "WWW-Authenticate",
        "Mcp-Authorization",
    )
    bare = ("X-Api-Key", "X-Auth-Token", "X-Access-Token", "X-Mcp-Token", "Token", "Sec-WebSocket-Protocol")
    named = ("X-Forwarded-User", "X-Remote-User", "Remote-User", "X-Agent", "X-User", "From", "X-Client-Id")
    authorization = "Authorization"
    return {
        "nothing": Attempt(),
        "an empty header": Attempt([(authorization, "")]),
        "a scheme alone": Attempt([(authorization, "Bearer")]),
        "a scheme and a blank": Attempt([(authorization, "Bearer ")]),
        "no scheme": Attempt([(authorization, good)]),
        "basic": Attempt([(authorization, f"Basic {basic}")]),
        "basic with a token": Attempt([(authorization, f"Basic {good}")]),
        "digest": Attempt([(authorization, f'Digest username="alice", response="{good}"')]),
        "token": Attempt([(authorization, f"Token {good}")]),
        "dpop": Attempt([(authorization, f"DPoP {good}")]),
        "negotiate": Attempt([(authorization, f"Negotiate {good}")]),
        "a scheme that goes on": Attempt([(authorization, f"Bearers {good}")]),
        "a scheme without a blank": Attempt([(authorization, f"Bearer{good}")]),
        "a colon": Attempt([(authorization, f"Bearer: {good}")]),
        "an equals sign": Attempt([(authorization, f"Bearer={good}")]),
        "a tab": Attempt([(authorization, f"Bearer\t{good}")]),
        "the scheme twice": Attempt([(authorization, f"Bearer Bearer {good}")]),
        "quotes": Attempt([(authorization, f'Bearer "{good}"')]),
        "angle brackets": Attempt([(authorization, f"Bearer <{good}>")]),
        "a parameter": Attempt([(authorization, f"Bearer token={good}")]),
        "two in a list": Attempt([(authorization, f"Bearer {good}, Bearer {good}")]),
        "two of two agents in a list": Attempt([(authorization, f"Bearer {good},{other}")]),
        "two in a row": Attempt([(authorization, f"Bearer {good} {good}")]),
        "a basic one before it": Attempt([(authorization, f"Basic {basic}, Bearer {good}")]),
        "the header twice": Attempt([bearer(good), bearer(good)]),
        "the header twice, of two agents": Attempt([bearer(good), bearer(other)]),
        "a bad one first": Attempt([bearer("none"), bearer(good)]),
        "a good one first": Attempt([bearer(good), bearer("none")]),
        "an empty one first": Attempt([(authorization, ""), bearer(good)]),
        "a second one behind a bare LF": Attempt([(authorization, f"Bearer none\nAuthorization: Bearer {good}")]),
        "in the address": Attempt(query=f"access_token={good}"),
        "in the address as token": Attempt(query=f"token={good}"),
        "in the address as authorization": Attempt(query=f"authorization=Bearer%20{good}&bearer={good}"),
        "in the address and in a bad header": Attempt([bearer("none")], query=f"access_token={good}"),
        "in a form": Attempt(body=f"access_token={good}".encode(), body_type="application/x-www-form-urlencoded"),
        "in the body": Attempt(
            body=json.dumps(
                {
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "tools/call",
                    "access_token": good,
                    "authorization": f"Bearer {good}",
                    "params": {"name": "list_agents", "arguments": {}, "_meta": {"authorization": f"Bearer {good}"}},
                }
            ).encode()
        ),
        "in a trailer": Attempt(trailer=f"Authorization: Bearer {good}".encode()),
        "in a cookie": Attempt([("Cookie", f"access_token={good}; token={good}; Authorization=Bearer {good}")]),
        "a folded line": Attempt([(authorization, f"Bearer\r\n {good[:8]}\r\n {good[8:]}")]),
        "a blank before the colon": Attempt([("Authorization ", f"Bearer {good}")], is_http=False),
        "a line end in it": Attempt([(authorization, f"Bearer {good[:9]}\r{good[9:]}")], is_http=False),
        "a NUL at its end": Attempt([(authorization, f"Bearer {good}\0")], is_http=False),
        **{f"in {name}": Attempt([(name, f"Bearer {good}")]) for name in elsewhere},
        **{f"bare in {name}": Attempt([(name, good)]) for name in bare},
        **{f"a name in {name}": Attempt([(name, "alice")]) for name in named},
        "forwarded by a proxy": Attempt([("Forwarded", "for=127.0.0.1;by=alice"), ("X-Forwarded-For", "127.0.0.1")]),
        "a client certificate": Attempt([("X-Client-Cert", "CN=alice"), ("X-Forwarded-Client-Cert", "Subject=alice")]),
    }


def misshapen(good: str, other: str, revoked: str, expired: str, ids: list[str]) -> dict[str, Attempt]:
    """Tokens that nearly are one."""
    mark, prefix, secret = good.split("_", 2)
    texts = {
        "its prefix": f"{mark}_{prefix}",
        "its prefix and a line": f"{mark}_{prefix}_",
        "its prefix alone": prefix,
        "its secret alone": secret,
        "one sign less": good[:-1],
        "one sign more": f"{good}A",
        "half of it": good[: len(good) // 2],
        "twice": good + good,
        "reversed": good[::-1],
        "in capitals": good.upper(),
        "in small letters": good.lower(),
        "in swapped letters": good.swapcase(),
        "its mark in capitals": f"AM_{prefix}_{secret}",
        "another mark": f"ma_{prefix}_{secret}",
        "another secret": f"{mark}_{prefix}_{'A' * len(secret)}",
        "the secret of another": f"{mark}_{prefix}_{other.split('_', 2)[2]}",
        "the prefix of another": f"{mark}_{other.split('_', 2)[1]}_{secret}",
        "an unknown prefix": f"{mark}_00000000_{secret}",
        "a padded one": f"{good}=",
        "a dotted one": good.replace("_", "."),
        "with slashes": good.replace("_", "/"),
        "three parts": f"{mark}.{prefix}.{secret}",
        "encoded": base64.b64encode(good.encode()).decode(),
        "in percents": good.replace("_", "%5F"),
        "its SHA-256 in hex": sha256(good).hex(),
        "its SHA-256 in base64": base64.urlsafe_b64encode(sha256(good)).decode(),
        "its SHA-256 as secret": f"{mark}_{prefix}_{encoded(sha256(good))}",
        "its SHA-256 as PostgreSQL writes it": f"\\x{sha256(good).hex()}",
        "SQL": f"{mark}_{prefix}' OR '1'='1",
        "more SQL": "'; DROP TABLE tokens; --",
        "SQL in the secret": f"{mark}_{prefix}_' OR prefix = '{prefix}",
        "a pattern": f"{mark}_%_%",
        "a pattern of its length": f"{mark}_________{'_' * 44}",
        "a blank inside": f"{good[:20]} {good[20:]}",
        "a tab inside": f"{good[:20]}\t{good[20:]}",
        "an invisible sign inside": f"{good[:20]}\u200b{good[20:]}",
        "a soft hyphen at its end": f"{good}\u00ad",
        "a letter that looks alike": good.replace("a", "\u0430", 1),
        "wide letters": good.replace("am_", "\uff41\uff4d_", 1),
        "a combining sign": f"{good}\u0301",
        "a byte order mark": f"\ufeff{good}",
        "revoked": revoked,
        "expired": expired,
        "a word": "null",
        "another word": "undefined",
        "a star": "*",
        "a name": "alice",
        "a template": "${ALICE_TOKEN}",
        "seventeen thousand signs": "a" * 17_000,
        "thirty thousand signs behind it": good + "A" * 30_000,
        **{f"an id ({id})": id for id in ids},
    }
    attempts = {f"token: {name}": Attempt([bearer(text)]) for name, text in texts.items()}
    attempts["token: its SHA-256 as bytes"] = Attempt(
        [("Authorization", b"Bearer " + bytes(byte | 0x80 for byte in sha256(good)))]
    )
    for name, byte in {"a NUL": b"\0", "a bell": b"\7", "an escape": b"\x1b", "a vertical tab": b"\x0b"}.items():
        header = ("Authorization", f"Bearer {good[:20]}".encode() + byte + good[20:].encode())
        attempts[f"token: {name} inside"] = Attempt([header], is_http=byte in (b"\7", b"\x1b"))
    attempts["token: a megabyte"] = Attempt([bearer("a" * 2**20)], is_http=False)
    attempts["token: a megabyte behind it"] = Attempt([bearer(good + "A" * 2**20)], is_http=False)
    return attempts
