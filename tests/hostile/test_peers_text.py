"""What a peer writes stays data: whichever field it stands in and whatever result or page shows it, it leaves neither
its block nor its field, and who wrote it stays true.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from mcp_types import CallToolResult, TextResourceContents

from agent_messaging import AgentMessaging, AgentView, ConversationTimeoutError, MeetingTimeoutError, MessageContext
from tests.hostile.judge import Page, is_shown, misplaced, parsed
from tests.hostile.payloads import WORD, all_payloads
from tests.mcp_server.hosts import Host, host
from tests.mcp_server.readers import text_of
from tests.promises import THOROUGH, kept, tries
from tests.protocol.world import eventually, opened

HOME = "acme"
LONGEST_NAME = 200
LONGEST_TITLE = 200
LONGEST_AGENDA = 8_000
BOUND = 20


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here calls too often."""
    monkeypatch.setenv("AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE", "1000000")


@dataclass
class Attack:
    """One peer that writes one payload into all that it can, and the agent that reads it."""

    alice: Host
    peer: AgentView[Any]
    payload: str
    said_by_alice: set[str] = field(default_factory=set[str])
    shown_in: set[str] = field(default_factory=set[str])
    """Where the payload was seen: a place that shows nothing proves nothing."""
    wrong: list[str] = field(default_factory=list[str])
    looked: int = 0

    @property
    def name(self) -> str:
        return self.peer.external_id

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call as alice, and judge what she is shown."""
        result = await self.alice.result(tool, **arguments)
        self.judge(tool, result)
        return result.structured_content or {}

    def judge(self, tool: str, result: CallToolResult) -> None:
        self.looked += 1
        text, structure = text_of(result), result.structured_content
        try:
            found = misplaced(text, structure)
            if structure is not None:
                found += self._untrue(structure)
                found += differing(parsed(text), structure)
        except AssertionError as unreadable:
            found = [str(unreadable)]
        self.wrong += [f"{tool}: {one}" for one in found]
        if WORD in text:
            self.shown_in.add(f"{tool} {'' if structure is None else structure['status']}")

    def _untrue(self, structure: dict[str, Any]) -> list[str]:
        """What stands beside a name whose bearer did not write it."""
        wrong: list[str] = []
        for entry in entries_of(structure):
            text, sender = entry.get("text"), entry.get("from")
            if text is None or sender == "the meeting" or (sender == "alice" and text in self.said_by_alice):
                continue
            written = (
                json.dumps({self.payload: [self.payload]}, ensure_ascii=False) if entry.get("json") else self.payload
            )
            if sender != self.name or not is_shown(text, written):
                wrong.append(f"{sender} did not write {text[:120]!r}")
        for name in ("title", "agenda", "outcome", "reason"):
            if name in structure and not any(
                is_shown(structure[name], self.payload[:length], cut_at=500 if name == "title" else 6_000)
                for length in (len(self.payload), LONGEST_TITLE, LONGEST_AGENDA)
            ):
                wrong.append(f"the {name} is {structure[name][:120]!r}")
        return wrong

    async def read(self, uri: str) -> None:
        """Read a resource as alice, and judge it."""
        self.looked += 1
        [content] = (await self.alice.client.read_resource(uri)).contents
        assert isinstance(content, TextResourceContents)
        try:
            found = misplaced(content.text, None)
        except AssertionError as unreadable:
            found = [str(unreadable)]
        self.wrong += [f"{uri}: {one}" for one in found]
        if WORD in content.text:
            self.shown_in.add(f"resource {re.sub(r'peer-[0-9]+|m[0-9][0-9a-z]+', '…', uri)}")


def entries_of(structure: dict[str, Any]) -> list[dict[str, Any]]:
    """What the structure shows one by one, in order."""
    answer = [structure["answer"]] if "answer" in structure else []
    return [*answer, *structure.get("said", ()), *structure.get("items", ())]


def differing(page: Page, structure: dict[str, Any]) -> list[str]:
    """Where the blocks of the text are not what the structure says, name by name and word by word."""
    wrong: list[str] = []
    about = {name: structure[name] for name in ("title", "agenda", "outcome", "reason") if name in structure}
    blocks = list(page.blocks)
    if about and (blocks.pop(0).fields() != about):
        wrong.append("title, agenda, outcome or reason differ")
    if structure.get("events"):
        events = blocks.pop(0)
        if events.label != "events" or len(events.lines) != len(structure["events"]):
            wrong.append("events differ")
    entries = [entry for entry in entries_of(structure) if {"text", "title", "name"} & entry.keys()]
    if len(blocks) != len(entries):
        return [*wrong, f"{len(blocks)} blocks for {len(entries)} entries"]
    for block, entry in zip(blocks, entries, strict=True):
        sender = "your turn" if entry.get("kind") == "turn" else entry.get("from", entry.get("agent"))
        if str(sender) not in block.label.replace("event", "the meeting"):
            wrong.append(f"{block.label!r} is of {sender}")
        shown = {"text": block.text} if "text" in entry else block.fields()
        if any(entry[name] != text for name, text in shown.items()):
            wrong.append(f"{block.label!r} differs")
    return wrong


async def everything_from(attack: Attack) -> list[dict[str, Any]]:
    """Read alice's inbox to its end, as some payloads fill more than one result."""
    items: list[dict[str, Any]] = []
    seen = await attack.call("check_inbox", from_agent=attack.name)
    while seen.get("items") and "cursor" in seen:
        items += seen["items"]
        seen = await attack.call("check_inbox", from_agent=attack.name, after=seen["cursor"])
    return items


