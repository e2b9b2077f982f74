"""Organizations and agents: registering, looking up, and who is there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from agent_messaging import (
    AgentAlreadyExistsError,
    AgentMessaging,
    AgentNotFoundError,
    InvalidIdentifierError,
    NotInitializedError,
    OrganizationAlreadyExistsError,
    OrganizationNotFoundError,
)
from tests.protocol.world import BAD_NAMES, config, eventually, fetch, nobody_accepts, opened, row_counts


@pytest.mark.requirement("directory:register-organization")
async def test_an_organization_is_registered_and_found_again(dsn: str) -> None:
    async with opened(dsn) as sdk:
        id = await sdk.register_organization("acme", "Acme & Söhne")
        found = await sdk.get_organization("acme")
    assert (found.id, found.external_id, found.name) == (id, "acme", "Acme & Söhne")
    assert found.created_at.tzinfo is not None
    assert abs((found.created_at - datetime.now(UTC)).total_seconds()) < 60


@pytest.mark.requirement("directory:organization-exists")
async def test_an_organization_is_registered_once(dsn: str) -> None:
    async with opened(dsn) as sdk:
        id = await sdk.register_organization("acme", "Acme")
        with pytest.raises(OrganizationAlreadyExistsError, match="exist_ok"):
            await sdk.register_organization("acme", "Another")
        assert await sdk.register_organization("acme", "Another", exist_ok=True) == id
        assert (await sdk.get_organization("acme")).name == "Acme"


@pytest.mark.requirement("directory:register-agent")
async def test_an_agent_is_registered_and_found_again(dsn: str) -> None:
    async with opened(dsn) as sdk:
        organization = await sdk.register_organization("acme", "Acme")
        id = await sdk.register_agent("alice", "acme", "Alice")
        alice = await sdk.get_agent("alice")
    assert (alice.id, alice.external_id, alice.name) == (id, "alice", "Alice")
    assert (alice.organization_id, alice.organization_external_id) == (organization, "acme")


@pytest.mark.requirement("directory:agent-exists")
async def test_an_agent_is_registered_once_in_the_whole_installation(dsn: str) -> None:
    async with opened(dsn) as sdk:
        await sdk.register_organization("acme", "Acme")
        await sdk.register_organization("rival", "Rival")
        id = await sdk.register_agent("alice", "acme", "Alice")
        with pytest.raises(AgentAlreadyExistsError, match="exist_ok"):
            await sdk.register_agent("alice", "acme", "Alice")
        assert await sdk.register_agent("alice", "acme", "Other", exist_ok=True) == id
        for exist_ok in (False, True):
            with pytest.raises(AgentAlreadyExistsError):
                await sdk.register_agent("alice", "rival", "Alice", exist_ok=exist_ok)
        assert (await sdk.get_agent("alice")).organization_external_id == "acme"


@pytest.mark.requirement("directory:agent-needs-organization")
async def test_an_agent_belongs_to_an_organization_that_exists(dsn: str) -> None:
    async with opened(dsn) as sdk:
        with pytest.raises(OrganizationNotFoundError, match="nowhere"):
            await sdk.register_agent("alice", "nowhere", "Alice")
        with pytest.raises(AgentNotFoundError):
            await sdk.get_agent("alice")


@pytest.mark.requirement("directory:not-found")
async def test_what_was_never_registered_is_not_found(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        with pytest.raises(AgentNotFoundError, match="'bob'"):
            await sdk.get_agent("bob")
        with pytest.raises(OrganizationNotFoundError, match="'nowhere'"):
            await sdk.get_organization("nowhere")
        with pytest.raises(AgentNotFoundError, match="'ALICE'"):
            await sdk.get_agent("ALICE")


@pytest.mark.requirement("directory:restart")
async def test_twenty_processes_that_start_at_once_agree_on_one_agent(dsn: str) -> None:
    async with opened(dsn) as one, opened(dsn) as other:

        async def start(sdk: AgentMessaging[Any]) -> tuple[object, object]:
            organization = await sdk.register_organization("acme", "Acme", exist_ok=True)
            return organization, await sdk.register_agent("alice", "acme", "Alice", exist_ok=True)

        assert len(set(await asyncio.gather(*(start(sdk) for sdk in (one, other) * 10)))) == 1

        tries = [sdk.register_agent("bob", "acme", "Bob") for sdk in (one, other) * 10]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, AgentAlreadyExistsError) for outcome in outcomes) == 19


@pytest.mark.requirement("directory:external-id")
async def test_names_of_every_allowed_form_are_accepted(dsn: str) -> None:
    names = ["a", "7", "A.b_c-d:e@f/g", "team/alice@host:8080", "Z" * 128]
    async with opened(dsn, *names) as sdk:
        for name in names:
            assert (await sdk.get_agent(name)).external_id == name


@pytest.mark.requirement("directory:external-id")
@pytest.mark.requirement("input:directory")
async def test_bad_names_are_refused_and_nothing_is_stored(dsn: str) -> None:
    async with opened(dsn, "alice", sweep_interval=3600) as sdk:
        calls = {}
        for kind, name in BAD_NAMES.items():
            calls[f"organization {kind}"] = lambda name=name: sdk.register_organization(name, "Name")
            calls[f"agent {kind}"] = lambda name=name: sdk.register_agent(name, "acme", "Name")
            calls[f"of organization {kind}"] = lambda name=name: sdk.register_agent("bob", name, "Name")
            calls[f"get agent {kind}"] = lambda name=name: sdk.get_agent(name)
            calls[f"get organization {kind}"] = lambda name=name: sdk.get_organization(name)
        for kind in ("none", "int", "bytes", "list", "dict", "empty", "nul", "surrogate", "very long"):
            name = BAD_NAMES[kind]
            calls[f"organization called {kind}"] = lambda name=name: sdk.register_organization("fresh", name)
            calls[f"agent called {kind}"] = lambda name=name: sdk.register_agent("bob", "acme", name)
        assert await nobody_accepts(dsn, calls) == {}
        with pytest.raises(InvalidIdentifierError):
            await sdk.register_agent("b" * 129, "acme", "Bob")


@pytest.mark.requirement("directory:online")
@pytest.mark.requirement("handler:lease")
async def test_an_agent_is_online_while_a_process_holds_its_handler(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        assert not (await sdk.get_agent("bob")).online
        async with opened(dsn) as other:
            other.register_handler("bob")(lambda message, context: None)
            await other.get_agent("bob")
            bob = await sdk.get_agent("bob")
            assert (bob.online, bob.reachable) == (True, True)
        bob = await sdk.get_agent("bob")
        assert (bob.online, bob.reachable) == (False, False), "whoever closes takes its lease along"


@pytest.mark.requirement("directory:online")
async def test_an_agent_is_online_while_it_waits(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=0.05) as sdk:
        waiting = asyncio.create_task(sdk.inbox.wait("bob", 30))

        async def online() -> bool:
            return (await sdk.get_agent("bob")).online

        await eventually(online)
        waiting.cancel()

        async def offline() -> bool:
            return not await online()

        await eventually(offline)
        assert (await sdk.get_agent("bob")).reachable, "it has read its inbox once"


@pytest.mark.requirement("directory:online")
async def test_an_agent_is_online_while_it_is_connected_and_after_a_call_over_mcp(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=0.05) as sdk:
        async with sdk.connection("bob"):
            assert (await sdk.get_agent("bob")).online
        assert not (await sdk.get_agent("bob")).online

        await sdk.as_agent("bob").called()

        async def online() -> bool:
            return (await sdk.get_agent("bob")).online

        await eventually(online)
        await fetch(dsn, "UPDATE agents SET last_call_at = last_call_at - interval '61 seconds'")
        assert not await online()


@pytest.mark.requirement("directory:last-seen")
async def test_an_agent_was_last_seen_when_it_last_did_something(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=0.05) as sdk:
        assert (await sdk.get_agent("alice")).last_seen_at is None
        await sdk.async_conversation.send("alice", "bob", "hello")

        async def seen() -> datetime | None:
            return (await sdk.get_agent("alice")).last_seen_at

        first = await eventually(seen)
        assert first is not None
        await sdk.async_conversation.send("alice", "bob", "again")

        async def later() -> bool:
            return (await sdk.get_agent("alice")).last_seen_at > first  # type: ignore[operator]

        await eventually(later)
        assert (await sdk.get_agent("bob")).last_seen_at is None


@pytest.mark.requirement("directory:open")
async def test_a_call_before_opening_and_after_closing_says_so(dsn: str) -> None:
    sdk: AgentMessaging[Any] = AgentMessaging(config(dsn))
    with pytest.raises(NotInitializedError, match="initialize"):
        await sdk.get_agent("alice")
    await sdk.close()
    await sdk.initialize()
    await sdk.initialize()
    await sdk.register_organization("acme", "Acme")
    await sdk.close()
    await sdk.close()
    with pytest.raises(NotInitializedError):
        await sdk.async_conversation.send("alice", "bob", "hello")
    assert (await row_counts(dsn))["processes"] == 0
