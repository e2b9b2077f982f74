"""The commands of an operator: organizations, who reaches whom, agents, and their tokens."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent_messaging_mcp.cli import main
from tests.conftest import execute
from tests.protocol.world import eventually, fetch, opened

Run = Callable[..., Result]
TOKEN = re.compile(r"am_([0-9a-z]{8})_[A-Za-z0-9_-]{43}")
DAYS = {"30s": timedelta(seconds=30), "15m": timedelta(minutes=15), "12h": timedelta(hours=12)}
DAYS |= {"90d": timedelta(days=90), "2w": timedelta(weeks=2)}


def program(dsn: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command as a program of its own."""
    return subprocess.run(
        [sys.executable, "-m", "agent_messaging_mcp", *arguments],
        env={"PATH": os.environ.get("PATH", ""), "DATABASE_URL": dsn, **environment},
        capture_output=True,
        timeout=200,
        check=False,
    )


@pytest.fixture
def run(dsn: str) -> Run:
    """Runs a command in this process, on the test's database."""

    def run(*arguments: str, **environment: str) -> Result:
        given = {name: None for name in os.environ if name.startswith(("POSTGRES_", "AGENT_MESSAGING_"))}
        return CliRunner().invoke(main, arguments, env={**given, "DATABASE_URL": dsn, **environment})

    return run


def said(result: Result) -> str:
    """What a command that succeeded printed on its standard output."""
    assert result.exit_code == 0, result.output
    return result.stdout


def told(result: Result) -> Any:
    return json.loads(said(result))