async def messages(attack: Attack) -> None:
    """Messages, notices and questions, in every form, and all the places that show them."""
    extra: dict[str, Any] = {"metadata": {WORD: attack.payload}}
    await attack.peer.send("alice", attack.payload, **extra)
    await attack.peer.send("alice", {attack.payload: [attack.payload]}, **extra)
    await attack.peer.notify(["alice"], attack.payload, **extra)
    with pytest.raises(ConversationTimeoutError):
        await attack.peer.ask("alice", attack.payload, timeout=0, **extra)
    await attack.call("list_agents", query=attack.name)
    await attack.call("send", to=f"{attack.name}x", message=attack.payload[:50].replace(WORD, ""))
    items = await everything_from(attack)
    await attack.call("get_conversation", with_agent=attack.name)
    for uri in ("messaging://inbox", "messaging://agents", f"messaging://conversations/{attack.name}"):
        await attack.read(uri)
    question, *_ = [item["question"] for item in items if item["kind"] == "question"]
    attack.said_by_alice |= {"no", "?", "why?"}
    await attack.call("reply", question=question, message="no", decline=True)


async def answers(attack: Attack) -> None:
    """An answer, a late one that comes to the inbox, and the reason for giving none."""

    async def asked() -> str | None:
        page = await attack.peer.inbox(from_agent="alice")
        return next((item.handle for item in page.items if item.owed), None)

    for decline, words in ((False, "?"), (True, "why?")):
        asking = asyncio.create_task(
            attack.alice.result("send_and_wait", to=attack.name, message=words, wait_seconds=BOUND)
        )
        question = await eventually(asked)
        assert question is not None
        await attack.peer.reply(question, attack.payload, decline=decline)
        attack.judge("send_and_wait", await asking)
    later = await attack.call("send_and_wait", to=attack.name, message="?", wait_seconds=0, key=attack.name)
    await attack.peer.reply(later["question"], attack.payload, decline=True)
    await everything_from(attack)


async def failure(attack: Attack) -> None:
    """An error, with the payload as its words, of the handler that was asked: they are nobody's business."""
    before = set(attack.shown_in)
    result = await attack.call("send_and_wait", to="faulty", message="?", wait_seconds=BOUND)
    assert result["status"] == "failed", result
    if attack.shown_in != before:
        attack.wrong.append("what a handler raised is shown")


