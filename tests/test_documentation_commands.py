"""The commands, settings and snippets of the pages in docs/: run here, by another test, or with a reason why not."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import yaml

from agent_messaging import AgentMessaging
from agent_messaging_db.embedded import binaries
from tests.conftest import connect, dsn_of, execute
from tests.mcp_server.serving import config_of
from tests.test_ecosystem import COMPOSE, VARIABLES, parsed

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
GUIDE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
PROGRAM = (sys.executable, "-m", "agent_messaging_mcp")

HERE = "test_the_commands_of_the_guide_do_what_it_says"
BACKUP = "test_a_backup_brings_everything_back"
ENGINE = "needs a container engine; tests/test_ecosystem.py holds the file, tools/dockerfile_dry_run.py its steps"
ACCOUNTS = "changes the accounts of the machine"
INSTALLED = "installs for the whole machine; the Dockerfile's steps do the same, see tools/dockerfile_dry_run.py"

# Every command of a page: the test that runs it, or the reason why none does.
COMMANDS: dict[str, dict[str, str]] = {
    "docs/deployment.md": {
        "agent-messaging migrate": HERE,
        "agent-messaging organization create acme": HERE,
        "agent-messaging agent create alice --organization acme": HERE,
        "agent-messaging token create alice --expires 30d --name laptop": HERE,
        "agent-messaging --print-config claude-code --url https://agents.example.org": HERE,
        "agent-messaging token list alice": HERE,
        "agent-messaging token revoke PREFIX": HERE,
        "agent-messaging organization create widgets": HERE,
        "agent-messaging organization allow acme widgets": HERE,
        "agent-messaging organization allow widgets acme": HERE,
        "agent-messaging serve": "tests/mcp_server/test_transports.py",
        "agent-messaging serve --host 10.0.0.11 --allowed-host agents.example.org": HERE,
        "agent-messaging doctor": HERE,
        "agent-messaging silence alice --for 1h": "tests/mcp_server/test_cli_silences.py",
        "agent-messaging silence --organization acme": "tests/mcp_server/test_cli_silences.py",
        "agent-messaging silence": "tests/mcp_server/test_cli_silences.py",
        "agent-messaging unsilence --organization acme": "tests/mcp_server/test_cli_silences.py",
        "agent-messaging prune --older-than 90d --dry-run": "tests/mcp_server/test_cli_retention.py",
        "agent-messaging prune --older-than 90d": "tests/mcp_server/test_cli_retention.py",
        'pg_dump --format=custom --file=agent-messaging.dump "$DATABASE_URL"': BACKUP,
        'pg_restore --no-owner --dbname="$DATABASE_URL" agent-messaging.dump': BACKUP,
        "curl --fail http://localhost:8765/readyz": "tests/mcp_server/serving.py",
        "sudo useradd --system --no-create-home --shell /usr/sbin/nologin agent-messaging": ACCOUNTS,
        "sudo python3 -m venv /opt/agent-messaging": INSTALLED,
        "sudo /opt/agent-messaging/bin/pip install .": INSTALLED,
        "sudo -u postgres createuser agent-messaging": ACCOUNTS,
        "sudo -u postgres createdb --owner=agent-messaging agent_messaging": ACCOUNTS,
        "sudo install -m 640 -g agent-messaging /dev/null /etc/agent-messaging.env": ACCOUNTS,
        "sudo systemctl enable --now agent-messaging": "needs systemd; test_the_unit_starts_our_own_commands",
        "sudo -u agent-messaging sh -c 'set -a; . /etc/agent-messaging.env; /opt/agent-messaging/bin/agent-messaging "
        "agent list'": ACCOUNTS,
        'echo "POSTGRES_PASSWORD=$(openssl rand -hex 24)" > .env': "writes into the clone",
        "docker compose up --detach --build": ENGINE,
        "docker compose run --rm server agent create alice": ENGINE,
        "docker compose run --rm server token create alice": ENGINE,
    },
    "docs/conformance.md": {
        "make conformance": "fetches the official suite with npm",
        "agent-messaging serve": "tests/mcp_server/test_transports.py",
    },
    "docs/benchmarks.md": {"make bench": "minutes; tests/benchmarks/ runs the smallest one"},
    "docs/promises.md": {
        "make chaos": "minutes; tests/chaos/ holds its checker",
        "make mutants": "half an hour; tests/test_mutants.py holds its table",
        "make promises": "hours; what it runs are these tests and the two commands above",
    },
    "docs/hosts.md": {
        "agent-messaging watch --agent alice": "tests/mcp_server/test_watch.py",
        "agent-messaging watch --agent alice --json --once": "tests/mcp_server/test_watch.py",
        "agent-messaging watch --agent alice --exec ./on-item": "tests/mcp_server/test_watch.py",
    },
    "docs/scaling.md": {
        'DATABASE_URL="$DATABASE_URL" .venv/bin/python -m benchmarks sizes': "tests/db/test_sizes.py",
        "agent-messaging prune --older-than 90d": "tests/mcp_server/test_cli_retention.py",
    },
    "docs/metrics.md": {
        "agent-messaging serve": "tests/mcp_server/test_transports.py",
        "agent-messaging silence": "tests/mcp_server/test_cli_silences.py",
    },
}
# Names in capitals that are not settings of the server.
OTHERS = {
    "AGENT_MESSAGING_PORTS": "compose.yaml",
    "AGENT_MESSAGING_TEST_DATABASE_URL": "tests/conftest.py",
    "AGENT_MESSAGING_TOKEN": "mcp_server/agent_messaging_mcp/client_entries.py",
}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def shown(text: str) -> list[str]:
    """The lines of the blocks for a shell, without their comments."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    return [command for line in lines if (command := re.split(r"(?:^|\s{2,})#", line)[0].strip())]


