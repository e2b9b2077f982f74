"""What reaches a user's machine, and what holds the layers apart."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

from agent_messaging_db import migrate

ROOT = Path(__file__).parent.parent
PACKAGES = ("db/agent_messaging_db", "protocol/agent_messaging", "mcp_server/agent_messaging_mcp")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PINS = ("constraints.txt", "constraints-check.txt")


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | environment
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    directory = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory)
    assert built.returncode == 0, built.stderr
    (path,) = directory.glob("*.whl")
    return ZipFile(path)


def test_the_wheel_holds_every_file_of_the_three_packages_and_nothing_else(wheel: ZipFile):
    files = {
        path.relative_to((ROOT / package).parent).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files
    assert {f"{Path(package).name}/py.typed" for package in PACKAGES} <= files
    assert any(name.endswith("/LICENSE") for name in wheel.namelist())


def test_the_migrations_are_found_in_the_wheel(wheel: ZipFile, tmp_path: Path):
    wheel.extractall(tmp_path)
    code = "from agent_messaging_db import migrate; print(migrate.__file__, *(m.name for m in migrate.load()))"
    result = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    module, *names = result.stdout.split()
    assert Path(module).is_relative_to(tmp_path)
    assert names == [migration.name for migration in migrate.load()]
    assert names


@pytest.mark.parametrize("package", PACKAGES)
def test_the_tests_import_the_code_of_this_clone(package: str):
    spec = find_spec(Path(package).name)
    assert spec
    assert spec.origin
    assert Path(spec.origin).resolve() == (ROOT / package / "__init__.py").resolve()


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    path = os.pathsep.join(str((root / package).parent) for package in PACKAGES)
    return run(sys.executable, "-c", code, cwd=root, PYTHONPATH=path)


def test_every_import_runs_the_allowed_way():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "planted", "contract"),
    [
        ("db/agent_messaging_db/migrate.py", "import agent_messaging.errors", "Imports run"),
        ("protocol/agent_messaging/errors.py", "import agent_messaging_mcp", "Imports run"),
        ("protocol/agent_messaging/models.py", "import agent_messaging.waiting", "Inside the protocol"),
        ("db/agent_messaging_db/errors.py", "import agent_messaging_db.pool", "No two modules"),
        ("protocol/agent_messaging/rules/__init__.py", "import agent_messaging_db.pool", "Rules are pure"),
        ("protocol/agent_messaging/rules/__init__.py", "import time", "Rules are pure"),
        ("db/agent_messaging_db/rows.py", "import agent_messaging_db.errors", "Rows know nothing"),
        ("protocol/agent_messaging/models.py", "import asyncpg", "Only db speaks"),
        ("protocol/agent_messaging/models.py", "import mcp", "Only mcp_server speaks"),
    ],
)
def test_a_planted_import_breaks_the_contract(module: str, planted: str, contract: str, tmp_path: Path):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.sql"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{planted}\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    assert re.search(rf"{contract}.* BROKEN", result.stdout), result.stdout


def test_every_dependency_is_pinned_with_its_hashes():
    pinned: set[str] = set()
    for pins in PINS:
        blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / pins).read_text("utf-8"))
        for block in blocks[1:]:
            match = re.match(r"([a-z0-9-]+)==\S+.*? \\\n", block)
            assert match, block
            assert "--hash=sha256:" in block
            pinned.add(match[1])
    groups = PROJECT["dependency-groups"]
    wanted = [*PROJECT["project"]["dependencies"], *groups["test"], *groups["check"]]
    assert {re.split(r"[^a-z0-9-]", requirement)[0] for requirement in wanted} <= pinned


def test_no_file_names_an_address_to_download_from():
    # Written in two pieces, so that this file passes too.
    hosts = [
        "pypi" + ".org",
        "python" + "hosted",
        "npm" + "js.",
        "anaconda" + ".org",
        "download" + ".pytorch",
    ]
    options = ["--index" + "-url", "--extra-index" + "-url", "--find" + "-links", "--trusted" + "-host"]
    pattern = re.compile("|".join(map(re.escape, hosts + options)), re.IGNORECASE)
    skipped = re.compile(r"\.git|\.venv|\.[a-z_]+_cache|\.hypothesis|__pycache__|build|dist")
    found: list[str] = []
    for directory, directories, files in os.walk(ROOT):
        directories[:] = [name for name in directories if not skipped.fullmatch(name)]
        for name in files:
            path = Path(directory, name)
            text = path.read_text("utf-8", errors="ignore")
            found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in pattern.finditer(text)]
    assert found == []
