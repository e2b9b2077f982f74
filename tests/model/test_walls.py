"""Organizations are walls: nothing of one is shown to the other, whatever its agents ask, through MCP or the SDK."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
from mcp import Client

from agent_messaging import AgentMessaging
from agent_messaging_mcp.identity import always
from agent_messaging_mcp.server import build_server
from agent_messaging_mcp.service import Service
from agent_messaging_mcp.settings import Settings
from tests.conftest import connect
from tests.model.intrusion import Intruder
from tests.model.replay import Seeded, seed_of
from tests.model.walls import AGENTS, ORGANIZATIONS, Account, organization_of
from tests.promises import kept, tries
from tests.protocol.world import config

STEPS = tries(400, 10_000)
PHASES = 8
"""How often the permission is given or taken back; it begins and ends without it."""
REACHED = ("list_agents", "send", "send_and_wait", "reply", "end_conversation", "get_conversation", "check_inbox")
REACHED += ("create_meeting", "attend_meeting", "start_meeting", "speak", "leave_meeting", "end_meeting", "get_meeting")


async def registered(sdk: AgentMessaging[Any]) -> None:
    for organization, agents in ORGANIZATIONS.items():
        await sdk.register_organization(organization, organization.title())
        for agent in agents:
            await sdk.register_agent(agent, organization, agent.title())
    for agent in AGENTS:
        await sdk.as_agent(agent).called()


async def permit(sdk: AgentMessaging[Any], account: Account, *, allowed: bool) -> None:
    """Both let the other in, or one of them takes it back."""
    account.open = allowed
    if allowed:
        await sdk.allow_organization("aurora", "borealis")
        await sdk.allow_organization("borealis", "aurora")
    else:
        await sdk.disallow_organization("aurora", "borealis")


@pytest.mark.requirement("model:walls")
@pytest.mark.timeout(tries(300, 3600))
async def test_nothing_of_an_organization_is_shown_to_another(dsn: str) -> None:
    seed = seed_of("test_nothing_of_an_organization_is_shown_to_another")
    account, leaks = Account(), list[str]()
    async with AsyncExitStack() as stack:
        sdk = await stack.enter_async_context(AgentMessaging(config(dsn, max_unread=1_000_000)))
        await registered(sdk)

        async def opened(_: AsyncExitStack) -> AgentMessaging[Any]:
            return sdk

        service = Service(opened)
        stack.push_async_callback(service.close)
        clients: dict[str, Client] = {}
        for agent in AGENTS:
            settings = Settings(agent=agent, rate_limit_per_minute=10_000_000)
            server, _ = build_server(settings, service, always(agent))
            clients[agent] = await stack.enter_async_context(Client(server))
        views = {agent: sdk.as_agent(agent, within_organization=True) for agent in AGENTS}
        connection = await stack.enter_async_context(connect(dsn))
        intruder = Intruder(Seeded(seed), account, connection, clients, views)
        for step in range(STEPS):
            phase = step * (PHASES + 1) // STEPS
            if account.open != bool(phase % 2):
                await permit(sdk, account, allowed=not account.open)
                account.counts["permission changed"] += 1
            if step % 10 == 0:
                await intruder.look_around()
            leaked = await intruder.step()
            leaks += [f"step {step}, {intruder.describe()}: {what}" for what in leaked]
            account.counts["steps behind the wall" if not account.open else "steps while open"] += 1
    counts = account.counts
    print(dict(counts), leaks[:20])
    assert counts["permission changed"] == PHASES
    missed = [tool for tool in REACHED if not counts[tool]]
    assert not missed or (STEPS < 1_000 and len(missed) < 3), missed  # few steps, of whatever seed, may miss one
    assert min(counts["foreign tried"], counts["own secrets shown"], counts["done"], counts["refused"]) > STEPS / 10
    assert counts["foreign secrets shown rightly"] > 0, "nobody ever reached anybody, so no wall was needed"
    assert {organization_of(secret) for secret in account.secrets} == set(ORGANIZATIONS)
    kept(
        "R14",
        "random calls of the agents of two organizations over MCP and the SDK, every text with a secret: what an agent "
        "was shown that it must not know, before, while and after both organizations let each other in",
        tried=STEPS,
        broken=len(leaks),
        secrets=len(account.secrets),
        foreign=counts["foreign tried"],
        seed=str(seed),
    )
