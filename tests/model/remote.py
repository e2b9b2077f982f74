"""A process of a history that is one: `tests/model/programs/process.py`, which can be killed and have a wrong clock."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import time
from typing import Any
from uuid import UUID

from tests.model.processes import Call, Outcome
from tests.protocol.world import ROOT

BOUND = 30.0


class RemoteProcess:
    """The other side of the program's pipes. `clocks` is what its clocks said when it began, less what ours did."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._id: UUID | None = None
        self.clocks: dict[str, float] = {}

    @classmethod
    async def open(cls, dsn: str, *, off: float) -> RemoteProcess:
        """Start one whose clock is `off` seconds off."""
        remote = cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.model.programs.process", str(off), dsn),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**24,
            )
        )
        async with asyncio.timeout(BOUND):
            ready = json.loads(await remote._line())
        remote._id = UUID(ready["ready"])
        remote.clocks = {name: ready[name] - time.time() for name in ("time", "now", "id")}
        remote._reading = asyncio.create_task(remote._read_for_ever())
        return remote

    @property
    def id(self) -> UUID:
        assert self._id is not None
        return self._id

    async def call(self, call: Call) -> Outcome:
        written = {"service": call.service, "method": call.method}
        written |= {"arguments": _written(call.arguments), "options": _written(call.options)}
        number = next(self._numbers)
        try:
            return await self._ask(number, {"do": "call", "call": written})
        except asyncio.CancelledError:
            if self._process.returncode is None:
                await self._ask(next(self._numbers), {"do": "cancel", "call": number})
            raise

    async def sweep(self) -> None:
        await self._ask(next(self._numbers), {"do": "sweep"})

    async def waits(self) -> int:
        return await self._ask(next(self._numbers), {"do": "waits"})

    async def settled(self) -> None:
        await self._ask(next(self._numbers), {"do": "settled"})

    async def crash(self) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(BOUND):
            await self._process.wait()
        await self._end()

    async def close(self) -> None:
        try:
            await self._ask(next(self._numbers), {"do": "close"})
            async with asyncio.timeout(BOUND):
                await self._process.wait()
        finally:
            await self.crash()

    async def _ask(self, number: int, asked: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"number": number, **asked}).encode() + b"\n")
        return await answer

    async def _read_for_ever(self) -> None:
        while line := await self._line():
            said = json.loads(line)
            if (answer := self._answers.pop(said["number"], None)) is not None and not answer.done():
                answer.set_result(said["gives"])
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the process has ended"))

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        return await self._process.stdout.readline()

    async def _end(self) -> None:
        if self._reading is not None:
            await self._reading
        if self._process.stdin is not None:
            self._process.stdin.close()


def _written(value: Any) -> Any:
    match value:
        case UUID():
            return {"uuid": str(value)}
        case dict():
            return {name: _written(item) for name, item in value.items()}
        case list() | tuple():
            return [_written(item) for item in value]
        case _:
            return value
