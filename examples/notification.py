"""Example 1 of the design: a simple one-way notification.

Run it with `.venv/bin/python examples/notification.py`; without configuration it uses the embedded database.
"""

import asyncio

from pydantic import BaseModel

from agent_messaging import AgentMessaging


class NotificationMessage(BaseModel):
    text: str
    priority: str


async def main() -> None:
    handled = asyncio.Event()

    async with AgentMessaging[NotificationMessage]() as sdk:
        # Register agents; exist_ok because the database remembers them from the last run.
        await sdk.register_organization("org_001", "My Org", exist_ok=True)
        await sdk.register_agent("agent_alice", "org_001", "Alice", exist_ok=True)
        await sdk.register_agent("agent_bob", "org_001", "Bob", exist_ok=True)

        # Register handler for Bob
        @sdk.register_handler("agent_bob")
        async def bob_handler(message: NotificationMessage, context):
            print(f"Bob received: {message.text} (Priority: {message.priority})")
            handled.set()

        # Send notification
        await sdk.one_way.send(
            "agent_alice",
            "agent_bob",
            NotificationMessage(text="Server restart in 5 minutes", priority="high"),
        )

        # `send` returns as soon as the message is stored; this program must not end before Bob has read it.
        await asyncio.wait_for(handled.wait(), timeout=30)


if __name__ == "__main__":
    asyncio.run(main())
