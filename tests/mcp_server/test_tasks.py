"""Tasks: a wait that is longer than calls are held goes on without its call, and any process answers for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx2
import pytest
from mcp import MCPError
from mcp_types import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, CallToolResult

from agent_messaging_db import upkeep
from agent_messaging_mcp.errors import TOO_MANY_REQUESTS
from tests.conftest import connect, execute
from tests.mcp_server.hosts import Host, host, network_host
from tests.mcp_server.readers import text_of
from tests.mcp_server.serving import serving, tokens_of
from tests.mcp_server.tasking import Created, State, TakesTasks, begin, begun, cancel, get, update
from tests.protocol.world import eventually, fetch

MISSING_REQUIRED_CLIENT_CAPABILITY = -32021
LONG = 3_600
OVER = "UPDATE tasks SET created_at = created_at - interval '1 hour', ends_at = clock_timestamp()"
"""As if every task had waited as long as it may."""
WAITS_FOR_A_LOCK = """
    SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
TAKES: dict[str, Any] = {"extensions": [TakesTasks()]}


async def settles(ask: Callable[[], Awaitable[State]]) -> State:
    """Ask until the task has settled."""
    async with asyncio.timeout(20):
        while (state := await ask()).status == "working":  # noqa: ASYNC110 - a client of tasks polls
            await asyncio.sleep(0.02)
    return state


def told(state: State) -> dict[str, Any]:
    """What the model of a completed task's host reads, which is complete in both forms."""
    assert state.status == "completed"
    result = CallToolResult.model_validate(state.result, by_name=False)
    assert not result.is_error
    assert result.structured_content is not None
    assert text_of(result).startswith(result.structured_content["now"])
    return result.structured_content


@pytest.mark.requirement("mcp:tasks:wait")
async def test_a_long_wait_for_an_answer_is_a_task_that_settles_with_the_answer(dsn: str) -> None:
    async with host(dsn, "alice", **TAKES) as alice, host(dsn, "bob") as bob:
        await bob.status("check_inbox")
        task = await begun(alice.client, "send_and_wait", to="bob", message="Which commit?", wait_seconds=LONG)
        assert (task.status, task.poll_interval_ms) == ("working", 1_000)
        assert task.ttl_ms == (LONG + 3_600) * 1_000
        assert (await get(alice.client, task.task_id)).status == "working"

        [question] = (await bob.status("check_inbox"))["items"]
        await bob.status("reply", question=question["question"], message="4f1c")
        result = told(await get(alice.client, task.task_id))

        assert result["answer"]["text"] == "4f1c"
        assert told(await get(alice.client, task.task_id)) == result
        # Nothing was marked read: the answer is in the inbox until it is acknowledged.
        [item] = (await alice.status("check_inbox"))["items"]
        assert item["text"] == "4f1c"


@pytest.mark.requirement("mcp:tasks:wait")
async def test_a_long_wait_for_anything_settles_with_all_that_is_in_the_inbox_then(dsn: str) -> None:
    async with host(dsn, "alice", **TAKES) as alice, host(dsn, "bob") as bob:
        task = await begun(alice.client, "check_inbox", wait_seconds=LONG)
        for words in ("one", "two"):
            await bob.status("send", to="alice", message=words)

        result = told(await get(alice.client, task.task_id))
        assert [item["text"] for item in result["items"]] == ["one", "two"]
        await bob.status("send", to="alice", message="three")
        assert told(await get(alice.client, task.task_id)) == result