def inline(text: str) -> list[str]:
    """What stands in a sentence and can be typed."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = re.findall(r"`((?:\.venv/bin/)?(?:agent-messaging [^`]+|make \w+|docker [^`]+))`", prose)
    return [" ".join(command.split()) for command in found]


@pytest.mark.requirement("ecosystem:docs:commands")
@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_every_command_of_a_page_is_run_by_a_test_or_has_its_reason(page: Path) -> None:
    name = page.relative_to(ROOT).as_posix()
    text = page.read_text("utf-8")
    listed = COMMANDS.get(name, {})
    if name == "docs/requirements.md":  # says what is tested, of which commands are a part
        return
    assert {*shown(text), *inline(text)} == listed.keys()
    for where in listed.values():
        assert not where.startswith("tests/") or (ROOT / where).is_file(), where
        assert not where.startswith("test_") or where in globals(), where


@pytest.mark.requirement("ecosystem:docs:parse")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_ours_on_a_page_is_one_that_there_is(page: Path) -> None:
    text = page.read_text("utf-8")
    for words in ours([*shown(text), *inline(text)]):
        with suppress(click.exceptions.NoArgsIsHelpError):  # a group is named, not a command
            parsed(words)


def ours(commands: list[str]) -> Iterator[list[str]]:
    """The arguments that these commands give to our program, in a container and a shell within a shell too."""
    for command in commands:
        for part in re.split(r"[;']", command.replace("docker compose run --rm server", "agent-messaging")):
            program, *words = shlex.split(part) or [""]
            if program.rpartition("/")[2] == "agent-messaging":
                yield words


@pytest.mark.requirement("ecosystem:docs:settings")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_a_page_names_is_read_by_somebody(page: Path) -> None:
    named = set(re.findall(r"\b(?:AGENT_MESSAGING|POSTGRES|OAUTH)_[A-Z_]*[A-Z]\b", page.read_text("utf-8")))
    assert named - VARIABLES <= OTHERS.keys()
    for name, where in OTHERS.items():
        assert name in (ROOT / where).read_text("utf-8")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ.get("PATH", os.defpath), **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)


def served(words: list[str], dsn: str) -> None:
    """The server of the guide, on this machine and a free port, from its start to its end."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "DATABASE_URL": dsn, "AUTO_MIGRATE": "false"}
    words = [*PROGRAM, *(word.replace("10.0.0.11", "127.0.0.1") for word in words), "--port", "0"]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            listening = re.match(r"Listening: http://127\.0\.0\.1:(\d+)/mcp", process.stderr.readline())
            assert listening
            with closing(HTTPConnection("127.0.0.1", int(listening[1]), timeout=200)) as asked:
                asked.request("GET", "/healthz", headers={"Host": "agents.example.org"})
                assert asked.getresponse().status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


@pytest.mark.timeout(600)  # a dozen processes, one after the other
@pytest.mark.requirement("ecosystem:docs:guide")
def test_the_commands_of_the_guide_do_what_it_says(empty_dsn: str) -> None:
    said: list[str] = []
    for command in [line for line in shown(GUIDE) if line.startswith("agent-messaging ")]:
        words = shlex.split(command)[1:]
        if words[0] == "serve":
            served(words, empty_dsn)
            continue
        if "PREFIX" in words:
            listed = json.loads(run(*PROGRAM, "token", "list", "--json", DATABASE_URL=empty_dsn).stdout)
            [token] = listed["tokens"] if isinstance(listed, dict) else listed
            words[words.index("PREFIX")] = token["prefix"]
        done = run(*PROGRAM, *words, DATABASE_URL=empty_dsn)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        said.append(done.stdout)
    assert json.loads(said[4])["mcpServers"]["agent-messaging"]["url"] == "https://agents.example.org/mcp"
    assert "laptop" in said[5]


