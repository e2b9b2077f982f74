"""Organizations as their operator sees them: which there are, who is in them, and who lets whom reach it."""

from __future__ import annotations

from typing import Any

import pytest

from agent_messaging import (
    AgentMessaging,
    AgentNotFoundError,
    InvalidArgumentError,
    NotInitializedError,
    OrganizationNotFoundError,
)
from tests.protocol.world import BAD_NAMES, nobody_accepts, opened, row_counts


async def two_firms(sdk: AgentMessaging[Any]) -> None:
    """Alice and Bob of acme are there; Eve of widgets comes along."""
    await sdk.register_organization("widgets", "Widgets")
    await sdk.register_agent("eve", "widgets", "Eve")


async def sees(sdk: AgentMessaging[Any], agent: str, other: str) -> bool:
    view = sdk.as_agent(agent, within_organization=True)
    try:
        return (await view.agent(other)).external_id == other
    except AgentNotFoundError:
        return False


@pytest.mark.requirement("directory:permission")
async def test_agents_reach_each_other_once_each_organization_allows_the_other(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk, opened(dsn) as other:
        await two_firms(sdk)
        assert not await sees(other, "alice", "eve")

        assert await sdk.allow_organization("acme", "widgets") is False
        assert await sdk.allow_organization("acme", "widgets") is False, "one direction twice is one direction"
        assert [await sees(other, "alice", "eve"), await sees(other, "eve", "alice")] == [False, False]

        assert await sdk.allow_organization("widgets", "acme") is True
        assert await sdk.allow_organization("acme", "widgets") is True
        assert [await sees(other, "alice", "eve"), await sees(other, "eve", "alice")] == [True, True]
    assert (await row_counts(dsn))["organization_permissions"] == 2


@pytest.mark.requirement("directory:permission-withdrawn")
@pytest.mark.parametrize("pair", [("acme", "widgets"), ("widgets", "acme")])
async def test_either_organization_alone_ends_it_for_both(dsn: str, pair: tuple[str, str]) -> None:
    async with opened(dsn, "alice") as sdk, opened(dsn) as other:
        await two_firms(sdk)
        for organization, allowed in (("acme", "widgets"), ("widgets", "acme")):
            await sdk.allow_organization(organization, allowed)
        assert await sees(other, "alice", "eve")

        for _ in range(2):
            await sdk.disallow_organization(*pair)
            assert [await sees(other, "alice", "eve"), await sees(other, "eve", "alice")] == [False, False]
        assert await sdk.allow_organization(*pair) is True
        assert await sees(other, "alice", "eve")


@pytest.mark.requirement("directory:organizations")
async def test_organizations_are_listed_with_their_agents_and_permissions(dsn: str) -> None:
    async with opened(dsn) as sdk:
        assert await sdk.organizations() == []
    async with opened(dsn, "alice", "bob") as sdk:
        await two_firms(sdk)
        await sdk.register_organization("empty", "Empty")
        for organization, allowed in (("acme", "widgets"), ("acme", "empty"), ("widgets", "acme")):
            await sdk.allow_organization(organization, allowed)
        found = await sdk.organizations()
        assert [(one.external_id, one.name, one.agent_count, one.allows, one.reaches) for one in found] == [
            ("acme", "Acme", 2, ("empty", "widgets"), ("widgets",)),
            ("empty", "Empty", 0, (), ()),
            ("widgets", "Widgets", 1, ("acme",), ("acme",)),
        ]
        assert found[0].id == (await sdk.get_organization("acme")).id


@pytest.mark.requirement("directory:agents")
async def test_agents_are_listed_of_all_organizations_or_of_one_with_their_presence(dsn: str) -> None:
    async with opened(dsn, "bob", "alice") as sdk:
        await two_firms(sdk)
        await sdk.register_organization("aa", "First")
        await sdk.register_agent("zoe", "aa", "Zoe")
        async with sdk.connection("bob"):
            everybody = await sdk.agents()
            assert [one.external_id for one in everybody] == ["zoe", "alice", "bob", "eve"]
            assert [one.external_id for one in everybody if one.online] == ["bob"]
            assert await sdk.agents("acme") == [await sdk.get_agent("alice"), await sdk.get_agent("bob")]
        assert await sdk.agents("aa") == [await sdk.get_agent("zoe")]


@pytest.mark.requirement("directory:permission-refused")
@pytest.mark.requirement("input:directory")
async def test_an_organization_that_is_not_there_is_refused_and_near_ones_are_named(dsn: str) -> None:
    async with opened(dsn, "alice", sweep_interval=3600) as sdk:
        await two_firms(sdk)
        calls: dict[str, Any] = {}
        for kind, name in {**BAD_NAMES, "unknown": "nowhere", "an agent": "alice"}.items():
            calls[f"allow {kind}"] = lambda name=name: sdk.allow_organization("acme", name)
            calls[f"{kind} allows"] = lambda name=name: sdk.allow_organization(name, "acme")
            calls[f"disallow {kind}"] = lambda name=name: sdk.disallow_organization("acme", name)
            calls[f"{kind} disallows"] = lambda name=name: sdk.disallow_organization(name, "acme")
            if kind != "none":
                calls[f"agents of {kind}"] = lambda name=name: sdk.agents(name)
        assert await nobody_accepts(dsn, calls) == {}
        for call in (sdk.allow_organization("acme", "widget"), sdk.agents("widget")):
            with pytest.raises(OrganizationNotFoundError, match="'widget'; did you mean widgets"):
                await call
        for call in (sdk.allow_organization("acme", "acme"), sdk.disallow_organization("acme", "acme")):
            with pytest.raises(InvalidArgumentError, match="reach each other anyway"):
                await call


@pytest.mark.requirement("directory:open")
async def test_the_calls_of_an_operator_need_an_open_library(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        pass
    calls = [
        sdk.organizations(),
        sdk.agents(),
        sdk.allow_organization("acme", "b"),
        sdk.disallow_organization("a", "b"),
    ]
    for call in calls:
        with pytest.raises(NotInitializedError):
            await call
