"""The demo: three agents, each with an MCP client and a server process of its own, on one embedded database.

They ask and answer, write to each other, and hold a meeting; what happens is printed as it happens. No model,
no key, no network. Run it with `make demo`.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from demo_parts import script
from demo_parts.agents import Agent, DemoError, waited
from demo_parts.stage import Interrupted, data_directory, interruptible, server_of
from demo_parts.transcript import Transcript
from mcp import Client

LONGEST = 120.0  # seconds; far more than it ever takes


async def lead(alice: Agent, transcript: Transcript) -> None:
    """Alice's part: she begins each scene."""
    transcript.scene("1. A question, and its answer")
    await ask(alice)
    transcript.scene("2. Messages: nobody waits for an answer")
    await exchange(alice)
    transcript.scene("3. A meeting: one speaks at a time")
    await meet(alice)


async def ask(alice: Agent) -> None:
    alice.tell("asks bob, and waits:", words=script.QUESTION)
    began = time.monotonic()
    result = await alice.call("send_and_wait", to="bob", message=script.QUESTION)
    if result["status"] != "answered":
        raise DemoError(f"alice has no answer: {result['now']}")
    alice.tell(f"waited {waited(began)} for {result['answer']['from']}:", words=result["answer"]["text"])
    # Only now is the answer read: a result that got lost on its way would have come again.
    await alice.call("check_inbox", after=result["cursor"])


async def exchange(alice: Agent) -> None:
    alice.tell("writes to carol, and carries on with her own work:", words=script.NOTICE)
    await alice.call("send", to="carol", message=script.NOTICE)
    began = time.monotonic()
    while True:
        await alice.think()
        await alice.think()
        if items := await alice.look():
            break
    [message] = items
    alice.tell(f"looks up after {waited(began)} of it; carol has written:", words=message["text"])
    # Looking again, with the cursor of what was read, marks that read.
    await alice.look()


async def meet(alice: Agent) -> None:
    alice.tell("invites bob and carol:", words=script.TITLE)
    created = await alice.call("create_meeting", title=script.TITLE, agenda=script.AGENDA, agents=["bob", "carol"])
    meeting: str = created["meeting"]
    began = time.monotonic()
    while (await alice.call("attend_meeting", meeting=meeting, wait_seconds=0.3))["status"] != "ready":
        pass
    alice.tell(f"waited {waited(began)} for bob and carol to attend {meeting}")
    line = alice.first_line()
    alice.tell(f"opens the meeting, and hands the floor to {line.then}:", words=line.words)
    began = time.monotonic()
    opened = await alice.call("start_meeting", meeting=meeting, message=line.words, next_speaker=line.then)
    floor = await alice.use_turns(opened, began)
    if floor["status"] != "your_turn":
        raise DemoError(f"the meeting ended before alice ended it: {floor['now']}")
    await alice.think()
    alice.tell("ends the meeting:", words=script.OUTCOME)
    await alice.call("end_meeting", meeting=meeting, outcome=script.OUTCOME)


async def read_back(agent: Agent, transcript: Transcript) -> None:
    """Read what was said, from where a client reads it without spending a tool call."""
    meetings = await agent.read("messaging://meetings")
    [uri] = re.findall(r"messaging://meetings/\w+", meetings)
    history = await agent.read(f"{uri}/history")
    agent.tell(f"reads {uri}/history")
    transcript.quote(history)
    said = [line.words for part in script.PARTS.values() for line in part.lines]
    if missing := [words for words in said if words not in history]:
        raise DemoError(f"the history lacks {missing}")


async def perform(data_dir: Path, transcript: Transcript) -> None:
    """Start the three agents side by side, and wait until each has played its part."""
    together = asyncio.Barrier(len(script.PARTS))

    async def play(name: str, part: Callable[[Agent], Awaitable[None]]) -> None:
        async with Client(server_of(name, data_dir)) as client:
            agent = Agent(name, client, transcript)
            await agent.introduce()
            await together.wait()
            await part(agent)
            await together.wait()
            if name == "carol":
                transcript.scene("4. The history of the meeting, read as a resource")
                await read_back(agent, transcript)

    with interruptible(), anyio.fail_after(LONGEST):
        async with anyio.create_task_group() as agents:
            agents.start_soon(play, "alice", lambda agent: lead(agent, transcript))
            agents.start_soon(play, "bob", Agent.work)
            agents.start_soon(play, "carol", Agent.work)


def main() -> int:
    print("Three agents, each with an MCP client and a server process of its own, on one embedded database.")
    transcript = Transcript()
    began = time.monotonic()
    try:
        with data_directory() as data_dir:
            transcript.tell("", "starting the servers; the first of them makes the database")
            asyncio.run(perform(data_dir, transcript))
            transcript.scene("The last server has gone, so the database stops by itself.")
    except (Interrupted, KeyboardInterrupt) as interrupted:
        print("\nInterrupted; nothing is left behind.", file=sys.stderr)
        return interrupted.exit_code if isinstance(interrupted, Interrupted) else 130
    except Exception as failed:
        for line in dict.fromkeys(f"\nThe demo failed: {type(error).__name__}: {error}" for error in leaves(failed)):
            print(line, file=sys.stderr)
        return 1
    print(f"Done in {waited(began)}. No process and no file is left behind.", flush=True)
    return 0


def leaves(error: BaseException) -> list[BaseException]:
    """The errors inside a group of groups, or the one error."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


if __name__ == "__main__":
    sys.exit(main())
