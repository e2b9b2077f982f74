"""Spans of OpenTelemetry, as an exporter gets them: tool call, operation, statement; and none without its SDK."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent_messaging.async_conversation import AsyncConversation
from agent_messaging.directory import Directory
from agent_messaging.inbox import Inbox
from agent_messaging.meetings import MeetingManager
from agent_messaging.one_way import OneWayMessenger
from agent_messaging.sync_conversation import SyncConversation
from tests.mcp_server.programs.traced import SECRET

ROOT = Path(__file__).parents[2]
ALLOWED = {
    *("agent_messaging.agent", "agent_messaging.with_agent", "agent_messaging.question", "agent_messaging.meeting"),
    *("db.system.name", "db.operation.name", "db.query.text", "db.operation.batch.size", "error.type"),
}
WITHOUT_THE_SDK = """
import asyncio, importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "opentelemetry" or name.startswith("opentelemetry."):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())

from agent_messaging import AgentMessaging
from agent_messaging.coalescing import Coalescer
from agent_messaging.sync_conversation import SyncConversation

async def main():
    async with AgentMessaging() as sdk:
        await sdk.register_organization("acme", "Acme")
        for name in ("alice", "bob"):
            await sdk.register_agent(name, "acme", name)
        await sdk.async_conversation.send("alice", "bob", "hello")
        async with sdk._engine.database.connection() as connection:
            loggers = connection._con._query_loggers
        print(
            hasattr(SyncConversation.send_and_wait, "__wrapped__"),
            type(sdk._engine.outbox.send) is Coalescer,
            [before.__name__ for before in sdk._engine.before_calls],
            len(loggers),
            [name for name in sys.modules if name.startswith("opentelemetry")],
        )

