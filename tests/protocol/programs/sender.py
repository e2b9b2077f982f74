"""A program that sends notes without waiting: `sender ADDRESS SENDER RECIPIENT COUNT`. It says when all are sent."""

from __future__ import annotations

import asyncio
import sys

from pydantic import SecretStr

from agent_messaging import AgentMessaging, Config
from tests.protocol.programs.notes import Note


async def main(address: str, sender: str, recipient: str, count: int) -> None:
    async with AgentMessaging[Note](Config(database_url=SecretStr(address))) as sdk:
        for number in range(count):
            await sdk.async_conversation.send(sender, recipient, Note(text=f"{sender} {number}"))
        print("sent", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
