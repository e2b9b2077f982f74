"""The commands that silence agents and organizations, and let them write again."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from agent_messaging_mcp.cli.durations import lifetime
from agent_messaging_mcp.cli.opening import as_json, minute, show_json, show_table, with_library

if TYPE_CHECKING:
    from agent_messaging import AgentMessaging
    from agent_messaging.models import Silence

_organization = click.option("--organization", metavar="ID", help="Every agent of this organization, instead of one.")


def _moment(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """Read a moment; without a zone, it is UTC, as everything that these commands print."""
    from datetime import UTC

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        raise click.BadParameter("write it like 2026-02-20T18:24, which is UTC, or with a zone: …+01:00") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@click.command()
@click.argument("agent", required=False)
@_organization
@click.option("--for", "seconds", callback=lifetime, metavar="LIFETIME", help="So long: 30s, 15m, 12h, 90d or 2w.")
@click.option("--until", callback=_moment, metavar="TIME", help="Until then: 2026-02-20T18:24 (UTC unless it says).")
@as_json
def silence(
    agent: str | None, organization: str | None, seconds: float | None, until: datetime | None, as_json: bool
) -> None:
    """Let AGENT, or an organization, write nothing from now on, in every process at once.

    It can read, attend meetings, pass and leave; what it sends, asks, answers and speaks is refused, and its handlers
    rest. Questions that wait for it stay open. Without AGENT and --organization: list who is silenced.
    """
    if agent is None and organization is None:
        if seconds is not None or until is not None:
            raise click.UsageError("Whom? Name AGENT, or --organization ID.")
        _list(as_json)
        return
    _one_subject(agent, organization)
    if seconds is not None and until is not None:
        raise click.UsageError("Give --for or --until, not both.")

    async def work(sdk: AgentMessaging[Any]) -> Silence:
        if agent is not None:
            return await sdk.silences.silence_agent(agent, seconds=seconds, until=until)
        return await sdk.silences.silence_organization(str(organization), seconds=seconds, until=until)

    made = with_library(work)
    if as_json:
        show_json(made.model_dump(mode="json"))
        return
    whom, undo = (
        (agent, agent) if agent is not None else (f"Organization {organization}", f"--organization {organization}")
    )
    long = "until that is lifted" if made.until is None else f"until {minute(made.until)}"
    click.echo(f"{whom} is silenced {long}: it reads, and writes nothing. `agent-messaging unsilence {undo}` lifts it.")


@click.command()
@click.argument("agent", required=False)
@_organization
@as_json
def unsilence(agent: str | None, organization: str | None, as_json: bool) -> None:
    """Let AGENT, or an organization, write again. What waited for its handlers is handled now."""
    _one_subject(agent, organization)

    async def work(sdk: AgentMessaging[Any]) -> tuple[bool, bool]:
        if agent is None:
            return await sdk.silences.lift_organization(str(organization)), False
        lifted = await sdk.silences.lift_agent(agent)
        return lifted, (await sdk.get_agent(agent)).silenced

    lifted, still = with_library(work)
    if as_json:
        show_json({"agent": agent, "organization": organization, "lifted": lifted, "silenced": still})
        return
    whom = agent if agent is not None else f"Organization {organization}"
    happened = "may write again" if lifted else "was not silenced"
    if still:
        happened = ("is not silenced by name any more" if lifted else "was not silenced by name") + (
            ", but its organization is: `agent-messaging silence` shows it"
        )
    click.echo(f"{whom} {happened}.")


def _one_subject(agent: str | None, organization: str | None) -> None:
    if (agent is None) == (organization is None):
        raise click.UsageError("Name AGENT, or --organization ID: one of the two.")


def _list(as_json: bool) -> None:
    async def work(sdk: AgentMessaging[Any]) -> list[Silence]:
        return await sdk.silences.list()

    found = with_library(work)
    if as_json:
        show_json({"silences": [one.model_dump(mode="json") for one in found]})
    elif not found:
        click.echo("Nobody is silenced: `agent-messaging silence AGENT`, or `--organization ID`")
    else:
        show_table(
            ["ORGANIZATION", "AGENT", "SINCE", "UNTIL"],
            [
                [
                    one.organization_external_id,
                    one.agent_external_id or "all of them",
                    minute(one.since),
                    "lifted" if one.until is None else minute(one.until),
                ]
                for one in found
            ],
        )
