"""What others run, build or install the project by: the image, the composition, the registry's entry, the bundle."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, cast

import click
import pytest
import yaml

from agent_messaging_mcp.cli import main
from agent_messaging_mcp.settings import Settings
from tests.mcp_server.serving import serving
from tools import describe_python, dockerfile

ROOT = Path(__file__).parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
BUILD, IMAGE = dockerfile.read((ROOT / "Dockerfile").read_text("utf-8"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVER: dict[str, Any] = json.loads((ROOT / "server.json").read_text("utf-8"))
MANIFEST: dict[str, Any] = json.loads((ROOT / "mcpb" / "manifest.json").read_text("utf-8"))
REGISTRY_NAME = "io.github.agent-messaging/agent-messaging"
VARIABLES = set(re.findall(r"^\| `([A-Z_]+)`", describe_python.configuration_page(), re.MULTILINE))
FLOATING = re.compile(r"(?:^[^:@]+|:latest)$")


def parsed(words: list[str]) -> click.Context:
    """What our own command line makes of arguments; it refuses what it does not know."""
    context = main.make_context("agent-messaging", list(words))
    while isinstance(context.command, click.Group) and (rest := [*context._protected_args, *context.args]):  # pyright: ignore[reportPrivateUsage] # click shows them only to `invoke`
        name, command, arguments = context.command.resolve_command(context, rest)
        assert command
        context = command.make_context(name, arguments, parent=context)
    return context


def health_check() -> list[str]:
    check = IMAGE.last("HEALTHCHECK").arguments
    assert check.startswith("CMD ")
    return dockerfile.Instruction(0, "CMD", check.removeprefix("CMD ")).words


@pytest.mark.requirement("ecosystem:image:context")
def test_a_build_sees_what_the_dockerfile_copies_and_no_more() -> None:
    seen = dockerfile.context(ROOT)
    copied = [source for step in BUILD.all("COPY") for source in step.words[:-1]]
    assert {path.parts[0] for path in seen} == set(copied)
    assert Path("db/agent_messaging_db/migrations/0001_initial.sql") in seen
    assert [path for path in seen if "__pycache__" in path.parts or path.suffix == ".pyc"] == []


@pytest.mark.requirement("ecosystem:image:context")
def test_what_lies_about_in_a_clone_never_reaches_an_image(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_bytes((ROOT / ".dockerignore").read_bytes())
    for name in (".env", "db/a.py", "db/sql/a.sql", "db/__pycache__/a.cpython-313.pyc", "dump.sql", "tests/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert dockerfile.context(tmp_path) == [Path("db/a.py"), Path("db/sql/a.sql")]


@pytest.mark.requirement("ecosystem:image:base")
def test_the_image_is_made_from_named_versions() -> None:
    images = [BUILD.image, IMAGE.image, *(service["image"] for service in COMPOSE["services"].values())]
    assert [image for image in images if FLOATING.search(image)] == []
    assert BUILD.image == IMAGE.image
    assert "slim" in IMAGE.image
    [download] = [step.value for step in BUILD.all("RUN") if "pip download" in step.value]
    assert {"--require-hashes", "--only-binary=:all:", "--no-deps"} <= set(download.split())
    after = BUILD.steps[[step.value for step in BUILD.steps].index(download) + 1]
    assert after.pairs == {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}


@pytest.mark.requirement("ecosystem:image:user")
def test_nothing_in_the_image_runs_as_root() -> None:
    user, _, group = IMAGE.last("USER").value.partition(":")
    assert int(user) >= 10_000
    assert f"--uid {user} --gid {group}" in IMAGE.all("RUN")[0].value
    after = [step.keyword for step in IMAGE.steps if step.line > IMAGE.last("USER").line]
    assert {"RUN", "COPY", "USER"}.isdisjoint(after)


@pytest.mark.requirement("ecosystem:image:command")
def test_the_image_serves_on_the_port_it_exposes_unless_told_otherwise() -> None:
    assert IMAGE.last("ENTRYPOINT").words == ["agent-messaging"]
    serves = parsed(IMAGE.last("CMD").words)
    assert (serves.info_name, serves.params["host"]) == ("serve", "0.0.0.0")  # noqa: S104 - inside a container
    assert int(IMAGE.last("EXPOSE").value) == Settings.model_fields["port"].default
    assert IMAGE.last("STOPSIGNAL").value == "SIGTERM"
    named = {name for step in IMAGE.all("ENV") for name in step.pairs} - {"PATH"}
    assert named <= VARIABLES


@pytest.mark.requirement("ecosystem:image:health")
async def test_the_health_check_of_the_image_tells_a_server_from_none(dsn: str) -> None:
    program, *arguments = health_check()
    assert program == "python"

    def checked(port: str) -> int:
        command = [sys.executable, *arguments]
        # A proxy for what goes outside must not be asked about what is inside.
        environment = {"AGENT_MESSAGING_PORT": port, "http_proxy": "http://127.0.0.1:1"}
        return subprocess.run(command, env=environment, capture_output=True, timeout=200, check=False).returncode

    async with serving(dsn) as server:
        port = server.address.rpartition(":")[2]
        assert checked(port) == 0
    assert checked(port) == 1


@pytest.mark.requirement("ecosystem:image:labels")
def test_every_place_that_names_the_project_and_its_version_agrees() -> None:
    labels = {name: value for step in IMAGE.all("LABEL") for name, value in step.pairs.items()}
    bundle = tomllib.loads((ROOT / "mcpb" / "pyproject.toml").read_text("utf-8"))["project"]
    [package] = SERVER["packages"]
    assert {labels["org.opencontainers.image.version"], SERVER["version"], package["version"]} == {VERSION}
    assert {MANIFEST["version"], bundle["version"]} == {VERSION}
    assert bundle["dependencies"] == [f"agent-messaging=={VERSION}"]
    assert labels["io.modelcontextprotocol.server.name"] == SERVER["name"] == REGISTRY_NAME
    # By this line the registry knows that the package's owner means this entry.
    assert f"<!-- mcp-name: {REGISTRY_NAME} -->" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.requirement("ecosystem:compose")
def test_the_composition_gives_away_nothing_and_migrates_first() -> None:
    postgres, migrate, server = (COMPOSE["services"][name] for name in ("postgres", "migrate", "server"))
    assert "ports" not in postgres
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    assert list(COMPOSE["volumes"]) == [volume.partition(":")[0] for volume in postgres["volumes"]]
    for password in (postgres["environment"]["POSTGRES_PASSWORD"], server["environment"]["POSTGRES_PASSWORD"]):
        assert password.startswith("${POSTGRES_PASSWORD:?")
    assert postgres["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    assert migrate["depends_on"]["postgres"] == {"condition": "service_healthy"}
    assert server["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert server["environment"]["AUTO_MIGRATE"] == "false"
    assert parsed(migrate["command"]).info_name == "migrate"
    for service in (migrate, server):
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
    assert migrate["restart"] == "no"
    assert server["restart"] == postgres["restart"] == "unless-stopped"
    assert int(server["stop_grace_period"].removesuffix("s")) > 10


@pytest.mark.requirement("ecosystem:compose")
def test_the_composition_sets_only_what_the_server_reads() -> None:
    for name in ("migrate", "server"):
        assert set(COMPOSE["services"][name]["environment"]) <= VARIABLES
    same = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
    services = COMPOSE["services"]
    assert services["postgres"]["environment"].keys() == same
    assert {name: services["server"]["environment"][name] for name in same} == services["postgres"]["environment"]
    assert services["server"]["environment"]["POSTGRES_HOST"] in services
    settings = {
        name.lower(): re.sub(r"\$\{\w+:-(.*)\}", r"\1", value)
        for name, value in services["server"]["environment"].items()
        if name.startswith("AGENT_MESSAGING_")
    }
    assert Settings(**{name.removeprefix("agent_messaging_"): cast(Any, value) for name, value in settings.items()})


def only(value: dict[str, Any], *, required: set[str], allowed: set[str]) -> None:
    assert required <= value.keys() <= required | allowed


@pytest.mark.requirement("ecosystem:registry")
def test_the_entry_for_the_registry_has_the_form_that_it_asks_for() -> None:
    # By hand, after its schema of 2025-12-11, which is not ours to copy.
    only(SERVER, required={"$schema", "name", "description", "version"}, allowed={"title", "packages"})
    assert SERVER["$schema"] == "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", SERVER["name"])
    assert 1 <= len(SERVER["description"]) <= 100
    assert 1 <= len(SERVER["title"]) <= 100
    [package] = SERVER["packages"]
    required = {"registryType", "identifier", "version", "transport"}
    only(package, required=required, allowed={"runtimeHint", "environmentVariables"})
    assert (package["registryType"], package["identifier"]) == ("pypi", "agent-messaging")
    assert package["transport"] == {"type": "stdio"}
    for variable in package["environmentVariables"]:
        only(variable, required={"name", "description"}, allowed={"default", "placeholder", "isSecret", "isRequired"})
        assert variable["name"] in VARIABLES
        assert all(isinstance(variable.get(key, False), bool) for key in ("isSecret", "isRequired"))
    assert {variable["name"] for variable in package["environmentVariables"] if variable.get("isSecret")} == {
        "DATABASE_URL"
    }


@pytest.mark.requirement("ecosystem:bundle")
def test_the_manifest_of_the_bundle_asks_for_what_it_uses() -> None:
    only(
        MANIFEST,
        required={"manifest_version", "name", "version", "description", "author", "server"},
        allowed={"display_name", "long_description", "license", "keywords", "user_config", "tools_generated"}
        | {"compatibility"},
    )
    # 0.4 is the first with servers that uv runs.
    assert (MANIFEST["manifest_version"], MANIFEST["server"]["type"]) == ("0.4", "uv")
    start = MANIFEST["server"]["mcp_config"]
    assert (ROOT / "mcpb" / MANIFEST["server"]["entry_point"]).is_file()
    assert start["args"][-1] == MANIFEST["server"]["entry_point"]
    assert set(start["env"]) <= VARIABLES
    used = set(re.findall(r"\$\{user_config\.(\w+)\}", json.dumps(start)))
    assert used == MANIFEST["user_config"].keys()
    for option in MANIFEST["user_config"].values():
        # Without a default, what a person leaves empty reaches the server as `${user_config.…}`.
        assert isinstance(option["default"], str)
        assert {"type", "title", "description", "required"} <= option.keys()
    assert MANIFEST["user_config"]["database_url"]["sensitive"] is True
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    assert MANIFEST["compatibility"]["runtimes"]["python"] == requires


@pytest.mark.requirement("ecosystem:bundle")
def test_the_bundle_starts_a_server_as_the_agent_that_its_person_named(dsn: str) -> None:
    chosen = {name: option["default"] for name, option in MANIFEST["user_config"].items()}
    chosen |= {"agent": "ann", "database_url": dsn}
    environment = {
        name: re.sub(r"\$\{user_config\.(\w+)\}", lambda found: chosen[found[1]], value)
        for name, value in MANIFEST["server"]["mcp_config"]["env"].items()
    }
    greeting = {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    ran = subprocess.run(
        [sys.executable, MANIFEST["server"]["entry_point"]],
        cwd=ROOT / "mcpb",
        env={"PATH": os.environ.get("PATH", os.defpath), **environment},
        input=json.dumps(greeting) + "\n",
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "You are the agent ann." in json.loads(ran.stdout.splitlines()[0])["result"]["instructions"]
