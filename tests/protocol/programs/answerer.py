"""A program with one handler: `answerer ADDRESS AGENT answer|hang|block LEASE`.

It says when it is ready, what it is handling, and what type it was given. With `hang` it never finishes; with `block`
it blocks its event loop for two leases.
"""

from __future__ import annotations

import asyncio
import sys
import time

from pydantic import SecretStr

from agent_messaging import AgentMessaging, Config, MessageContext
from tests.protocol.programs.notes import Note


async def main(address: str, agent: str, conduct: str, lease: float) -> None:
    config = Config(database_url=SecretStr(address), handler_lease=lease, sweep_interval=0.2)
    async with AgentMessaging[Note](config) as sdk:

        @sdk.register_handler(agent)
        async def handle(message: Note, context: MessageContext) -> Note | None:
            print("handling", context.attempt, type(message).__name__, message.text, flush=True)
            match conduct:
                case "hang":
                    await asyncio.Event().wait()
                case "block":
                    time.sleep(2 * lease)  # noqa: ASYNC251 - what no handler should do
                case _:
                    pass
            if not context.requires_reply:
                return None
            return message.model_copy(update={"text": f"answer to {message.text}"})

        await sdk.get_agent(agent)  # a registration counts from the next call on
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
