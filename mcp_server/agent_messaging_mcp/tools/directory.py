"""The tool that shows who is there, and the words for an agent's presence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from mcp_types import ToolAnnotations
from pydantic import Field

from agent_messaging_mcp.calls import Call
from agent_messaging_mcp.results import Body, Entry, Json, Result, body
from agent_messaging_mcp.text import ago, call, counted
from agent_messaging_mcp.tools.declared import ToolSpec

if TYPE_CHECKING:
    from agent_messaging.models import Agent

_MOST_AGENTS = 50
_LONGEST_NAME = 100


def presence(agent: Agent) -> str:
    """`online`, `away, last seen 41 min ago`, `never seen`; `online, silenced` if an operator lets it write nothing."""
    return f"{_seen(agent)}, silenced" if agent.silenced else _seen(agent)


def _seen(agent: Agent) -> str:
    if agent.online:
        return "online"
    seen = f"away, last seen {ago(agent.last_seen_at)}" if agent.last_seen_at else "never seen"
    return seen if agent.reachable else f"{seen}, not reachable"


def entry_of(agent: Agent) -> Entry:
    """An agent in the directory. Its name is its own word, unless it repeats the id."""
    facts: dict[str, Json] = {"agent": agent.external_id, "presence": presence(agent)}
    name: tuple[Body, ...] = ()
    if agent.name != agent.external_id:
        name = (body(agent.name, name="name", longest=_LONGEST_NAME),)
    return Entry(label=f"{agent.external_id}: {presence(agent)}", facts=facts, bodies=name)


async def list_agents(call_: Call, query: Annotated[str, Field(description="Part of an id or name.")] = "") -> Result:
    found = await call_.view.agents(query or None, limit=_MOST_AGENTS + 1)
    me = await call_.view.me()
    others = [agent for agent in found if agent.external_id != call_.me]
    shown = others[:_MOST_AGENTS]
    matching = " that match" if query else ""
    more = " There are more: narrow the query." if len(others) > len(shown) else ""
    next_ = call("send_and_wait", to=shown[0].external_id, message=...) if shown else call("list_agents")
    do = f"write to one of them, for example {next_}." if shown else f"look again later with {next_}."
    return Result(
        status="agents",
        happened=(
            f"You are {call_.me}, of organization {me.organization_external_id}; "
            f"{counted(len(shown), 'other agent')}{matching}.{more}"
        ),
        do=do,
        next=next_,
        facts={"you": call_.me, "organization": me.organization_external_id},
        items=tuple(entry_of(agent) for agent in shown),
    )


TOOLS = (
    ToolSpec(
        list_agents,
        "See who you are, which agents you can write to, and who is online.",
        ToolAnnotations(
            title="List agents",
            read_only_hint=True,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    ),
)
