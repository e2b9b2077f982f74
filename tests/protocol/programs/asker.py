"""A program that asks one question: `asker ADDRESS ASKER RECIPIENT TEXT LEASE`. It says what it was answered."""

from __future__ import annotations

import asyncio
import sys

from pydantic import SecretStr

from agent_messaging import AgentMessaging, Config
from tests.protocol.programs.notes import Note


async def main(address: str, asker: str, recipient: str, text: str, lease: float) -> None:
    config = Config(database_url=SecretStr(address), handler_lease=lease)
    async with AgentMessaging[Note](config) as sdk:
        print("asking", flush=True)
        answer = await sdk.sync_conversation.send_and_wait(asker, recipient, Note(text=text), timeout=60)
        print("answered", answer.model_dump_json(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5])))