def error(result: Result, code: int = 1) -> str:
    """The one line that a command failed with."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert code == 2 or result.stderr == f"{line}\n"
    return line.removeprefix("Error: ")


def table(text: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line) for line in text.splitlines()]


@pytest.mark.requirement("mcp:cli:operator")
def test_every_command_of_an_operator_runs_as_a_program(dsn: str) -> None:
    def command(*arguments: str) -> str:
        done = program(dsn, *arguments)
        assert done.returncode == 0, done.stderr
        assert (b"only time" in done.stderr) == (arguments[:2] == ("token", "create"))
        return done.stdout.decode()

    assert "acme is registered" in command("organization", "create", "acme", "--name", "Acme")
    assert "widgets is registered" in command("organization", "create", "widgets")
    assert "Neither reaches the other" in command("organization", "allow", "acme", "widgets")
    assert "acme          Acme     0       widgets" in command("organization", "list")
    assert "neither reaches the other now" in command("organization", "disallow", "acme", "widgets")
    assert "alice of organization acme" in command("agent", "create", "alice", "--organization", "acme")
    assert "never seen" in command("agent", "list", "--organization", "acme")
    token = command("token", "create", "alice").strip()
    written = TOKEN.fullmatch(token)
    assert written is not None
    assert written[1] in command("token", "list", "alice")
    assert "revoked" in command("token", "revoke", written[1])
    assert "revoked" in command("token", "list", "--all")


@pytest.mark.requirement("mcp:cli:organization")
def test_organizations_are_registered_and_listed(run: Run) -> None:
    assert "`agent-messaging organization create ID`" in said(run("organization", "list"))
    assert told(run("organization", "list", "--json")) == {"organizations": []}
    assert "`agent-messaging agent create AGENT --organization acme`" in said(
        run("organization", "create", "acme", "--name", "Acme & Söhne")
    )
    made = told(run("organization", "create", "widgets", "--json"))
    assert (made["external_id"], made["name"]) == ("widgets", "widgets")
    assert made.keys() == {"id", "external_id", "name", "created_at", "updated_at"}
    assert table(said(run("organization", "list"))) == [
        ["ORGANIZATION", "NAME", "AGENTS", "ALLOWS", "REACHES"],
        ["acme", "Acme & Söhne", "0", "-", "-"],
        ["widgets", "widgets", "0", "-", "-"],
    ]
    listed = told(run("organization", "list", "--json"))["organizations"]
    assert listed[1] == {**made, "agent_count": 0, "allows": [], "reaches": []}
    for again in (run("organization", "create", "acme"), run("organization", "create", "acme", "--json")):
        assert error(again) == "there is an organization 'acme' already"
    for wrong in ("-x", "a b", "", "b" * 129):
        assert "is not an external id" in error(run("organization", "create", "--", wrong))
    assert "at most 200 are accepted" in error(run("organization", "create", "long", "--name", "n" * 201))


@pytest.mark.requirement("mcp:cli:allow")
def test_allowing_says_what_is_still_missing_and_when_nothing_is(run: Run) -> None:
    for name in ("acme", "widgets"):
        said(run("organization", "create", name))
    assert said(run("organization", "allow", "acme", "widgets")) == (
        "acme lets widgets reach it. Neither reaches the other until widgets does the same; now "
        "`agent-messaging organization allow widgets acme` lets acme reach back.\n"
    )
    assert table(said(run("organization", "list")))[1:] == [
        ["acme", "acme", "0", "widgets", "-"],
        ["widgets", "widgets", "0", "-", "-"],
    ]
    one_way = {"organization": "acme", "other": "widgets", "allows": True, "mutual": False}
    assert told(run("organization", "allow", "acme", "widgets", "--json")) == one_way
    assert said(run("organization", "allow", "widgets", "acme")) == (
        "widgets lets acme reach it, and acme lets widgets: their agents reach each other now.\n"
    )
    assert told(run("organization", "allow", "acme", "widgets", "--json")) == {**one_way, "mutual": True}
    assert table(said(run("organization", "list")))[1] == ["acme", "acme", "0", "widgets", "widgets"]

    ended = {"organization": "acme", "other": "widgets", "allows": False, "mutual": False}
    assert told(run("organization", "disallow", "acme", "widgets", "--json")) == ended
    again = said(run("organization", "disallow", "acme", "widgets"))
    assert "neither reaches the other now. `agent-messaging organization allow acme widgets` takes this back" in again
    assert table(said(run("organization", "list")))[2] == ["widgets", "widgets", "0", "acme", "-"]

    for command in ("allow", "disallow"):
        refused = error(run("organization", command, "acme", "wigdets", "--json"))
        assert "did you mean widgets?" in refused
        assert "`agent-messaging organization list`" in refused
        assert "reach each other anyway" in error(run("organization", command, "acme", "acme"))


@pytest.mark.requirement("mcp:cli:agent")
def test_agents_are_registered_and_listed(run: Run) -> None:
    assert "`agent-messaging agent create ID`" in said(run("agent", "list"))
    assert told(run("agent", "list", "--json")) == {"agents": []}
    first = told(run("agent", "create", "alice", "--json"))
    assert (first["organization_external_id"], first["organization_created"], first["name"]) == (
        "default",
        True,
        "alice",
    )
    second = said(run("agent", "create", "bob", "--name", "Bob"))
    assert second == (
        "Agent bob of organization default is registered. To act as it over the network: "
        "`agent-messaging token create bob`\n"
    )
    missing = error(run("agent", "create", "carol", "--organization", "acme"))
    assert "there is no organization 'acme'; register it first" in missing
    said(run("organization", "create", "acme"))
    assert "`agent-messaging agent create ID --organization acme`" in said(
        run("agent", "list", "--organization", "acme")
    )
    assert "did you mean acme" in error(run("agent", "create", "carol", "--organization", "acne"))
    third = told(run("agent", "create", "carol", "--organization", "acme", "--json"))
    assert (third["organization_external_id"], third["organization_created"]) == ("acme", False)
    assert table(said(run("agent", "list")))[1:] == [
        ["carol", "acme", "carol", "never seen"],
        ["alice", "default", "alice", "never seen"],
        ["bob", "default", "Bob", "never seen"],
    ]
    listed = told(run("agent", "list", "--organization", "acme", "--json"))["agents"]
    assert [one["external_id"] for one in listed] == ["carol"]
    assert listed[0].keys() == third.keys() - {"organization_created"}
    assert error(run("agent", "create", "alice", "--organization", "acme")) == (
        "there is an agent 'alice' already, of organization default"
    )
    assert "did you mean default" in error(run("agent", "list", "--organization", "defaults"))


@pytest.mark.requirement("mcp:cli:agent")
def test_a_malformed_agent_registers_no_organization(run: Run) -> None:
    for wrong in ("a b", "", "é"):
        assert "is not an external id" in error(run("agent", "create", wrong))
    assert told(run("organization", "list", "--json")) == {"organizations": []}


@pytest.mark.requirement("mcp:cli:agent")
async def test_the_list_of_agents_says_who_is_there(dsn: str) -> None:
    async with opened(dsn, "alice", "bob", sweep_interval=0.05) as sdk, sdk.connection("alice"):
        await sdk.async_conversation.send("bob", "alice", "hello")

        async def seen() -> bool:
            return (await sdk.get_agent("bob")).last_seen_at is not None

        await eventually(seen)
        await fetch(dsn, "UPDATE agents SET last_seen_at = last_seen_at - interval '41 minutes' WHERE name = 'Bob'")
        listed = (await asyncio.to_thread(program, dsn, "agent", "list")).stdout.decode()
    assert [row[3] for row in table(listed)[1:]] == ["online", "seen 41 min ago"]


@pytest.fixture
def alice(run: Run) -> Run:
    """`run`, on a database with two agents."""
    for name in ("alice", "bob"):
        said(run("agent", "create", name))
    return run


@pytest.mark.requirement("mcp:cli:token-create")
def test_a_token_is_shown_once_alone_on_standard_output(alice: Run) -> None:
    made = alice("token", "create", "alice", "--name", "alice's laptop")
    written = TOKEN.fullmatch(said(made).removesuffix("\n"))
    assert written is not None
    words = made.stderr
    assert "only time that the token is shown" in words
    assert re.search(r"expires: \d{4}-\d\d-\d\d \d\d:\d\d UTC", words)
    assert "AGENT_MESSAGING_TOKEN" in words
    assert "`agent-messaging --print-config claude-code --url URL`" in words
    assert f"`agent-messaging token revoke {written[1]}`" in words
    assert written[0][12:] not in words

    document = told(alice("token", "create", "bob", "--json"))
    assert document.keys() == {"token", "info"}
    assert TOKEN.fullmatch(document["token"])
    later = [alice("token", "list"), alice("token", "list", "--all", "--json"), alice("token", "revoke", written[0])]
    for result in later:
        assert said(result)
        for secret in (written[0][12:], document["token"][12:]):
            assert secret not in result.output


@pytest.mark.requirement("mcp:cli:token-create")
def test_the_entry_that_the_words_point_to_is_printed_and_takes_the_token_from_there(alice: Run) -> None:
    words = alice("token", "create", "alice").stderr
    (command,) = re.findall(r"`agent-messaging (--print-config [^`]*)`", words)
    entry = alice(*command.replace("URL", "https://agents.example.org/mcp").split())
    assert "AGENT_MESSAGING_TOKEN" in said(entry)
    assert "https://agents.example.org/mcp" in said(entry)


@pytest.mark.requirement("mcp:cli:token-expiry")
def test_a_token_lives_for_ninety_days_or_as_long_as_is_said(alice: Run) -> None:
    lives = {text: told(alice("token", "create", "alice", "--expires", text, "--json"))["info"] for text in DAYS}
    lives["90d"] = told(alice("token", "create", "alice", "--json"))["info"]
    for text, info in lives.items():
        made, ends = (datetime.fromisoformat(info[name]) for name in ("created_at", "expires_at"))
        assert ends - made == DAYS[text], text
    never = alice("token", "create", "alice", "--expires", "never")
    assert TOKEN.fullmatch(said(never).strip())
    assert "expires: never" in never.stderr
    assert told(alice("token", "create", "alice", "--expires", "never", "--json"))["info"]["expires_at"] is None
    for wrong in ("0d", "-1d", "1.5h", "90", "d", "90 d", "1y", "90dd", "٩d", "", "1e9s", "9999999999s", "forever"):
        assert "90d or 2w, or `never`" in error(alice("token", "create", "alice", "--expires", wrong), 2), wrong
    assert "at most" in error(alice("token", "create", "alice", "--expires", "999999999w"))
    assert len(told(alice("token", "list", "--json"))["tokens"]) == 8


@pytest.mark.requirement("mcp:cli:token-list")
async def test_tokens_are_listed_by_prefix_the_valid_ones_unless_all_are_wanted(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        await sdk.register_organization("widgets", "Widgets")
        await sdk.register_agent("eve", "widgets", "Eve")
        kept = (await sdk.tokens.create("alice", expires_in=3600, name="laptop")).info
        revoked = (await sdk.tokens.create("alice")).info
        eves = (await sdk.tokens.create("eve")).info
        expired = (await sdk.tokens.create("bob", expires_in=1e-6)).info
        await sdk.tokens.revoke(revoked.prefix)

    async def listed(*arguments: str) -> list[list[str]]:
        return table((await asyncio.to_thread(program, dsn, "token", "list", *arguments)).stdout.decode())

    head, *rows = await listed()
    assert head == ["PREFIX", "AGENT", "ORGANIZATION", "NAME", "CREATED", "EXPIRES", "STATE"]
    assert [row[:4] for row in rows] == [[kept.prefix, "alice", "acme", "laptop"], [eves.prefix, "eve", "widgets", "-"]]
    assert [row[5] == "never" for row in rows] == [False, True]
    assert [row[0] for row in (await listed("--organization", "widgets"))[1:]] == [eves.prefix]
    everything = {row[0]: row[6] for row in (await listed("--all"))[1:]}
    assert everything.keys() == {kept.prefix, revoked.prefix, eves.prefix, expired.prefix}
    assert (everything[kept.prefix], everything[expired.prefix]) == ("valid", "expired")
    assert re.fullmatch(r"revoked \d{4}-\d\d-\d\d \d\d:\d\d UTC", everything[revoked.prefix])
    assert {row[0] for row in (await listed("alice", "--all"))[1:]} == {kept.prefix, revoked.prefix}


@pytest.mark.requirement("mcp:cli:token-list")
def test_an_empty_list_of_tokens_says_what_to_do(alice: Run) -> None:
    for arguments in ([], ["alice"]):
        words = said(alice("token", "list", *arguments))
        assert "no valid token" in words
        assert "`agent-messaging token create AGENT`" in words
        assert "`--all`" in words
    assert "--all" not in said(alice("token", "list", "--all"))
    assert told(alice("token", "list", "--json")) == {"tokens": []}
    for command in (["token", "list", "alcie"], ["token", "create", "alcie"]):
        refused = error(alice(*command))
        assert "did you mean alice?" in refused
        assert "`agent-messaging agent list`" in refused


@pytest.mark.requirement("mcp:cli:token-revoke")
def test_a_token_is_revoked_by_its_prefix_and_a_pasted_one_is_not_repeated(alice: Run) -> None:
    made = told(alice("token", "create", "alice", "--json"))
    secret = made["token"][12:]
    ended = told(alice("token", "revoke", made["info"]["prefix"], "--json"))
    assert ended == {**made["info"], "state": "revoked", "revoked_at": ended["revoked_at"]}
    again = alice("token", "revoke", made["token"])
    assert "of alice is revoked since" in said(again)
    assert told(alice("token", "revoke", made["token"], "--json")) == ended
    unknown = [
        alice("token", "revoke", text) for text in ("zzzzzzzz", f"am_zzzzzzzz_{secret}", f"x{made['token']}", "é")
    ]
    for result in unknown:
        assert "`agent-messaging token list --all`" in error(result)
    for result in [again, *unknown]:
        assert secret not in result.output


@pytest.mark.requirement("mcp:cli:errors")
def test_what_goes_wrong_is_one_line_and_no_traceback(run: Run) -> None:
    unreachable = run("token", "list", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert "database could not be reached" in error(unreachable)
    assert "MAX_POOL_SIZE: " in error(run("agent", "list", MAX_POOL_SIZE="many"))
    for wrong in (
        ["token", "create"],
        ["token", "list", "--nothing"],
        ["organization", "allow", "acme"],
        ["agent", "x"],
    ):
        error(run(*wrong), 2)


@pytest.mark.requirement("mcp:cli:errors")
async def test_what_nobody_foresaw_is_one_line_too(dsn: str) -> None:
    await execute(dsn, "DROP TABLE tokens")
    done = await asyncio.to_thread(program, dsn, "token", "list", "--json")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b'Error: UndefinedTableError: relation "tokens" does not exist\n'


@pytest.mark.requirement("mcp:cli:names")
async def test_names_neither_command_the_terminal_nor_break_it(dsn: str) -> None:
    async with opened(dsn) as sdk:
        await sdk.register_organization("acme", "A\x1b[31m\u202ecme\nTwo č \x9b1m")
    shown = {}
    for encoding in ("utf-8", "latin-1"):
        for option in ((), ("--json",)):
            done = await asyncio.to_thread(program, dsn, "organization", "list", *option, PYTHONIOENCODING=encoding)
            shown[encoding, option] = done.stdout.decode(encoding)
    for text in shown.values():
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "A<U+001B>[31m<U+202E>cme Two č <U+009B>1m" in shown["utf-8", ()]
    assert "cme Two \\u010d " in shown["latin-1", ()]
    assert json.loads(shown["latin-1", ("--json",)])["organizations"][0]["name"].startswith("A\x1b")


@pytest.mark.requirement("mcp:cli:lean")
@pytest.mark.parametrize("group", ["organization", "agent", "token"])
def test_the_help_of_an_operator_imports_nothing_heavy(group: str) -> None:
    script = (
        "import sys\nfrom agent_messaging_mcp.cli import main\n"
        "try:\n    main(sys.argv[1:], prog_name='agent-messaging')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'asyncio', 'mcp', 'asyncpg', 'pydantic', 'agent_messaging', 'uvicorn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for arguments in ([group, "--help"], [group, "list", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Usage: agent-messaging" in done.stdout
