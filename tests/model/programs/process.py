"""A process of a history, for its own: it carries out what it is told on standard input, under a clock that is wrong.

Its first argument is by how many seconds its clock is off. One JSON object a line, both ways.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import time_machine

from agent_messaging_db.ids import new_id
from tests.model.processes import Call, LocalProcess


def read_call(written: dict[str, Any]) -> Call:
    return Call(written["service"], written["method"], tuple(_read(written["arguments"])), _read(written["options"]))


def _read(value: Any) -> Any:
    match value:
        case {"uuid": id}:
            return UUID(id)
        case dict():
            return {name: _read(item) for name, item in value.items()}
        case list():
            return [_read(item) for item in value]
        case _:
            return value


async def serve(dsn: str) -> None:
    process = await LocalProcess.open(dsn)
    tasks: dict[int, asyncio.Task[Any]] = {}
    # What every clock of this host but the monotonic one says, and what the product makes of it.
    made = (new_id().int >> 80) / 1000
    _say({"ready": str(process.id), "time": time.time(), "now": datetime.now(UTC).timestamp(), "id": made})

    async def do(number: int, asked: dict[str, Any]) -> None:
        match asked["do"]:
            case "call":
                _say({"number": number, "gives": await process.call(read_call(asked["call"]))})
            case "waits":
                _say({"number": number, "gives": await process.waits()})
            case "sweep" | "settled" as name:
                await getattr(process, name)()
                _say({"number": number, "gives": None})
            case other:
                raise ValueError(other)

    lines = await _standard_input()
    while line := await lines.readline():
        asked = json.loads(line)
        number = asked["number"]
        if asked["do"] == "close":
            await process.close()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            _say({"number": number, "gives": None})
            return
        if asked["do"] == "cancel":
            task = tasks.pop(asked["call"])
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            _say({"number": number, "gives": None})
            continue
        tasks[number] = asyncio.create_task(do(number, asked))


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _say(line: dict[str, Any]) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


def main() -> None:
    off, dsn = float(sys.argv[1]), sys.argv[2]
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=off), tick=True):
        asyncio.run(serve(dsn))


if __name__ == "__main__":
    main()
