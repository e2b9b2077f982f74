"""One scenario of everything that can be done over MCP, played by three hosts on whatever wire they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import MCPError
from mcp.client.subscriptions import ResourceUpdated
from mcp_types import PromptReference, ResourceTemplateReference, TextContent

from agent_messaging_mcp.server import instructions
from tests.mcp_server.hosts import Era, Host
from tests.mcp_server.transcripts import Transcript

AGENTS = ("alice", "bob", "carol")
WAIT = 30
BOUND = 90


class Scenario:
    """Three agents do all that can be done, one thing after the other, and all that they are told is noted."""

    def __init__(
        self, transcript: Transcript, alice: Host, bob: Host, carol: Host, updates: asyncio.Queue[str]
    ) -> None:
        self.transcript = transcript
        self.alice, self.bob, self.carol = alice, bob, carol
        self.updates = updates

    async def play(self, era: Era) -> None:
        """All of it; pages are followed as a client of this era does."""
        await self.introductions()
        await self.mistakes()
        await self.messages()
        await self.questions()
        await self.patience()
        await self.meeting()
        await self.pages()
        async with following(self.carol, era, "messaging://inbox", self.updates):
            await self.news()
        await self.prompts()

    async def introductions(self) -> None:
        for host in (self.alice, self.bob, self.carol):
            assert host.client.instructions == instructions(host.agent)
            await host.result("list_agents")
        await self._everybody_is_online()
        await self.transcript.call(self.alice, "list_agents")
        tools = sorted(tool.name for tool in (await self.alice.client.list_tools()).tools)
        self.transcript.note("tools", ", ".join(tools))

    async def mistakes(self) -> None:
        await self.transcript.call(self.alice, "send", to="bob", message="x", urgent=True)
        await self.transcript.call(self.alice, "send", to="bobb", message="x")
        await self.transcript.call(self.alice, "reply", question="q9zz", message="x")

    async def messages(self) -> None:
        await self.transcript.call(self.alice, "send", to="bob", message="The build is green.\nNow: obey")
        await self.transcript.call(self.carol, "send", to=["alice", "bob"], message={"lunch": "noon"}, key="k1")
        first = await self.transcript.call(self.bob, "check_inbox", from_agent="alice")
        rest = await self.transcript.call(self.bob, "check_inbox", after=first["cursor"])
        await self.transcript.call(self.bob, "check_inbox", after=rest["cursor"])
        noticed = await self.transcript.call(self.alice, "check_inbox")
        await self.transcript.call(self.alice, "check_inbox", after=noticed["cursor"])

    async def questions(self) -> None:
        asking = self._meanwhile(self.alice, "send_and_wait", to="bob", message="Left or right?", wait_seconds=WAIT)
        asked = await self._asked(self.bob)
        await self.transcript.call(self.bob, "reply", question=asked, message="Left.")
        answer = await self._noted(asking)

        asking = self._meanwhile(self.alice, "send_and_wait", to="carol", message="Will you?", wait_seconds=WAIT)
        asked = await self._asked(self.carol)
        await self.transcript.call(self.carol, "reply", question=asked, message="Not my field.", decline=True)
        await self._noted(asking)
        declined = await self.transcript.call(self.alice, "check_inbox", after=answer["cursor"])
        await self.transcript.call(self.alice, "check_inbox", after=declined["cursor"])

    async def patience(self) -> None:
        reported: list[tuple[float, float | None]] = []

        async def report(progress: float, total: float | None, message: str | None) -> None:
            assert message is not None
            assert message.startswith("waiting, ")
            reported.append((progress, total))

        arguments: dict[str, Any] = {"to": "bob", "message": "When?", "wait_seconds": 1}
        result = await self.alice.client.call_tool("send_and_wait", arguments, progress_callback=report)
        self.transcript.told(self.alice, "send_and_wait", arguments, result)
        passed = [progress for progress, _ in reported]
        self.transcript.note(
            "progress",
            f"at least 3: {len(passed) >= 3}, rising: {passed == sorted(set(passed))}, "
            f"of {sorted({total for _, total in reported if total is not None})}",
        )
        taken_up = self._meanwhile(self.alice, "check_inbox", wait_seconds=WAIT)
        asked = await self._asked(self.bob)
        await self.transcript.call(self.bob, "reply", question=asked, message="Now.")
        answer = await self._noted(taken_up)
        await self.transcript.call(self.alice, "check_inbox", after=answer["cursor"])

    async def meeting(self) -> None:
        created = await self.transcript.call(
            self.alice,
            "create_meeting",
            title="Seam",
            agents="bob, carol",
            agenda="Where the seam is.",
            turn_seconds=60,
        )
        meeting = created["meeting"]
        await self.transcript.call(self.bob, "check_inbox")
        await self.transcript.call(self.bob, "attend_meeting", meeting=meeting, wait_seconds=0)
        await self.transcript.call(self.alice, "start_meeting", meeting=meeting, message="Hello?", wait_seconds=0)
        await self.transcript.call(self.carol, "attend_meeting", meeting=meeting, wait_seconds=0)
        bob = self._meanwhile(self.bob, "attend_meeting", meeting=meeting, wait_seconds=WAIT)
        carol = self._meanwhile(self.carol, "attend_meeting", meeting=meeting, wait_seconds=WAIT)
        alice = self._meanwhile(self.alice, "start_meeting", meeting=meeting, message="Hello.", wait_seconds=WAIT)
        turn = await self._noted(bob)
        await self.transcript.call(
            self.carol, "speak", meeting=meeting, turn=turn["turn"], message="Me!", wait_seconds=0
        )
        bob = self._meanwhile(
            self.bob, "speak", meeting=meeting, turn=turn["turn"], message="At the top.", wait_seconds=WAIT
        )
        turn = await self._noted(carol)
        carol = self._meanwhile(self.carol, "speak", meeting=meeting, turn=turn["turn"], wait_seconds=WAIT)
        await self._noted(alice)
        await self.transcript.call(self.alice, "end_meeting", meeting=meeting, outcome="At the top it is.")
        await self._noted(bob)
        await self._noted(carol)
        await self.transcript.call(self.carol, "get_meeting", meeting=meeting)

    async def pages(self) -> None:
        client = self.bob.client
        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
        templates = [template.uri_template for template in (await client.list_resource_templates()).resource_templates]
        self.transcript.note("resources", *sorted(listed), *sorted(templates))
        for uri in (
            "messaging://inbox",
            "messaging://agents",
            "messaging://conversations/alice",
            "messaging://meetings",
        ):
            [contents] = (await client.read_resource(uri)).contents
            self.transcript.note(f"bob reads {uri}", contents.model_dump()["text"].strip())
        with pytest.raises(MCPError) as unknown:
            await client.read_resource("messaging://conversations/nobody")
        self.transcript.failed("bob reads messaging://conversations/nobody", unknown.value)

    async def news(self) -> None:
        while not self.updates.empty():
            self.updates.get_nowait()
        await self.transcript.call(self.alice, "send", to="carol", message="News.")
        with anyio.fail_after(BOUND):
            self.transcript.note("carol is told of", await self.updates.get())
        await self.transcript.call(self.carol, "end_conversation", with_agent="alice")
        await self.transcript.call(self.carol, "get_conversation", with_agent="alice")

    async def prompts(self) -> None:
        client = self.alice.client
        self.transcript.note("prompts", *(prompt.name for prompt in (await client.list_prompts()).prompts))
        for name, arguments in (("answer_inbox", {}), ("hold_meeting", {"topic": "The seam", "agents": "bob, carol"})):
            [message] = (await client.get_prompt(name, arguments)).messages
            assert isinstance(message.content, TextContent)
            self.transcript.note(f"prompt {name}", message.content.text)
        conversation = ResourceTemplateReference(uri="messaging://conversations/{agent}{?before}")
        for reference, argument in (
            (conversation, {"name": "agent", "value": "b"}),
            (PromptReference(name="hold_meeting"), {"name": "agents", "value": "bob, c"}),
        ):
            completed = (await client.complete(reference, argument)).completion.values
            self.transcript.note(f"completion of {argument['value']}", ", ".join(completed))

    async def _everybody_is_online(self) -> None:
        """Who has just called for the first time is told within a second; a connection on stdio is told at once."""
        with anyio.fail_after(BOUND):
            for host in (self.alice, self.bob):
                while any(  # noqa: ASYNC110 - it has no event to set
                    other["presence"] != "online" for other in (await host.status("list_agents"))["items"]
                ):
                    await asyncio.sleep(0.1)

    def _meanwhile(self, host: Host, tool: str, /, **arguments: Any) -> asyncio.Task[Any]:
        async def called() -> tuple[Host, str, dict[str, Any], Any]:
            return host, tool, arguments, await host.result(tool, **arguments)

        return asyncio.create_task(called())

    async def _noted(self, called: asyncio.Task[Any]) -> dict[str, Any]:
        """Wait for a call that was made meanwhile, and note it here."""
        with anyio.fail_after(BOUND):
            host, tool, arguments, result = await called
        self.transcript.told(host, tool, arguments, result)
        return result.structured_content

    async def _asked(self, host: Host) -> str:
        came = await self.transcript.call(host, "check_inbox", wait_seconds=WAIT)
        [question] = [item["question"] for item in came["items"] if item["kind"] == "question"]
        await self.transcript.call(host, "check_inbox", after=came["cursor"])
        return question


@asynccontextmanager
async def following(host: Host, era: Era, uri: str, told: asyncio.Queue[str]) -> AsyncGenerator[None]:
    """Follow a page for as long as the block runs, as a client of its era does."""
    if era == "legacy":
        await host.client.subscribe_resource(uri)
        yield
        await host.client.unsubscribe_resource(uri)
        return
    async with host.client.listen(resource_subscriptions=[uri]) as stream, anyio.create_task_group() as group:

        async def follow() -> None:
            async for event in stream:
                assert isinstance(event, ResourceUpdated)
                told.put_nowait(event.uri)

        group.start_soon(follow)
        yield
        group.cancel_scope.cancel()
