"""The commands for bearer tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from agent_messaging_mcp.cli.durations import lifetime
from agent_messaging_mcp.cli.opening import as_json, minute, show_json, show_table, with_library

if TYPE_CHECKING:
    from agent_messaging import AgentMessaging
    from agent_messaging.models import NewToken, Token


@click.group()
def token() -> None:
    """Manage bearer tokens: each lets its holder act as one agent over the network."""


@token.command("create")
@click.argument("agent")
@click.option(
    "--expires",
    "expires_in",
    callback=lifetime,
    default="90d",
    show_default=True,
    metavar="LIFETIME",
    help="When it ends: 30s, 15m, 12h, 90d, 2w or never.",
)
@click.option("--name", default="", help='A label for people, such as "alice\'s laptop".')
@as_json
def create(agent: str, expires_in: float | None, name: str, as_json: bool) -> None:
    """Make a token for AGENT and print it, this once.

    Standard output has the token alone; what to do with it is said on standard error.
    """

    async def work(sdk: AgentMessaging[Any]) -> NewToken:
        return await sdk.tokens.create(agent, expires_in=expires_in, name=name)

    made = with_library(work)
    if as_json:
        show_json(made.model_dump(mode="json"))
        return
    prefix = made.info.prefix
    click.echo(made.token)
    click.echo(
        f"This is the only time that the token is shown; it expires: {minute(made.info.expires_at)}.\n"
        f"Whoever has it acts as {agent}: keep it in AGENT_MESSAGING_TOKEN, where the entry for a client looks for it "
        "(`agent-messaging --print-config claude-code --url URL`).\n"
        f"To end it: `agent-messaging token revoke {prefix}`",
        err=True,
    )


@token.command("list")
@click.argument("agent", required=False)
@click.option("--organization", metavar="ID", help="Only those of its agents.")
@click.option("--all", "include_ended", is_flag=True, help="The expired and the revoked ones too.")
@as_json
def list_(agent: str | None, organization: str | None, include_ended: bool, as_json: bool) -> None:
    """List the tokens, of AGENT or of all, by their prefixes: the tokens themselves are not kept."""

    async def work(sdk: AgentMessaging[Any]) -> list[Token]:
        return await sdk.tokens.list(agent, organization_external_id=organization, include_ended=include_ended)

    found = with_library(work)
    if as_json:
        show_json({"tokens": [one.model_dump(mode="json") for one in found]})
    elif not found:
        ended = "" if include_ended else "; `--all` shows those that have ended"
        click.echo(f"There is no{'' if include_ended else ' valid'} token: `agent-messaging token create AGENT`{ended}")
    else:
        show_table(
            ["PREFIX", "AGENT", "ORGANIZATION", "NAME", "CREATED", "EXPIRES", "STATE"],
            [
                [
                    one.prefix,
                    one.agent_external_id,
                    one.organization_external_id,
                    one.name,
                    minute(one.created_at),
                    minute(one.expires_at),
                    one.state if one.revoked_at is None else f"{one.state} {minute(one.revoked_at)}",
                ]
                for one in found
            ],
        )


@token.command("revoke")
@click.argument("prefix")
@as_json
def revoke(prefix: str, as_json: bool) -> None:
    """End a token for good, on every server within a second. PREFIX is how the list names it."""

    async def work(sdk: AgentMessaging[Any]) -> Token:
        return await sdk.tokens.revoke(prefix)

    ended = with_library(work)
    if as_json:
        show_json(ended.model_dump(mode="json"))
    else:
        agent = ended.agent_external_id
        click.echo(
            f"Token {ended.prefix} of {agent} is revoked since {minute(ended.revoked_at)}. "
            f"A new one: `agent-messaging token create {agent}`"
        )
