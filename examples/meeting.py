"""Example 3 of the design: a meeting with turn-based speaking.

Run it with `.venv/bin/python examples/meeting.py`; without configuration it uses the embedded database.
"""

import asyncio

from pydantic import BaseModel

from agent_messaging import AgentMessaging, MeetingEvent, MeetingStatus


class MeetingMessage(BaseModel):
    speaker: str
    content: str


async def main() -> None:
    async with AgentMessaging[MeetingMessage]() as sdk:
        # Setup agents: exist_ok because the database remembers them from the last run.
        await sdk.register_organization("org_001", "My Org", exist_ok=True)
        await sdk.register_agent("agent_alice", "org_001", "Alice", exist_ok=True)
        await sdk.register_agent("agent_bob", "org_001", "Bob", exist_ok=True)
        await sdk.register_agent("agent_charlie", "org_001", "Charlie", exist_ok=True)

        # Register handlers for all agents
        @sdk.register_handler("agent_alice")
        async def alice_handler(message: MeetingMessage, context):
            if context.is_meeting_message:
                # Attend meeting
                await sdk.meeting.attend_meeting("agent_alice", context.meeting_id)

        @sdk.register_handler("agent_bob")
        async def bob_handler(message: MeetingMessage, context):
            if context.is_meeting_message:
                signal = await sdk.meeting.attend_meeting("agent_bob", context.meeting_id)
                if signal.reason == "your_turn":
                    await sdk.meeting.speak(
                        "agent_bob",
                        context.meeting_id,
                        MeetingMessage(speaker="Bob", content="The backend is ready"),
                        next_speaker_external_id="agent_charlie",
                    )

        @sdk.register_handler("agent_charlie")
        async def charlie_handler(message: MeetingMessage, context):
            if context.is_meeting_message:
                signal = await sdk.meeting.attend_meeting("agent_charlie", context.meeting_id)
                if signal.reason == "your_turn":
                    await sdk.meeting.speak(
                        "agent_charlie",
                        context.meeting_id,
                        MeetingMessage(speaker="Charlie", content="The tests need another day"),
                    )

        # Register event handlers
        @sdk.register_event_handler(MeetingEvent.AGENT_SPOKE)
        async def on_spoke(meeting_id, agent_id, data):
            print(f"{agent_id} spoke: {data['message']}")

        # Alice creates meeting
        meeting_id = await sdk.meeting.create_meeting(
            "agent_alice",
            ["agent_alice", "agent_bob", "agent_charlie"],
            turn_duration=60.0,
        )

        # Events come a moment after the fact, in order: when this one is here, every speech has been printed.
        ended = asyncio.Event()

        @sdk.register_event_handler(MeetingEvent.MEETING_ENDED)
        async def on_ended(ended_id, agent_id, data):
            if ended_id == meeting_id:
                ended.set()

        # Wait for agents to attend (in their handlers). The design sleeps for a second here; asking until
        # everybody is there is neither too early on a slow machine nor too late on a fast one.
        async with asyncio.timeout(30):
            while True:
                status = await sdk.meeting.get_meeting_status(meeting_id)
                if status.state == MeetingStatus.READY:
                    break
                await asyncio.sleep(0.05)

        # Start meeting
        await sdk.meeting.start_meeting(
            "agent_alice",
            meeting_id,
            MeetingMessage(speaker="Alice", content="Let's discuss the project"),
            next_speaker_external_id="agent_bob",
        )

        # Agents speak in their turns... Alice's comes again when Bob and Charlie have had theirs. Her handler
        # waits for it too: two waits of one agent both return.
        await sdk.meeting.attend_meeting("agent_alice", meeting_id)

        # When done:
        await sdk.meeting.end_meeting("agent_alice", meeting_id)
        await asyncio.wait_for(ended.wait(), timeout=30)


if __name__ == "__main__":
    asyncio.run(main())
