"""Listens on a port for the server, under a configuration of our own, and stops without losing anything."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from types import FrameType

import uvicorn
from sse_starlette.sse import AppStatus

from agent_messaging_mcp.http.app import HttpServer

_DRAIN_SECONDS = 4
"""For responses to be read after their waits were ended; with what closing the service takes, below 10 s."""


def run(server: HttpServer, listening: socket.socket) -> None:
    """Serve what comes to a listening socket until SIGTERM or SIGINT; then end every wait with its result,
    close everything, and return.
    """
    # It would cut the streams of the 2025 era at the signal, before what they wait for has been written.
    AppStatus.disable_automatic_graceful_drain()
    config = uvicorn.Config(
        server.app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,  # nothing here believes what a header says about the client
        timeout_keep_alive=65,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_Listener(config, server).serve([listening]))


def end_at_signals() -> None:
    """From now on SIGTERM and SIGINT end this process well: at once, and with more care once `run` serves."""
    # uvicorn raises the signal once more when it is done, so this is the end in both cases.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; `port` 0 takes a free one. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address[:2], family=family, backlog=2_048)


class _Listener(uvicorn.Server):
    """Begins to drain at the signal itself: uvicorn waits for responses, and these wait for that."""

    def __init__(self, config: uvicorn.Config, server: HttpServer) -> None:
        super().__init__(config)
        self._server = server
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().call_soon_threadsafe(self._drain)
        super().handle_exit(sig, frame)

    def _drain(self) -> None:
        self._draining = asyncio.ensure_future(self._server.drain())


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
