"""The library with WAKEUPS_URL: what crosses processes, and what goes on when the NATS server is away."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from agent_messaging import Config, ConfigurationError
from tests.bus import running
from tests.protocol.world import SWEEP_OFF, eventually, opened

BOUND = 60.0


@pytest.mark.requirement("nats:waits")
async def test_waits_of_two_processes_are_woken_over_nats_although_nobody_sweeps(dsn: str) -> None:
    with running() as bus:
        options: dict[str, Any] = {"wakeups_url": SecretStr(bus.url), "sweep_interval": SWEEP_OFF}
        async with opened(dsn, "alice", "bob", **options) as here, opened(dsn, **options) as there:

            @there.register_handler("bob")
            async def answer(message: str, context: Any) -> str:
                return message[::-1]

            await there.get_agent("bob")  # the registration counts from the next call on
            for number in range(20):
                asked = here.sync_conversation.send_and_wait("alice", "bob", f"{number:03}", timeout=BOUND)
                assert (await asked) == f"{number:03}"[::-1]
            health = await here.health()
            assert (health.wakeups, health.is_ready) == (True, True)


@pytest.mark.requirement("nats:away")
async def test_without_the_server_the_sweep_finds_everything_and_nobody_is_called_unfit(dsn: str) -> None:
    with running() as bus:
        options: dict[str, Any] = {"wakeups_url": SecretStr(bus.url), "sweep_interval": 0.05}
        async with opened(dsn, "alice", "bob", **options) as here, opened(dsn, **options) as there:
            await here.inbox.page("bob")
            bus.stop()
            waiting = asyncio.create_task(there.async_conversation.wait_for_message("bob", "alice", timeout=BOUND))
            await here.async_conversation.send("alice", "bob", "in the dark")
            assert await waiting == "in the dark"

            async def deaf() -> bool:
                return not (await there.health()).wakeups

            await eventually(deaf)
            assert (await there.health()).is_ready


@pytest.mark.requirement("nats:extra")
async def test_without_the_extra_it_is_named(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agent_messaging_db.nats_wakeups", raising=False)
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'agent-messaging\[nats\]'"):
        async with opened(dsn, wakeups_url=SecretStr("nats://127.0.0.1:1")):
            pass


@pytest.mark.requirement("nats:config")
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://hunter2@localhost",
        "nats://",
        "nats://hunter2@localhost:port",
        "nats://u:hunter2/x@localhost",
        "nats://u:hunter2@x@localhost",
        "nats://localhost?hunter2",
        "nats://[hunter2",
        "localhost:4222,hunter2",
        "nats://localhost,http://hunter2",
    ],
)
def test_an_address_that_cannot_be_right_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValidationError, match=r"NATS server|written %40") as refused:
        Config(wakeups_url=SecretStr(url))
    assert "hunter2" not in str(refused.value)


@pytest.mark.requirement("nats:config")
@pytest.mark.parametrize(
    "url", ["nats://localhost", "tls://am:pw@bus.example.org:4222", "nats://a:1, nats://b:2", "nats://[::1]:4222/"]
)
def test_an_address_of_a_server_or_of_several_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKEUPS_URL", url)
    assert Config().wakeups_address == url
    assert "pw" not in repr(Config())
