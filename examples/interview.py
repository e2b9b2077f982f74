"""Example 2 of the design: a synchronous interview.

Run it with `.venv/bin/python examples/interview.py`; without configuration it uses the embedded database.
"""

import asyncio

from pydantic import BaseModel

from agent_messaging import AgentMessaging


class InterviewMessage(BaseModel):
    question: str | None = None
    answer: str | None = None


async def main() -> None:
    async with AgentMessaging[InterviewMessage]() as sdk:
        # Setup: exist_ok because the database remembers them from the last run.
        await sdk.register_organization("org_001", "My Org", exist_ok=True)
        await sdk.register_agent("agent_alice", "org_001", "Alice", exist_ok=True)
        await sdk.register_agent("agent_bob", "org_001", "Bob", exist_ok=True)

        @sdk.register_handler("agent_bob")
        async def bob_handler(message: InterviewMessage, context):
            if message.question:
                # Bob answers the question
                answer = f"My answer to '{message.question}' is..."
                if context.requires_reply:
                    await sdk.sync_conversation.reply(
                        "agent_bob",
                        context.sender_external_id,
                        InterviewMessage(answer=answer),
                    )

        # Alice interviews Bob
        questions = [
            "What's your experience?",
            "Why this role?",
            "Any questions for us?",
        ]

        for question in questions:
            response = await sdk.sync_conversation.send_and_wait(
                "agent_alice",
                "agent_bob",
                InterviewMessage(question=question),
                timeout=60.0,
            )
            print(f"Bob: {response.answer}")

        await sdk.sync_conversation.end_conversation("agent_alice", "agent_bob")


if __name__ == "__main__":
    asyncio.run(main())