@pytest.mark.requirement("ecosystem:docs:backup")
async def test_a_backup_brings_everything_back(server: str, dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    async with AgentMessaging[str](config_of(dsn)) as sdk:
        await sdk.register_organization("acme", "Acme")
        for agent in ("ann", "bob"):
            await sdk.register_agent(agent, "acme", agent)
        await sdk.async_conversation.send("ann", "bob", "kept")
        token = (await sdk.tokens.create("bob")).token
    for command, database in zip(shown(GUIDE.split("## Backup")[1].split("\n## ")[0]), (dsn, empty_dsn), strict=True):
        program, *words = shlex.split(command.replace('"$DATABASE_URL"', shlex.quote(database)))
        words = [word.replace("agent-messaging.dump", str(tmp_path / "kept.dump")) for word in words]
        done = run(str(binaries.locate() / program), *[word.replace("='", "=") for word in words])
        assert done.returncode == 0, done.stderr
    async with AgentMessaging[str](config_of(empty_dsn)) as sdk:
        [item] = (await sdk.inbox.page("bob")).items
        assert item.content == "kept"
        assert await sdk.tokens.verify(token)


@pytest.fixture
async def roles(server: str, empty_dsn: str, database_prefix: str) -> AsyncIterator[tuple[str, str]]:
    """The addresses for the two roles of the guide, made by its own SQL in an empty database."""
    database = urlsplit(empty_dsn).path.strip("/")
    named = {name: f"{database_prefix}_{name}" for name in ("messaging_owner", "messaging_server")}
    [sql] = blocks(GUIDE, "sql")
    for name, own in named.items():
        sql = sql.replace(name, own)
    assert f"CREATE DATABASE agent_messaging OWNER {named['messaging_owner']};\n\\connect agent_messaging\n" in sql
    sql = sql.replace("CREATE DATABASE agent_messaging OWNER", f"ALTER DATABASE {database} OWNER TO")
    sql = sql.replace("\\connect agent_messaging\n", "")
    await execute(empty_dsn, sql)
    # Signed in as somebody who may, and then nobody but that role.
    separator = "&" if urlsplit(empty_dsn).query else "?"
    owner, serves = (f"{empty_dsn}{separator}role={own}" for own in named.values())
    yield owner, serves
    await execute(empty_dsn, *(f"DROP OWNED BY {own}" for own in named.values()))
    await execute(dsn_of(server, "postgres"), f"ALTER DATABASE {database} OWNER TO CURRENT_USER")
    await execute(dsn_of(server, "postgres"), *(f"DROP ROLE {own}" for own in named.values()))


@pytest.mark.requirement("ecosystem:docs:roles")
async def test_the_role_that_serves_needs_no_more_than_the_guide_gives_it(roles: tuple[str, str]) -> None:
    owner, serves = roles
    refused = run(*PROGRAM, "migrate", DATABASE_URL=serves)
    assert refused.returncode == 1
    done = run(*PROGRAM, "migrate", DATABASE_URL=owner)
    assert done.returncode == 0, done.stderr
    config = config_of(serves).model_copy(update={"auto_migrate": False})
    async with AgentMessaging[Any](config) as sdk:
        await sdk.register_organization("acme", "Acme")
        for agent in ("ann", "bob"):
            await sdk.register_agent(agent, "acme", agent)

        @sdk.register_handler("bob")
        async def bob(message: Any, context: Any) -> str:  # pyright: ignore[reportUnusedFunction]
            return "yes"

        assert await sdk.sync_conversation.send_and_wait("ann", "bob", "May you?", timeout=10) == "yes"
        await sdk.sync_conversation.end_conversation("ann", "bob")
        meeting = await sdk.meeting.create_meeting("ann", ["ann", "bob"])
        await sdk.meeting.leave_meeting("bob", meeting)
        await sdk.tokens.revoke((await sdk.tokens.create("bob")).info.prefix)
    async with connect(serves) as connection:
        out_of_reach = """
            SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
            AND NOT (SELECT bool_and(has_table_privilege(pg_class.oid, privilege))
                     FROM unnest('{SELECT, INSERT, UPDATE, DELETE}'::text[]) privilege)
        """
        assert await connection.fetch(out_of_reach) == []
        assert await connection.fetch("SELECT FROM pg_tables WHERE tableowner = current_user") == []


@pytest.mark.requirement("ecosystem:docs:unit")
def test_the_unit_starts_our_own_commands_with_settings_that_there_are() -> None:
    environment, unit = blocks(GUIDE, "ini")
    assert {line.partition("=")[0] for line in environment.splitlines()} <= VARIABLES
    started = re.findall(r"^Exec\w+=/opt/agent-messaging/bin/agent-messaging (.*)$", unit, re.MULTILINE)
    assert [parsed(shlex.split(command)).info_name for command in started] == ["migrate", "serve"]
    [patience] = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(patience) > 10


@pytest.mark.requirement("ecosystem:docs:kubernetes")
def test_the_pod_of_the_guide_is_probed_by_a_name_that_the_server_knows() -> None:
    [text] = blocks(GUIDE, "yaml")
    pod = yaml.safe_load(text)["spec"]
    [container] = pod["containers"]
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        asked = container[probe]["httpGet"]
        assert asked == {"path": path, "port": 8765, "httpHeaders": [{"name": "Host", "value": "localhost"}]}
    assert {variable["name"] for variable in container["env"]} <= VARIABLES
    assert container["image"] == COMPOSE["services"]["server"]["image"]
    assert pod["terminationGracePeriodSeconds"] > 10 + container["lifecycle"]["preStop"]["sleep"]["seconds"]