asyncio.run(main())
"""


@dataclass(frozen=True)
class Spans:
    """What a program exported."""

    all: list[dict[str, Any]]
    text: str

    def named(self, name: str) -> list[dict[str, Any]]:
        return [span for span in self.all if span["name"] == name]

    def below(self, span: dict[str, Any]) -> list[str]:
        return [child["name"] for child in self.all if child["parent"] == span["id"]]

    @property
    def ours(self) -> list[dict[str, Any]]:
        return [span for span in self.all if span["scope"] == "agent_messaging"]


async def _ran(*command: str, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=ROOT,
        env={"PATH": "", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(200):
            printed, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complained.decode()
    return printed.decode()


async def traced(scenario: str, dsn: str) -> Spans:
    text = await _ran("-m", "tests.mcp_server.programs.traced", scenario, dsn)
    return Spans([json.loads(line) for line in text.splitlines()], text)


@pytest.mark.requirement("tracing:tree")
async def test_a_question_over_mcp_is_a_tool_call_with_its_operation_and_its_statements(dsn: str) -> None:
    spans = await traced("ask", dsn)
    (call,) = spans.named("tools/call send_and_wait")
    assert "SyncConversation.ask" in spans.below(call)
    (asked,) = spans.named("SyncConversation.ask")
    assert {"send_messages", "get_outcomes"} <= set(spans.below(asked))
    assert asked["attributes"] == {"agent_messaging.agent": "alice", "agent_messaging.with_agent": "bob"}
    (answered,) = spans.named("SyncConversation.answer")
    assert answered["parent_name"] == "tools/call reply"
    assert answered["attributes"]["agent_messaging.agent"] == "bob"
    assert spans.below(answered) == ["question_parties", "answer_questions"]


@pytest.mark.requirement("tracing:tree")
async def test_a_statement_has_the_attributes_of_the_conventions_and_lies_within_its_operation(dsn: str) -> None:
    spans = await traced("ask", dsn)
    by_id = {span["id"]: span for span in spans.all}
    statements = [span for span in spans.ours if span["kind"] == "CLIENT"]
    assert len(statements) > 20
    for statement in statements:
        told = statement["attributes"]
        assert told.keys() == {"db.system.name", "db.operation.name", "db.query.text"}
        assert (told["db.system.name"], told["db.operation.name"]) == ("postgresql", statement["name"])
        assert statement["start"] <= statement["end"]
        caller = by_id[statement["parent"]]
        assert caller["start"] - 1_000_000 <= statement["start"] <= caller["end"]  # two clocks, in nanoseconds
    (stored,) = [span for span in statements if span["name"] == "send_messages"]
    assert stored["attributes"]["db.query.text"].startswith("SELECT * FROM send_messages($1, $2,")


@pytest.mark.requirement("tracing:batches")
async def test_a_statement_for_many_callers_is_linked_with_each_of_them(dsn: str) -> None:
    spans = await traced("together", dsn)
    sends = spans.named("AsyncConversation.send")
    assert len(sends) == 20
    batches = spans.named("Outbox.send")
    assert batches
    for batch in batches:
        assert batch["parent_name"] == "AsyncConversation.send"
        assert spans.below(batch) == ["send_messages"]
        assert len(batch["links"]) + 1 == batch["attributes"]["db.operation.batch.size"]
    alone = [send for send in sends if "send_messages" in spans.below(send)]
    began = [send for send in sends if "Outbox.send" in spans.below(send)]
    linked = [send for send in sends if send["links"] == ["Outbox.send"]]
    assert len(alone) + len(began) + len(linked) == 20


@pytest.mark.requirement("tracing:errors")
async def test_what_failed_is_told_by_the_type_of_its_error_alone(dsn: str) -> None:
    spans = await traced("failing", dsn)
    sends = spans.named("AsyncConversation.send")
    assert [send["attributes"]["error.type"] for send in sends] == ["AgentNotFoundError", "UndefinedTableError"]
    assert {send["status"] for send in sends} == {"ERROR"}
    (asked,) = spans.named("SyncConversation.send_and_wait")
    assert asked["attributes"]["error.type"] == "ConversationTimeoutError"
    assert not spans.named("SyncConversation.ask"), "a part of an operation is none"
    (waited,) = spans.named("AsyncConversation.wait_for_message")
    assert (waited["attributes"]["error.type"], waited["status"]) == ("CancelledError", "UNSET")
    assert waited["attributes"]["agent_messaging.agent"] == "alice", "the recipient acts"
    (statement,) = [span for span in spans.named("send_messages") if span["status"] == "ERROR"]
    assert statement["attributes"]["error.type"] == "42P01"
    assert [span["description"] for span in spans.ours if span["description"]] == []
    assert [span["events"] for span in spans.ours if span["events"]] == []


@pytest.mark.requirement("tracing:background")
async def test_what_a_process_does_by_itself_belongs_to_no_call_whichever_began_it(dsn: str) -> None:
    spans = await traced("background", dsn)
    statements = {span["name"] for span in spans.ours if span["kind"] == "CLIENT"}
    assert "send_messages" in statements
    assert not statements & {"expire_questions", "due_meetings", "inbox_states", "claim", "finish", "agents_with_work"}
    assert [span["name"] for span in spans.ours if span["kind"] == "CLIENT" and span["parent"] is None] == []
    asked = spans.named("SyncConversation.send_and_wait")
    assert [span["parent_name"] for span in asked] == ["opening", "later"]
    of_the_handler = spans.named("AsyncConversation.send")
    assert [span["parent"] for span in of_the_handler] == [None, None]
    assert all("send_messages" in spans.below(span) for span in [*asked, *of_the_handler])


@pytest.mark.requirement("tracing:no-content")
@pytest.mark.parametrize("scenario", ["ask", "together", "failing", "outage"])
async def test_no_span_holds_what_somebody_wrote_or_a_password(dsn: str, scenario: str) -> None:
    spans = await traced(scenario, dsn)
    assert spans.all
    assert SECRET not in spans.text
    assert {name for span in spans.ours for name in span["attributes"]} <= ALLOWED


@pytest.mark.requirement("tracing:off")
async def test_without_the_sdk_nothing_is_wrapped_and_nothing_is_imported(dsn: str) -> None:
    printed = await _ran("-c", WITHOUT_THE_SDK, DATABASE_URL=dsn)
    assert printed == "False True ['settle', 'settle'] 0 []\n"


@pytest.mark.requirement("tracing:off")
async def test_with_the_sdk_and_without_a_provider_no_statement_is_looked_at(dsn: str) -> None:
    code = WITHOUT_THE_SDK.replace("sys.meta_path.insert(0, Blocked())", "")
    printed = await _ran("-c", code, DATABASE_URL=dsn)
    assert printed.startswith("True True ")
    assert " 0 [" in printed


@pytest.mark.requirement("tracing:tree")
@pytest.mark.parametrize(
    "service", [OneWayMessenger, SyncConversation, AsyncConversation, MeetingManager, Inbox, Directory]
)
def test_every_call_of_a_service_is_an_operation(service: type) -> None:
    calls = [method for name, method in vars(service).items() if not name.startswith("_") and callable(method)]
    assert calls
    assert all(hasattr(method, "__wrapped__") for method in calls)
