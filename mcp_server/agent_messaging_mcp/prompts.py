"""The three prompts: words that a person picks, to set an agent to work."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server import MCPServer
from pydantic import Field

from agent_messaging_mcp.text import call, names


def answer_inbox() -> str:
    """Read the inbox and answer what waits there."""
    return (
        f"Call {call('check_inbox')}. Answer every question with {call('reply', question=..., message=...)}, "
        "or decline with a reason; act on messages meant for you; join meetings you are invited to. "
        "Pass the cursor back as `after` once you are done with an item. "
        "Go on until nothing is left, then report briefly."
    )


def join_meeting(meeting: Annotated[str, Field(description="The meeting's handle, like m7f3")]) -> str:
    """Take part in a meeting until it ends."""
    return (
        f"Call {call('attend_meeting', meeting=meeting)} and follow what its result says under Now. "
        "On each of your turns add a fact, a proposal, an objection or an answer, or pass. "
        "Stay until the meeting has ended, then report what came out of it."
    )


def hold_meeting(
    topic: Annotated[str, Field(description="What the meeting is about")],
    agents: Annotated[str, Field(description="Whom to invite, separated by commas")],
) -> str:
    """Hold a meeting as its host and bring it to an outcome."""
    create = call("create_meeting", title=topic, agents=names(agents), agenda=...)
    return (
        f"Call {create}, wait for the others with attend_meeting, open it with start_meeting, "
        "and lead it to a decision. Then end it with "
        f"{call('end_meeting', meeting=..., outcome=...)} and report the outcome."
    )


def add_to(server: MCPServer[Any]) -> None:
    """Serve the prompts."""
    for prompt, title in (
        (answer_inbox, "Answer inbox"),
        (join_meeting, "Join meeting"),
        (hold_meeting, "Hold meeting"),
    ):
        server.prompt(title=title)(prompt)
