"""`make conformance` without the suite itself: the server that it is run against, the verdicts, and the page."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp_types import TextResourceContents

from agent_messaging_mcp import tools
from tests.mcp_server.hosts import Era, both_eras
from tools.conformance import fixtures
from tools.conformance.judgement import objections, reasons
from tools.conformance.page import PAGE, page
from tools.conformance.process import serving
from tools.conformance.suite import RUNS, Outcome, read_checks

OURS = {spec.name for spec in tools.ALL}
THEIRS = fixtures.NAMES
RUN = RUNS[0]
EXTENSIONS = RUNS[-1]


def outcome(scenario: str, **statuses: str) -> Outcome:
    """What the suite would have written, from the status of each check."""
    return Outcome(scenario, read_checks([{"id": id, "status": status} for id, status in statuses.items()]))


def judged(*outcomes: Outcome, **expected: str) -> list[str]:
    return objections({RUN: outcomes}, {name.replace("__", ":"): why for name, why in expected.items()})


@pytest.mark.requirement("conformance:server:real")
@both_eras
async def test_the_suite_meets_our_tools_and_its_own_on_the_app_that_serve_serves(dsn: str, tmp_path: Path, era: Era):
    with serving(tmp_path / "log", DATABASE_URL=dsn) as url:
        async with asyncio.timeout(90), Client(url, mode=era) as client:
            listed = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert len(OURS) == 14
            assert listed.keys() == OURS | THEIRS
            assert listed["json_schema_2020_12_tool"].input_schema == fixtures.SCHEMA_2020_12
            prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
            assert prompts > {prompt.__name__ for prompt in fixtures.PROMPTS}
            [content] = (await client.read_resource("test://static-text")).contents
            assert isinstance(content, TextResourceContents)
            assert content.text == fixtures.static_text()
            me = await client.call_tool("list_agents", {})
            assert me.structured_content is not None
            assert "conformance" in str(me.structured_content["now"])
    assert "Traceback" not in (tmp_path / "log").read_text("utf-8")


@pytest.mark.requirement("conformance:server:real")
async def test_only_a_request_without_a_token_is_given_one_and_the_edge_looks_at_it_all_the_same(
    dsn: str, tmp_path: Path
):
    async def status(**headers: str) -> int:
        sent = {"accept": "application/json, text/event-stream", **headers}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        return (await client.post(url, json=asked, headers=sent)).status_code

    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    with serving(tmp_path / "log", DATABASE_URL=dsn) as url:
        async with asyncio.timeout(90), httpx2.AsyncClient(timeout=90) as client:
            assert await status() == 200
            assert await status(authorization="Bearer of-another-world") == 401
            assert await status(authorization="") == 401
            assert await status(host="evil.example.com") == 421
            assert await status(origin="http://evil.example.com") == 403


@pytest.mark.requirement("conformance:verdict:both-ways")
def test_what_does_not_pass_is_objected_to_unless_it_is_expected():
    failing = outcome("ping", a="SUCCESS", b="FAILURE")
    assert judged(outcome("ping", a="SUCCESS", b="INFO", c="SKIPPED")) == []
    assert judged(failing) == [f"{RUN.title}: ping does not pass: b: "]
    assert judged(failing, ping="a reason") == []
    assert judged(failing, ping__b="a reason") == []


@pytest.mark.requirement("conformance:verdict:both-ways")
def test_a_warning_is_no_pass():
    assert judged(outcome("ping", a="SUCCESS", b="WARNING")) == [f"{RUN.title}: ping does not pass: b: "]


@pytest.mark.requirement("conformance:verdict:both-ways")
def test_what_passes_though_it_is_expected_not_to_is_objected_to():
    passing = outcome("ping", a="SUCCESS", b="SUCCESS")
    assert len(judged(passing, ping="a reason")) == 1
    assert len(judged(passing, ping__b="a reason")) == 1
    assert len(judged(outcome("ping", a="SUCCESS", b="SKIPPED"), ping__b="a reason")) == 1


@pytest.mark.requirement("conformance:verdict:both-ways")
def test_one_expected_check_excuses_no_other():
    found = judged(outcome("ping", a="FAILURE", b="FAILURE"), ping__b="a reason")
    assert found == [f"{RUN.title}: ping does not pass: a: "]


@pytest.mark.requirement("conformance:verdict:both-ways")
def test_what_did_not_run_or_was_skipped_is_no_pass():
    assert judged(outcome("ping")) == [f"{RUN.title}: ping did not run"]
    assert judged(outcome("ping"), ping="a reason") == [f"{RUN.title}: ping did not run"]
    skipped = Outcome(
        "ping", read_checks([{"id": "a", "status": "SKIPPED"}, {"id": "wire-schema-valid", "status": "SUCCESS"}])
    )
    assert judged(skipped) == [f"{RUN.title}: ping was skipped by the suite"]
    assert judged(skipped, ping="a reason") == []


@pytest.mark.requirement("conformance:verdict:both-ways")
def test_what_is_expected_of_a_scenario_that_is_in_no_run_is_objected_to():
    passing = outcome("ping", a="SUCCESS")
    assert judged(passing, gone="a reason") == ["gone is in expected.toml and in no run"]


@pytest.mark.requirement("conformance:page")
def test_the_page_tells_every_scenario_and_why_it_does_not_pass():
    outcomes = {
        RUN: [outcome("ping", a="SUCCESS", b="SUCCESS"), outcome("logging", a="SUCCESS", b="FAILURE")],
        EXTENSIONS: [outcome("tasks", a="SKIPPED")],
    }
    written = page(outcomes, {"logging": "It is deprecated.", "tasks": "Not offered."}, "v22.0.0")
    assert "Node 22.0.0" in written
    for row in (
        "| `ping` | 2 |",
        "| `logging` | **1 of 2** |",
        "| `tasks` | skipped |",
        "| scenarios that pass | 1 of 2 |",
        "| `logging` | It is deprecated. |",
        "| `tasks` | Not offered. |",
    ):
        assert row in written.splitlines()


@pytest.mark.requirement("conformance:page")
def test_the_page_in_the_repository_is_of_the_expected_reasons():
    written = PAGE.read_text("utf-8")
    why = {
        line.rsplit(" | ", 1)[1].removesuffix(" |")
        for line in written.split("| scenarios | reason |")[1].splitlines()[2:]
    }
    assert why == set(reasons().values())
