"""What a model may put into a call: stored as it was sent or refused in words, and never an error of the server's
own.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pydantic_core
import pytest
from mcp import MCPError

from tests.hostile.values import DELICATE, POISON, nested, random_values, same, seed_of_run, why_not
from tests.mcp_server.hosts import Host, host
from tests.mcp_server.readers import text_of
from tests.promises import kept, tries
from tests.protocol.world import opened

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 2**200, 10**400),
    *(0.0, -0.0, 0.5, -1.5, 1e22, 1e308, math.nan, math.inf, -math.inf),
    *("", " ", "0", "-1", "1e400", "nan", "Infinity", "NaN", "99999999999999999999999", "1:99999999999999999999999"),
    *("\0", "a\0b", "\ud800", "\u202e", "\x1b[2K", "*", ",", "[", "[]", '["', "q2k9", "m7f3", "c0000", "null", "{}"),
    *("'; DROP TABLE messages; --", "%", "_", "\\", "../../etc/passwd", "00000000-0000-0000-0000-000000000000"),
    *("x" * 129, "x" * 100_000, "٣", "१", "alice", "bob", "bob,bob", "bob,carol,nobody"),
    *([], [""], [[]], [None], ["bob", "bob"], ["\ud800"], ["bob"] * 2_000, {}, {"a": 1}, nested(70), [1, 2]),
]
"""What some argument does not expect."""


def can_be_written(value: Any) -> bool:
    """Whether the official client gets it onto the wire; test_raw_json.py writes the rest by hand."""
    try:
        # What is no number it writes as null, without a word: then something else is sent.
        return pydantic_core.to_json(value, inf_nan_mode="constants") == pydantic_core.to_json(
            value, inf_nan_mode="null"
        )
    except ValueError:
        return False


@pytest.mark.requirement("mcp:conversations:message-exact")
@pytest.mark.timeout(1_200)
async def test_any_json_in_a_call_is_stored_as_it_was_sent_or_refused(dsn: str) -> None:
    some = [*DELICATE.values(), *POISON.values(), *random_values(tries(100, 5_000), seed_of_run())]
    values = list(filter(can_be_written, some))
    wrong: list[str] = []
    async with (
        opened(dsn, "bob") as sdk,
        host(dsn, "alice", organization="acme") as alice,
    ):
        for value in values:
            result = await alice.result("send", to="bob", message=value)
            stored = [message.content for message in await sdk.async_conversation.get_unread("bob")]
            await sdk.async_conversation.get_unread_messages("bob")
            if why_not(value) is None:
                if result.is_error or len(stored) != 1 or not same(stored[0], value):
                    wrong.append(f"{value!r:.200}: {text_of(result):.200}, {stored!r:.200}")
            elif not result.is_error or stored or not text_of(result).startswith("Not sent: "):
                wrong.append(f"{value!r:.200}: {text_of(result):.200}, {stored!r:.200}")
    print("\n".join(wrong[:20]))
    kept("R10", "values through the tools", tried=len(values), broken=len(wrong))


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here calls too often."""
    monkeypatch.setenv("AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE", "1000000")


async def outcome(caller: Host, tool: str, arguments: dict[str, Any]) -> str | None:
    """What is wrong with the answer to a call; None if it is an answer."""
    shown = f"{tool}({json.dumps(arguments):.120})"
    try:
        async with asyncio.timeout(20):
            result = await caller.result(tool, **arguments)
    except MCPError as failed:
        return f"{shown}: {failed.error.code} {failed.error.message:.200}"
    except TimeoutError:
        return f"{shown}: no answer"
    text = text_of(result)
    if any(leak in text for leak in ("Traceback", "asyncpg", "pydantic", ".py", "SELECT ", "INSERT ")):
        return f"{shown}: {text:.300}"
    return None


@pytest.mark.requirement("mcp:arguments:named")
@pytest.mark.requirement("mcp:errors:mistakes")
@pytest.mark.timeout(600)
async def test_no_argument_of_any_tool_is_answered_with_an_error_of_the_server(dsn: str) -> None:
    wrong: list[str] = []
    tried, few = 0, tries(8, 1)
    async with (
        opened(dsn, "bob", "carol") as sdk,
        host(dsn, "alice", organization="acme", max_wait_seconds=0.05) as alice,
    ):
        meeting = (await alice.status("create_meeting", title="T", agents=["bob"]))["meeting"]
        asked = asyncio.create_task(sdk.sync_conversation.send_and_wait("bob", "alice", "?", 600))
        usual: dict[str, Any] = {
            "to": "bob",
            "message": "x",
            "with_agent": "bob",
            "question": "q2k9",
            "meeting": meeting,
            "turn": 1,
            "title": "T",
            "agents": ["bob"],
        }
        for tool in (await alice.client.list_tools()).tools:
            needed = {name: usual[name] for name in tool.input_schema.get("required", ())}
            for name in tool.input_schema["properties"]:
                for odd in ODD[tried % few :: few]:
                    tried += 1
                    if found := await outcome(alice, tool.name, {**needed, name: odd}):
                        wrong.append(found)
        # Whatever was done, a neighbour is served.
        await sdk.async_conversation.get_unread_messages("carol")
        await sdk.async_conversation.send("bob", "carol", "after all that")
        if "after all that" not in await sdk.async_conversation.get_unread_messages("carol"):
            wrong.append("a neighbour was not served")
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    print(f"{len(wrong)} of {tried}\n" + "\n".join(wrong[:40]))
    kept("R10", "odd values in every argument of every tool", tried=tried, broken=len(wrong))
