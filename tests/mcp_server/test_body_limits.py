"""How large a body may be, on every path, whether its length is declared or not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mcp_server.serving import serving, serving_many, tokens_of
from tests.mcp_server.wire import Headers, Wire, bearer, head_of, initialize, modern

MIB = 1024 * 1024
LIMIT = 4 * MIB


@pytest.fixture(scope="module")
def wire(module_dsn: str) -> Iterator[Wire]:
    """A server with the limit that it has by itself."""
    with serving_many(module_dsn) as served:
        yield Wire(served.address)


def framed(path: str, port: int, headers: Headers, body: bytes, *, chunked: bool, too_large: bool = False) -> bytes:
    """A request with this body. One that is too large ends where it must be refused: whoever goes on writing to a
    server that has answered and gone may not get to read the answer.
    """
    framing: Headers = [
        ("Host", f"127.0.0.1:{port}"),
        ("Connection", "close"),
        ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body))),
    ]
    head = head_of("POST", path, [*framing, *headers])
    if not chunked:
        return head if too_large else head + body
    pieces = [body[at : at + MIB] for at in range(0, len(body), MIB)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head + chunks + (b"" if too_large else b"0\r\n\r\n")


@pytest.mark.requirement("mcp:limits:body")
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_a_body_of_four_mebibytes_is_taken_and_one_byte_more_is_not(
    module_dsn: str, wire: Wire, chunked: bool
) -> None:
    token = (await tokens_of(module_dsn, "alice"))["alice"]
    session = await wire.session(token)
    async with wire.sse(token) as sse:
        call = {"name": "list_agents", "arguments": {}}
        headers, body = modern("tools/call", call)
        legacy_headers, hello = initialize()
        in_session = [*legacy_headers, ("Mcp-Session-Id", session)]
        ping = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
        for name, path, given, text, status in (
            ("current", "/mcp", headers, body, 200),
            ("initialize", "/mcp", legacy_headers, hello, 200),
            ("in a session", "/mcp", in_session, ping, 200),
            ("over SSE", sse.path, legacy_headers, ping, 202),
            ("no session", "/messages/", legacy_headers, ping, 400),
            ("no such page", "/nothing", legacy_headers, ping, 404),
            ("no place to post", "/healthz", legacy_headers, ping, 405),
            ("no token", "/mcp", None, body, 401),
        ):
            sent = legacy_headers if given is None else [bearer(token), *given]
            for size, expected in ((LIMIT - 1, status), (LIMIT, status), (LIMIT + 1, 413)):
                request = framed(path, wire.port, sent, text.ljust(size), chunked=chunked, too_large=size > LIMIT)
                answer = await wire.raw(request)
                assert answer.status == expected, (name, size, answer)
        for length in ("4194305", "99999999999999999999"):
            # Refused by what it announces, before anything of it has come.
            head = head_of(
                "POST", "/mcp", [("Host", f"127.0.0.1:{wire.port}"), ("Content-Length", length), bearer(token)]
            )
            assert (await wire.raw(head)).status == 413


@pytest.mark.requirement("mcp:limits:body")
async def test_the_size_of_a_body_can_be_set(dsn: str) -> None:
    token = (await tokens_of(dsn, "alice"))["alice"]
    async with serving(dsn, AGENT_MESSAGING_MAX_BODY_BYTES="2048") as served:
        wire = Wire(served.address)
        headers, body = modern("tools/call", {"name": "list_agents", "arguments": {}})
        for size, status in ((2048, 200), (2049, 413)):
            given = [bearer(token), *headers]
            request = framed("/mcp", wire.port, given, body.ljust(size), chunked=False, too_large=size > 2048)
            assert (await wire.raw(request)).status == status