async def meeting(attack: Attack) -> None:
    """Title, agenda, opening, speech and outcome, from the invitation to the history."""
    payload = attack.payload
    held = await attack.peer.create_meeting(["alice"], title=payload[:LONGEST_TITLE], agenda=payload[:LONGEST_AGENDA])
    uri = f"messaging://meetings/{held.handle}"
    invited = await attack.call("check_inbox")
    await attack.call("check_inbox", after=invited.get("cursor", ""))
    await attack.call("attend_meeting", meeting=held.handle, wait_seconds=0)
    await attack.peer.start_meeting(held.handle, payload, "alice", wait=False)
    await attack.call("check_inbox")
    await attack.read("messaging://inbox")
    turn = await attack.call("attend_meeting", meeting=held.handle, wait_seconds=BOUND)
    await attack.call("speak", meeting=held.handle, turn=turn["turn"], wait_seconds=0)
    mine = await attack.peer.attend_meeting(held.handle, timeout=BOUND)
    with pytest.raises(MeetingTimeoutError):
        await attack.peer.speak(held.handle, {payload: [payload]}, turn=mine.turn, timeout=0)
    await attack.call("attend_meeting", meeting=held.handle, wait_seconds=BOUND)
    await attack.call("get_meeting", meeting=held.handle)
    await attack.peer.end_meeting(held.handle, outcome=payload[:LONGEST_AGENDA])
    await attack.call("attend_meeting", meeting=held.handle, wait_seconds=0)
    await attack.call("speak", meeting=held.handle, turn=99, message="x", wait_seconds=0)
    await attack.call("get_meeting", meeting=held.handle, after="0")
    for page in ("messaging://meetings", uri, f"{uri}/history"):
        await attack.read(page)


async def peer_named(sdk: AgentMessaging[Any], number: int, payload: str) -> AgentView[Any]:
    """A peer from an organization that alice's lets in; both are called what the payload says."""
    name = f"peer-{number}"
    await sdk.register_organization(f"of-{name}", payload[:LONGEST_NAME])
    await sdk.register_agent(name, f"of-{name}", payload[:LONGEST_NAME])
    await sdk.allow_organization(f"of-{name}", HOME)
    await sdk.allow_organization(HOME, f"of-{name}")
    view = sdk.as_agent(name, within_organization=True)
    await view.called()
    return view


@pytest.mark.requirement("mcp:peers:fenced")
@pytest.mark.requirement("mcp:peers:visible")
@pytest.mark.requirement("mcp:resources:fenced")
@pytest.mark.timeout(1_800)
async def test_whatever_a_peer_writes_stays_where_peers_write(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    payloads = all_payloads()[: tries(60, 1_000)]
    wrong: list[str] = []
    shown_in: dict[str, int] = {}
    looked = 0
    raised = ""
    caplog.set_level(logging.CRITICAL, "agent_messaging")
    async with opened(dsn, "alice", "faulty", max_delivery_attempts=1) as sdk:

        @sdk.register_handler("faulty")
        async def fail(_message: Any, _context: MessageContext) -> None:
            raise ValueError(raised)

        async with host(dsn, "alice", organization=HOME) as alice:
            await alice.status("check_inbox")  # from now on it is known to read
            for number, payload in enumerate(payloads):
                attack = Attack(alice, await peer_named(sdk, number, payload), payload)
                steps: list[Callable[[Attack], Awaitable[None]]] = [messages, answers, meeting, failure]
                raised = payload
                async with asyncio.timeout(BOUND * 3):
                    for step in steps if THOROUGH else [steps[number % 4], steps[(number + 1) % 4]]:
                        await step(attack)
                wrong += [f"payload {number}: {one}" for one in attack.wrong]
                looked += attack.looked
                for place in attack.shown_in:
                    shown_in[place] = shown_in.get(place, 0) + 1
    print("\n".join(f"{place}: {count}" for place, count in sorted(shown_in.items())))
    print("\n".join(wrong[:30]))
    assert len(payloads) >= 60
    assert len(shown_in) >= 15, "some place showed nothing"
    kept("R16", "payloads in every field", tried=len(payloads), broken=len(wrong), results_judged=looked)


def test_there_are_three_hundred_payloads() -> None:
    payloads = all_payloads()
    assert len(payloads) == len(set(payloads)) >= 300
    assert all(WORD in payload for payload in payloads)
