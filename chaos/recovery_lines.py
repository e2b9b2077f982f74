"""The lines on which blocked calls wait while faults are made: HTTP, and lines of JSON to a process.

Both carry the requests of one era as they are, so that what breaks, and when, is seen here and not by a library.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx2

ROOT = Path(__file__).parent.parent
ERA = "2026-07-28"
_PR_SET_PDEATHSIG = 1
_LONGEST_LINE = 2**24

Json = dict[str, Any]
_ids = itertools.count(1)


class Broken(Exception):
    """The line broke before the call was answered."""


class Line(Protocol):
    """Carries the calls of tools to one process."""

    async def call(self, tool: str, arguments: Json, *, held: Callable[[], None]) -> Json:
        """Call a tool; gives its result. `held()` is called once the other end says that it holds the call.

        Raises Broken, also where the process refuses the call because it cannot serve now.
        """
        ...


class HttpLine:
    """Calls over HTTP, each complete in itself, to the server at `address`."""

    def __init__(self, http: httpx2.AsyncClient, address: Callable[[], str], token: str) -> None:
        self._http = http
        self._address = address
        self._token = token

    async def call(self, tool: str, arguments: Json, *, held: Callable[[], None]) -> Json:
        request = _request(tool, arguments)
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": ERA,
            "Mcp-Method": "tools/call",
            "Mcp-Name": tool,
        }
        try:
            async with self._http.stream("POST", f"{self._address()}/mcp", json=request, headers=headers) as response:
                if response.status_code != 200:
                    raise Broken(f"{response.status_code} {(await response.aread())[:200]!r}")
                async for text in response.aiter_lines():
                    message = json.loads(text.removeprefix("data:")) if text.startswith(("data: {", "{")) else {}
                    if message.get("method") == "notifications/progress":
                        held()
                    elif message.get("id") == request["id"]:
                        return _result(message)
        except httpx2.TransportError as broken:
            raise Broken(repr(broken)) from broken
        raise Broken("the answer ended before its end")


class ProcessLine:
    """A process of ours that is talked to in lines of JSON: ours on its standard input, its own on its output."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._open: dict[int, tuple[asyncio.Future[Json], Callable[[], None]]] = {}

    async def start(self) -> None:
        """Start the process; what it is told before it reads waits in its pipe."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": _python_path(), **self._environment},
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_LONGEST_LINE,
            preexec_fn=_dies_with_us,
        )
        self._reading = asyncio.create_task(self._read(self._process))

    async def revive(self) -> None:
        """Start it again, if it has ended."""
        if self._process is None or self._process.returncode is not None:
            await self.kill()
            await self.start()

    async def kill(self) -> None:
        """End it at once (SIGKILL); every open call breaks."""
        process, reading = self._process, self._reading
        if process is None or reading is None:
            return
        self._process = self._reading = None  # whoever finds its call broken may start the next one at once
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
        await reading

    async def call(self, tool: str, arguments: Json, *, held: Callable[[], None]) -> Json:
        request = _request(tool, arguments)
        answered: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        if self._process is None or self._process.stdin is None or self._process.returncode is not None:
            raise Broken("there is no process")
        self._open[request["id"]] = answered, held
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
            return _result(await answered)
        except ConnectionError as broken:
            raise Broken(repr(broken)) from broken
        finally:
            del self._open[request["id"]]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            message = json.loads(line)
            if message.get("method") == "notifications/progress":
                if (call := self._open.get(message["params"]["progressToken"])) is not None:
                    call[1]()
            elif (call := self._open.get(message.get("id"))) is not None and not call[0].done():
                call[0].set_result(message)
        for answered, _ in self._open.values():
            if not answered.done():
                answered.set_exception(Broken("the process has ended"))


def http_client() -> httpx2.AsyncClient:
    """What carries any number of held calls."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx2.AsyncClient(timeout=httpx2.Timeout(60), limits=limits)


def _request(tool: str, arguments: Json) -> Json:
    number = next(_ids)
    meta = {
        "io.modelcontextprotocol/protocolVersion": ERA,
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": number,
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def _result(message: Json) -> Json:
    if "result" not in message:
        raise Broken(str(message.get("error"))[:300])
    return message["result"]


def _python_path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _dies_with_us() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