@pytest.mark.requirement("mcp:tasks:wait")
async def test_the_wait_of_every_call_in_a_meeting_can_be_a_task(dsn: str) -> None:
    async with host(dsn, "alice", **TAKES) as alice, host(dsn, "bob", **TAKES) as bob:
        await bob.status("check_inbox")
        made = await alice.status("create_meeting", title="Release", agents=["bob"])
        meeting = made["meeting"]
        attends = await begun(bob.client, "attend_meeting", meeting=meeting, wait_seconds=LONG)
        opens = await begun(alice.client, "start_meeting", meeting=meeting, message="Ready?", wait_seconds=LONG)

        turn = told(await get(bob.client, attends.task_id))
        assert [speech["text"] for speech in turn["said"]] == ["Ready?"]
        spoken = await begun(bob.client, "speak", meeting=meeting, turn=turn["turn"], message="Yes.", wait_seconds=LONG)
        assert [speech["text"] for speech in told(await get(alice.client, opens.task_id))["said"]] == ["Yes."]
        await alice.status("end_meeting", meeting=meeting, outcome="Released")
        assert told(await get(bob.client, spoken.task_id))["status"] == "meeting_ended"


@pytest.mark.requirement("mcp:tasks:at-once")
async def test_what_is_there_is_told_at_once_and_a_short_wait_is_held(dsn: str) -> None:
    async with host(dsn, "alice", max_wait_seconds=0.2, **TAKES) as alice, host(dsn, "bob") as bob:
        held = await begin(alice.client, "check_inbox", wait_seconds=0.1)
        assert isinstance(held, CallToolResult)
        await bob.status("send", to="alice", message="here")
        there = await begin(alice.client, "check_inbox", wait_seconds=LONG)
        assert isinstance(there, CallToolResult)
        assert there.structured_content is not None
        assert [item["text"] for item in there.structured_content["items"]] == ["here"]


@pytest.mark.requirement("mcp:tasks:at-once")
async def test_a_mistake_is_told_at_once_and_makes_no_task(dsn: str) -> None:
    async with host(dsn, "alice", **TAKES) as alice:
        wrong = await begin(alice.client, "send_and_wait", to="nobody", message="?", wait_seconds=LONG)
        assert isinstance(wrong, CallToolResult)
        assert wrong.is_error


@pytest.mark.requirement("mcp:tasks:needed")
async def test_a_task_settles_when_something_else_needs_the_agent(dsn: str) -> None:
    async with (
        host(dsn, "alice", **TAKES) as alice,
        host(dsn, "bob") as bob,
        host(dsn, "carol", max_wait_seconds=0.1) as carol,
    ):
        await bob.status("check_inbox")
        task = await begun(alice.client, "send_and_wait", to="bob", message="?", wait_seconds=LONG)
        await carol.status("send_and_wait", to="alice", message="May I?", wait_seconds=0.1)

        result = told(await get(alice.client, task.task_id))
        assert "something else needs you first" in result["now"]
        assert result["next"] == "check_inbox()"


@pytest.mark.requirement("mcp:tasks:undeclared")
async def test_whoever_does_not_declare_the_extension_gets_a_wait_that_is_held(dsn: str) -> None:
    async with (
        host(dsn, "alice", max_wait_seconds=0.2) as plain,
        host(dsn, "alice", era="legacy", max_wait_seconds=0.2) as old,
    ):
        for alice in (plain, old):
            assert (await alice.status("check_inbox", wait_seconds=LONG))["status"] == "waiting"
        with pytest.raises(MCPError) as refused:
            await get(plain.client, "any")
        assert refused.value.code == MISSING_REQUIRED_CLIENT_CAPABILITY
        with pytest.raises(MCPError) as unknown:
            await get(old.client, "any")
        assert unknown.value.code == METHOD_NOT_FOUND


@pytest.mark.requirement("mcp:tasks:foreign")
async def test_a_task_of_somebody_else_is_as_unknown_as_none(dsn: str) -> None:
    async with host(dsn, "alice", **TAKES) as alice, host(dsn, "mallory", **TAKES) as mallory:
        task = await begun(alice.client, "check_inbox", wait_seconds=LONG)
        said: set[tuple[int, str]] = set()
        for id in (task.task_id, "none", "", "\0", "ü", "x" * 10_000):
            for ask in (get, cancel, update):
                with pytest.raises(MCPError) as refused:
                    await ask(mallory.client, id)
                said.add((refused.value.code, refused.value.message))
        assert said == {(INVALID_PARAMS, "There is no such task.")}
        assert (await get(alice.client, task.task_id)).status == "working"


