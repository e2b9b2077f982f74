"""A client process: it plays its roles, and goes on after its own death from what its history says.

`python -m chaos.clients NAME DIRECTORY`; the directory holds the plan, the tokens and the flags `drain` and
`finish`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from chaos.client import SERVERS, TOKENS, Client
from chaos.hands import Hands
from chaos.plan import Does
from chaos.roles import role_of


async def play(name: str, directory: Path) -> None:
    """Play every role of the process to its end."""
    client = Client(name, directory)
    roles = client.plan.of(name)
    ends_last = [role for role in roles if role.does in (Does.READS, Does.HANDLES, Does.MEETS)]
    async with AsyncExitStack() as stack:
        hands = {via: await _hands(via, client, stack) for via in {role.via for role in roles}}
        async with asyncio.TaskGroup() as playing:
            for role in ends_last:
                playing.create_task(role_of(client, hands[role.via], role))
            async with asyncio.TaskGroup() as beginning:
                for role in roles:
                    if role not in ends_last:
                        beginning.create_task(role_of(client, hands[role.via], role))
            while not client.is_draining:  # noqa: ASYNC110 - the harness says so by a file
                await asyncio.sleep(0.1)
            client.recorder.write("drained")
    client.recorder.write("finished")


async def _hands(via: str, client: Client, stack: AsyncExitStack) -> Hands:
    # Each kind imports what it needs: a process that is killed all the time has to be back soon.
    if via == "mcp":
        from chaos.mcp_hands import McpHands

        servers = client.directory / os.environ.get("CHAOS_SERVERS", SERVERS)
        tokens = json.loads((client.directory / TOKENS).read_text())
        mcp = McpHands(servers, tokens, client.plan.terms, client.rng)
        stack.push_async_callback(mcp.close)
        return mcp
    from chaos.sdk_hands import SdkHands

    sdk = SdkHands(os.environ["DATABASE_URL"], client.plan.terms)
    while True:
        try:
            await stack.enter_async_context(sdk.sdk)
        except Exception as away:  # the database may be away just now
            client.recorder.write("opening", why=f"{type(away).__name__}: {away}"[:300])
            await asyncio.sleep(0.2)
        else:
            return sdk


if __name__ == "__main__":
    asyncio.run(play(sys.argv[1], Path(sys.argv[2])))
