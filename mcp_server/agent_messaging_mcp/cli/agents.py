"""The commands for agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from agent_messaging_mcp.cli.opening import as_json, minute, show_json, show_table, with_library

if TYPE_CHECKING:
    from datetime import datetime

    from agent_messaging import AgentMessaging
    from agent_messaging.models import Agent

DEFAULT = "default"


@click.group()
def agent() -> None:
    """Manage agents: who may act over the network, once it has a token."""


@agent.command("create")
@click.argument("id")
@click.option(
    "--organization",
    metavar="ID",
    default=DEFAULT,
    show_default=True,
    help="Whose agent it is; `default` is registered along with it, any other must be there.",
)
@click.option("--name", help="What people call it (default: ID).")
@as_json
def create(id: str, organization: str, name: str | None, as_json: bool) -> None:
    """Register an agent under ID: letters, digits and . _ - : @ /"""

    async def work(sdk: AgentMessaging[Any]) -> tuple[Agent, bool]:
        from agent_messaging.errors import AgentAlreadyExistsError, OrganizationNotFoundError

        called = id if name is None else name
        new_home = False
        try:
            try:
                await sdk.register_agent(id, organization, called)
            except OrganizationNotFoundError:
                if organization != DEFAULT:
                    raise
                await sdk.register_organization(DEFAULT, DEFAULT, exist_ok=True)
                await sdk.register_agent(id, DEFAULT, called)
                new_home = True
        except AgentAlreadyExistsError:
            home = (await sdk.get_agent(id)).organization_external_id
            raise click.ClickException(f"there is an agent {id!r} already, of organization {home}") from None
        return await sdk.get_agent(id), new_home

    made, new_home = with_library(work)
    if as_json:
        show_json({**made.model_dump(mode="json"), "organization_created": new_home})
        return
    if new_home:
        click.echo(f"Organization {DEFAULT} is registered.")
    click.echo(
        f"Agent {id} of organization {organization} is registered. "
        f"To act as it over the network: `agent-messaging token create {id}`"
    )


@agent.command("list")
@click.option("--organization", metavar="ID", help="Only the agents of this one.")
@as_json
def list_(organization: str | None, as_json: bool) -> None:
    """List the agents, and who is there."""

    async def work(sdk: AgentMessaging[Any]) -> tuple[list[Agent], datetime]:
        return await sdk.agents(organization), sdk.now()

    found, now = with_library(work)
    if as_json:
        show_json({"agents": [one.model_dump(mode="json") for one in found]})
    elif not found:
        option = f" --organization {organization}" if organization else ""
        click.echo(f"There is no agent yet: `agent-messaging agent create ID{option}`")
    else:
        show_table(
            ["AGENT", "ORGANIZATION", "NAME", "PRESENCE"],
            [[one.external_id, one.organization_external_id, one.name, _presence(one, now)] for one in found],
        )


def _presence(agent: Agent, now: datetime) -> str:
    from agent_messaging_mcp.text import ago

    if agent.silenced:
        return "silenced" if agent.silenced_until is None else f"silenced until {minute(agent.silenced_until)}"
    if agent.online:
        return "online"
    return "never seen" if agent.last_seen_at is None else f"seen {ago(agent.last_seen_at, now)}"