@pytest.mark.requirement("mcp:tasks:cancel")
async def test_a_cancelled_task_ends_its_wait_and_nothing_else(dsn: str) -> None:
    async with host(dsn, "alice", **TAKES) as alice, host(dsn, "bob") as bob:
        await bob.status("check_inbox")
        task = await begun(alice.client, "send_and_wait", to="bob", message="?", wait_seconds=LONG)
        await update(alice.client, task.task_id)
        for _ in range(2):
            await cancel(alice.client, task.task_id)

        [question] = (await bob.status("check_inbox"))["items"]
        await bob.status("reply", question=question["question"], message="!")
        state = await get(alice.client, task.task_id)
        assert (state.status, state.result) == ("cancelled", None)
        [item] = (await alice.status("check_inbox"))["items"]
        assert item["text"] == "!"


@pytest.mark.requirement("mcp:tasks:end")
async def test_a_task_that_has_waited_long_enough_completes_and_says_what_to_do(dsn: str) -> None:
    async with host(dsn, "alice", **TAKES) as alice:
        task = await begun(alice.client, "check_inbox", wait_seconds=LONG)
        await execute(dsn, OVER)
        result = told(await get(alice.client, task.task_id))
        assert (result["status"], result["next"]) == ("waiting", "check_inbox(wait_seconds=3600)")
        assert told(await get(alice.client, task.task_id)) == result


@pytest.mark.requirement("mcp:tasks:end")
async def test_every_kind_of_wait_that_has_come_to_its_end_says_waiting_and_what_goes_on(dsn: str) -> None:
    async with host(dsn, "alice", **TAKES) as alice, host(dsn, "bob", **TAKES) as bob, host(dsn, "carol") as carol:
        for someone in (bob, carol):
            await someone.status("check_inbox")
        meeting = (await alice.status("create_meeting", title="Release", agents=["bob"]))["meeting"]
        attends = await begun(bob.client, "attend_meeting", meeting=meeting, wait_seconds=LONG)
        asks = await begun(bob.client, "send_and_wait", to="carol", message="?", wait_seconds=LONG)
        await alice.status("attend_meeting", meeting=meeting, wait_seconds=0)  # now it could be started
        await execute(dsn, OVER)

        waiting = told(await get(bob.client, attends.task_id))
        again = f'attend_meeting(meeting="{meeting}", wait_seconds=3600)'
        assert (waiting["status"], waiting["next"]) == ("waiting", again)
        unanswered = told(await get(bob.client, asks.task_id))
        assert (unanswered["status"], unanswered["next"]) == ("waiting", "check_inbox(wait_seconds=3600)")


@pytest.mark.requirement("mcp:tasks:long-waits")
async def test_whoever_takes_tasks_is_told_to_wait_long_and_nobody_else_is(dsn: str) -> None:
    short: dict[str, Any] = {"max_wait_seconds": 0.2}
    async with host(dsn, "alice", **short, **TAKES) as alice, host(dsn, "bob", **short) as bob:
        for host_, next_ in ((alice, "check_inbox(wait_seconds=3600)"), (bob, "check_inbox(wait_seconds=45)")):
            held = await host_.status("check_inbox", wait_seconds=0.1)
            assert (held["status"], held["next"]) == ("waiting", next_)
        asked = await alice.status("send_and_wait", to="bob", message="?", wait_seconds=0.1)
        assert asked["next"] == "check_inbox(wait_seconds=3600)"
        asked = await bob.status("send_and_wait", to="alice", message="?", wait_seconds=0.1)
        assert asked["next"] == "check_inbox(wait_seconds=45)" or "something else needs you" in asked["now"]


@pytest.mark.requirement("mcp:tasks:expiry")
async def test_an_expired_task_is_unknown_and_in_time_forgotten(dsn: str) -> None:
    async with host(dsn, "alice", **TAKES) as alice:
        task = await begun(alice.client, "check_inbox", wait_seconds=LONG)
        await execute(
            dsn,
            """UPDATE tasks SET created_at = created_at - interval '1 day', ends_at = created_at,
            expires_at = clock_timestamp()""",
        )
        with pytest.raises(MCPError) as refused:
            await get(alice.client, task.task_id)
        assert refused.value.code == INVALID_PARAMS


