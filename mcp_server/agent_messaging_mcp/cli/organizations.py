"""The commands for organizations, and for whom they let reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from agent_messaging_mcp.cli.opening import as_json, show_json, show_table, with_library

if TYPE_CHECKING:
    from agent_messaging import AgentMessaging
    from agent_messaging.models import Organization, OrganizationListing


@click.group()
def organization() -> None:
    """Manage organizations: whose agents there are, and who reaches whom."""


@organization.command("create")
@click.argument("id")
@click.option("--name", help="What people call it (default: ID).")
@as_json
def create(id: str, name: str | None, as_json: bool) -> None:
    """Register an organization under ID: letters, digits and . _ - : @ /"""

    async def work(sdk: AgentMessaging[Any]) -> Organization:
        from agent_messaging.errors import OrganizationAlreadyExistsError

        try:
            await sdk.register_organization(id, id if name is None else name)
        except OrganizationAlreadyExistsError:
            raise click.ClickException(f"there is an organization {id!r} already") from None
        return await sdk.get_organization(id)

    made = with_library(work)
    if as_json:
        show_json(made.model_dump(mode="json"))
    else:
        click.echo(
            f"Organization {id} is registered. Its agents: `agent-messaging agent create AGENT --organization {id}`"
        )


@organization.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the organizations. One reaches another when each allows the other."""

    async def work(sdk: AgentMessaging[Any]) -> list[OrganizationListing]:
        return await sdk.organizations()

    found = with_library(work)
    if as_json:
        show_json({"organizations": [one.model_dump(mode="json") for one in found]})
    elif not found:
        click.echo("There is no organization yet: `agent-messaging organization create ID`")
    else:
        show_table(
            ["ORGANIZATION", "NAME", "AGENTS", "ALLOWS", "REACHES"],
            [
                [one.external_id, one.name, str(one.agent_count), ", ".join(one.allows), ", ".join(one.reaches)]
                for one in found
            ],
        )


@organization.command("allow")
@click.argument("a")
@click.argument("b")
@as_json
def allow(a: str, b: str, as_json: bool) -> None:
    """Let organization B reach A. Their agents reach each other once B allows A as well."""

    async def work(sdk: AgentMessaging[Any]) -> bool:
        return await sdk.allow_organization(a, b)

    mutual = with_library(work)
    if as_json:
        show_json({"organization": a, "other": b, "allows": True, "mutual": mutual})
    elif mutual:
        click.echo(f"{a} lets {b} reach it, and {b} lets {a}: their agents reach each other now.")
    else:
        click.echo(
            f"{a} lets {b} reach it. Neither reaches the other until {b} does the same; now "
            f"`agent-messaging organization allow {b} {a}` lets {a} reach back."
        )


@organization.command("disallow")
@click.argument("a")
@click.argument("b")
@as_json
def disallow(a: str, b: str, as_json: bool) -> None:
    """No longer let organization B reach A: from now on, neither reaches the other."""

    async def work(sdk: AgentMessaging[Any]) -> None:
        await sdk.disallow_organization(a, b)

    with_library(work)
    if as_json:
        show_json({"organization": a, "other": b, "allows": False, "mutual": False})
    else:
        click.echo(
            f"{a} does not let {b} reach it: neither reaches the other now. "
            f"`agent-messaging organization allow {a} {b}` takes this back."
        )
