"""The pages that a user reads say what the code does: every call, error, setting, tool, command and path."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent_messaging import AgentMessaging, AgentView, Config
from agent_messaging.services import Services
from agent_messaging_mcp.settings import Settings
from tools import describe_python, describe_tools

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

# Every command of the README: the test that runs it, or the reason why none does.
COMMANDS = {
    "make demo": "tests/test_demo.py",
    "make test": "this very run",
    "make chaos": "minutes; tests/chaos/ holds its checker",
    "make clean": "removes the environment that runs this",
    'claude mcp add --scope user agent-messaging -- "$PWD/.venv/bin/agent-messaging"': "needs Claude Code",
    ".venv/bin/agent-messaging --print-config claude-desktop --agent alice": "tests/mcp_server/test_pages.py",
    ".venv/bin/agent-messaging --agent NAME": "tests/mcp_server/test_stdio.py",
    ".venv/bin/agent-messaging": "tests/mcp_server/test_stdio.py",
    ".venv/bin/agent-messaging agent create alice": "tests/mcp_server/test_cli_directory.py",
    ".venv/bin/agent-messaging token create alice": "tests/mcp_server/test_cli_directory.py",
    ".venv/bin/agent-messaging serve": "tests/mcp_server/serving.py",
    ".venv/bin/agent-messaging --print-config claude-code --url http://127.0.0.1:8765/mcp": (
        "tests/mcp_server/test_pages.py"
    ),
    ".venv/bin/agent-messaging watch --agent alice": "tests/mcp_server/test_watch.py",
    ".venv/bin/agent-messaging doctor": "tests/mcp_server/doctor/test_doctor.py",
    ".venv/bin/agent-messaging db path": "tests/mcp_server/test_cli.py",
    "db psql": "tests/mcp_server/test_cli.py",
    "db backup FILE": "tests/mcp_server/test_cli.py",
}


def headings(page: Path) -> list[str]:
    return re.findall(r"^### (\S+)$", page.read_text("utf-8"), re.MULTILINE)


def rows(text: str) -> set[str]:
    """What the tables of a text have in backquotes in their first column."""
    return set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))


def public(service: type) -> set[str]:
    return {name for name, member in vars(service).items() if not name.startswith("_") and callable(member)}


@pytest.mark.requirement("examples:docs:python")
def test_the_pages_of_calls_and_settings_are_written_from_the_code():
    written = {describe_python.API: describe_python.api_page()}
    written[describe_python.CONFIGURATION] = describe_python.configuration_page()
    for page, text in written.items():
        assert page.read_text("utf-8") == text, "run: python tools/describe_python.py"


@pytest.mark.requirement("examples:docs:python")
def test_every_service_of_the_library_is_on_the_page():
    paths = {f"sdk.{name}" for name in Services.__dataclass_fields__} - {"sdk.directory", "sdk.follower"}
    assert paths == describe_python.SERVICES.keys() - {"sdk"}
    assert describe_python.SERVICES["sdk"][0] is AgentMessaging


@pytest.mark.requirement("examples:docs:python")
@pytest.mark.parametrize("path", describe_python.SERVICES)
def test_every_public_call_has_its_heading(path: str):
    calls = public(describe_python.SERVICES[path][0]) - describe_python.INTERNAL
    assert {f"{path}.{name}" for name in calls} - set(headings(describe_python.API)) == set()


@pytest.mark.requirement("examples:docs:python")
def test_every_call_of_a_view_has_its_row_and_names_a_call_whose_errors_are_on_the_page():
    view = describe_python.API.read_text("utf-8").split("## As one agent")[1].split("## What comes back")[0]
    assert rows(view) == public(AgentView)
    assert set(describe_python.VIEW_OF.values()) <= set(headings(describe_python.API))


@pytest.mark.requirement("examples:docs:errors")
def test_every_error_has_its_row():
    listed = describe_python.API.read_text("utf-8").split("## Errors")[1]
    assert {error.__name__ for error in describe_python.all_errors()} == rows(listed)


@pytest.mark.requirement("examples:docs:errors")
def test_every_error_that_a_docstring_names_reaches_the_table_of_its_call():
    page = describe_python.API.read_text("utf-8")
    for path, (service, _) in describe_python.SERVICES.items():
        for name, call in describe_python.calls_of(service).items():
            _, _, raises = (call.__doc__ or "").partition("Raises:")
            section = page.split(f"### {path}.{name}\n")[1].split("\n### ")[0]
            assert set(re.findall(r"\b[A-Z]\w+Error\b", raises)) == rows(section.split("\n## ")[0]) or not raises


@pytest.mark.requirement("examples:docs:settings")
def test_every_setting_says_what_it_is_for():
    fields = Config.model_fields | Settings.model_fields
    assert [name for name, field in fields.items() if not field.description] == []


@pytest.mark.requirement("examples:docs:settings")
def test_the_settings_in_the_readme_are_those_of_the_code():
    listed = set(re.findall(r"^\| `[A-Z_]+` .*$", README, re.MULTILINE))
    known = set(describe_python.configuration_page().splitlines())
    shortened = {row for row in listed if "DATABASE_URL" in row}
    assert len(listed) >= 5
    assert {re.sub(r"\s+", "", row) for row in listed - shortened} <= {re.sub(r"\s+", "", row) for row in known}


@pytest.mark.requirement("examples:docs:tools")
def test_every_tool_has_its_heading_and_every_resource_its_row():
    page = describe_tools.page()
    assert len(headings(describe_tools.PAGE)) == 14
    assert headings(describe_tools.PAGE) == re.findall(r"^### (\S+)$", page, re.MULTILINE)
    assert {"messaging://inbox", "messaging://agents", "messaging://meetings"} <= rows(page)


@pytest.mark.requirement("examples:docs:commands")
def test_every_command_of_the_readme_is_run_by_a_test_or_has_its_reason():
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    shown = {line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()}
    inline = re.findall(r"`((?:make \w+|\.venv/bin/agent-messaging\b|db )[^`]*)`", README)
    assert shown | set(inline) == COMMANDS.keys()
    for where in COMMANDS.values():
        assert not where.startswith("tests/") or (ROOT / where).is_file(), where


@pytest.mark.requirement("examples:docs:readme-python")
def test_the_python_of_the_readme_prints_what_it_says(tmp_path: Path, dsn: str):
    program = tmp_path / "readme.py"
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    program.write_text(code, "utf-8")
    ran = subprocess.run(
        [sys.executable, program],
        env={"PATH": os.environ.get("PATH", os.defpath), "DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    [printed] = re.findall(r"^prints `([^`]+)`", README, re.MULTILINE)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{printed}\n", "")


@pytest.mark.requirement("examples:docs:links")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.requirement("examples:docs:links")
@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_path_and_module_that_a_page_names_is_there(page: str):
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`(?!NNNN)([\w./]+\.(?:py|sql|md|toml|txt))`", text))
    files = {str(path.relative_to(ROOT)) for folder in ROOT.glob("[a-z]*") for path in folder.rglob("*")}
    files |= {path.name for path in ROOT.iterdir()}
    assert [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)] == []


@pytest.mark.requirement("examples:docs:decisions")
def test_every_decision_has_its_own_number_and_its_row_under_its_own_title():
    pages = sorted(path for path in (ROOT / "docs" / "decisions").glob("*.md") if path.name != "README.md")
    listed = re.findall(
        r"^\| \[(\d{4})\]\((\S+)\) \| (.+) \|$", (pages[0].parent / "README.md").read_text("utf-8"), re.M
    )
    assert [name for _, name, _ in listed] == [page.name for page in pages]
    for (number, name, title), page in zip(listed, pages, strict=True):
        assert name.startswith(number)
        assert page.read_text("utf-8").splitlines()[0] == f"# {number} {title}"
    assert len({number for number, _, _ in listed}) == len(listed)


@pytest.mark.requirement("examples:design:calls")
@pytest.mark.parametrize("example", ["notification", "interview", "meeting"])
def test_an_example_names_no_call_that_the_page_does_not_have(example: str):
    tree = ast.parse((ROOT / "examples" / f"{example}.py").read_text("utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    sdk = {name for name in called if name.startswith("sdk.")}
    assert sdk
    assert sdk - set(headings(describe_python.API)) == set()