@pytest.mark.requirement("mcp:tasks:expiry")
async def test_what_has_expired_is_cleared_away_and_nothing_else_is(dsn: str) -> None:
    async with host(dsn, "alice", **TAKES) as alice, connect(dsn) as connection:
        tasks = [await begun(alice.client, "check_inbox", wait_seconds=LONG) for _ in range(2)]
        await execute(dsn, OVER)
        await connection.execute(
            "UPDATE tasks SET ends_at = created_at, expires_at = clock_timestamp() WHERE id = $1", tasks[0].task_id
        )
        await upkeep.forget(connection)
        assert await connection.fetch("SELECT id FROM tasks") == [(tasks[1].task_id,)]
        assert (await get(alice.client, tasks[1].task_id)).status == "completed"


@pytest.mark.requirement("mcp:tasks:poll-interval")
async def test_in_its_first_half_minute_it_is_asked_after_each_second_and_then_every_three(dsn: str) -> None:
    async with host(dsn, "alice", **TAKES) as alice:
        task = await begun(alice.client, "check_inbox", wait_seconds=LONG)
        for age, interval in (("0 s", 1_000), ("10 s", 1_000), ("20 s", 3_000), ("1 hour", 3_000)):
            async with connect(dsn) as connection:
                await connection.execute("UPDATE tasks SET created_at = created_at - $1::text::interval", age)
            assert (await get(alice.client, task.task_id)).poll_interval_ms == interval


@pytest.mark.requirement("mcp:tasks:polls")
async def test_polls_are_counted_apart_from_calls_and_not_without_end(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_messaging_mcp.tasks.POLLS_PER_MINUTE", 3)
    monkeypatch.setenv("AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE", "3")  # the client lists the tools once
    async with host(dsn, "alice", **TAKES) as alice:
        task = await begun(alice.client, "check_inbox", wait_seconds=LONG)
        for ask in (get, update):
            await ask(alice.client, task.task_id)
        await cancel(alice.client, task.task_id)
        for ask in (get, update, cancel):
            with pytest.raises(MCPError) as refused:
                await ask(alice.client, task.task_id)
            assert refused.value.code == TOO_MANY_REQUESTS
            assert refused.value.data["retryAfterSeconds"] > 0
        assert (await alice.status("check_inbox"))["status"] == "empty"
        assert (await alice.status("check_inbox"))["status"] == "not_now"


@pytest.mark.requirement("mcp:tasks:shown")
@pytest.mark.parametrize("first", ["is cancelled", "cannot be settled"])
async def test_what_no_task_has_told_ends_the_next_wait(dsn: str, first: str) -> None:
    async with (
        host(dsn, "alice", **TAKES) as alice,
        host(dsn, "bob") as bob,
        host(dsn, "carol", max_wait_seconds=0.1) as carol,
    ):
        await bob.status("check_inbox")
        asked = {"to": "bob", "message": "?", "wait_seconds": LONG}
        tasks = [await begun(alice.client, "send_and_wait", **asked) for _ in range(2)]
        await carol.status("send_and_wait", to="alice", message="May I?", wait_seconds=0.1)
        async with connect(dsn) as connection:
            if first == "is cancelled":  # while it is being looked at
                async with connection.transaction():
                    await connection.execute("UPDATE tasks SET state = 'cancelled' WHERE id = $1", tasks[0].task_id)
                    looking = asyncio.create_task(get(alice.client, tasks[0].task_id))
                    await eventually(lambda: fetch(dsn, WAITS_FOR_A_LOCK))
                assert (await looking).status == "cancelled"
            else:
                await connection.execute("ALTER TABLE tasks ADD CONSTRAINT none CHECK (state = 'working')")
                with pytest.raises(MCPError):
                    await get(alice.client, tasks[0].task_id)
                await connection.execute("ALTER TABLE tasks DROP CONSTRAINT none")
        result = told(await get(alice.client, tasks[1].task_id))
        assert "something else needs you first" in result["now"]
        assert "carol" in result["also"]
        held = await begin(alice.client, "send_and_wait", **asked)
        assert not isinstance(held, CallToolResult), "what was told ends no later wait"


@pytest.mark.requirement("mcp:tasks:most")
async def test_beyond_sixteen_tasks_waits_are_held(dsn: str) -> None:
    async with host(dsn, "alice", max_wait_seconds=0.2, **TAKES) as alice:
        for _ in range(16):
            await begun(alice.client, "check_inbox", wait_seconds=LONG)
        held = await begin(alice.client, "check_inbox", wait_seconds=LONG)
        assert isinstance(held, CallToolResult)
        assert held.structured_content is not None
        assert held.structured_content["status"] == "waiting"


@pytest.mark.requirement("mcp:tasks:any-process")
async def test_a_task_outlives_its_process_and_is_answered_for_by_another(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob")
    async with serving(dsn) as first, serving(dsn) as second, AsyncExitStack() as stack:

        async def joined(address: str, agent: str) -> Host:
            options: dict[str, Any] = TAKES if agent == "alice" else {}
            return await stack.enter_async_context(
                network_host(address, tokens[agent], agent, transport="http", **options)
            )

        alice, bob = await joined(first.address, "alice"), await joined(second.address, "bob")
        await bob.status("check_inbox")
        task = await begun(alice.client, "send_and_wait", to="bob", message="?", wait_seconds=LONG)
        await first.kill()
        elsewhere = await joined(second.address, "alice")
        assert (await get(elsewhere.client, task.task_id)).status == "working"
        [question] = (await bob.status("check_inbox"))["items"]
        await bob.status("reply", question=question["question"], message="still here")

        result = told(await settles(lambda: get(elsewhere.client, task.task_id)))
        assert result["answer"]["text"] == "still here"


@pytest.mark.requirement("mcp:tasks:any-process")
async def test_a_task_outlives_every_process_and_its_result_does_too(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob")
    results: list[dict[str, Any]] = []
    task: Created | None = None
    for run in range(3):
        async with (
            serving(dsn) as served,
            network_host(served.address, tokens["alice"], "alice", transport="http", **TAKES) as alice,
            network_host(served.address, tokens["bob"], "bob", transport="sse") as bob,
        ):
            if task is None:
                task = await begun(alice.client, "check_inbox", wait_seconds=LONG)
                continue
            if run == 1:
                assert (await get(alice.client, task.task_id)).status == "working"
                await bob.status("send", to="alice", message="one")
            results.append(told(await settles(partial(get, alice.client, task.task_id))))
            await bob.status("send", to="alice", message="two")
    assert results[0] == results[1]
    assert [item["text"] for item in results[0]["items"]] == ["one"]


@pytest.mark.requirement("mcp:tasks:header")
async def test_a_request_that_names_another_task_in_its_header_is_refused(dsn: str) -> None:
    tokens = await tokens_of(dsn, "alice")
    async with (
        serving(dsn) as served,
        network_host(served.address, tokens["alice"], "alice", transport="http", **TAKES) as alice,
        httpx2.AsyncClient() as client,
    ):
        task = await begun(alice.client, "check_inbox", wait_seconds=LONG)
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
        }
        for name, expected in ((task.task_id, None), ("another", HEADER_MISMATCH)):
            answered = await client.post(
                f"{served.address}/mcp",
                headers={
                    "Authorization": f"Bearer {tokens['alice']}",
                    "Accept": "application/json, text/event-stream",
                    "MCP-Protocol-Version": "2026-07-28",
                    "Mcp-Method": "tasks/get",
                    "Mcp-Name": name,
                },
                json={
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "tasks/get",
                    "params": {"taskId": task.task_id, "_meta": meta},
                },
            )
            assert answered.json().get("error", {}).get("code") == expected, answered.text
            assert answered.status_code == (400 if expected else 200)
