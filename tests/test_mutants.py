"""`make mutants` without planting anything: every bug still fits the code, and what counts as catching one."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tools.mutants.__main__ import main
from tools.mutants.mutant import COMMAND, CannotBePlanted, Mutant
from tools.mutants.planted import ALL
from tools.mutants.report import summary
from tools.mutants.trees import SOURCES
from tools.mutants.trial import Outcome
from tools.mutants.verdicts import Error, Report, Reports, Verdict, caught, failures, nonsense_in, read, shortcomings
from tools.mutants.witness import raised_in

ROOT = Path(__file__).parent.parent
PROMISES = {f"R{number}" for number in range(1, 19) if number != 12}
WRONG_VALUE = Error(("AssertionError", "Exception", "BaseException"), "/copy/tests/test_a.py", "assert 1 == 2")
WRONG_CODE = Error(("NameError", "Exception", "BaseException"), "/copy/db/agent_messaging_db/pool.py", "no name 'x'")
BUG = Mutant(name="a", promise="R1", sentence="Wrong.", file="a.py", old="1", new="2", caught_by=("test_a.py::test_a",))


@cache
def functions_of(path: str) -> set[str]:
    file = ROOT / path
    tree = ast.parse(file.read_text("utf-8") if file.is_file() else "")
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def reports(*of: Report) -> Reports:
    return Reports({name: f"/copy/{folder}/{name}/__init__.py" for name, folder in SOURCES.items()}, of)


@pytest.mark.requirement("mutants:planted")
def test_every_test_that_is_to_catch_a_bug_exists_with_its_parameters() -> None:
    names = sorted({name for mutant in ALL for name in mutant.tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *names]
    collected = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert collected.returncode == 0, collected.stderr


def test_every_bug_still_fits_the_code_and_is_code() -> None:
    wrong: list[str] = []
    for bug in ALL:
        try:
            text = bug.planted_in(ROOT)
            if bug.file.endswith(".py"):
                ast.parse(text)
        except (CannotBePlanted, SyntaxError) as error:
            wrong.append(f"{bug.name}: {error}")
        if Path(bug.file).parts[0] not in SOURCES.values():
            wrong.append(f"{bug.name}: {bug.file} is no part of the product")
    assert wrong == []


def test_what_is_to_catch_a_bug_exists() -> None:
    missing: list[str] = []
    for bug in ALL:
        assert bug.caught_by, bug.name
        for test in bug.tests:
            path, _, name = test.partition("::")
            if name.partition("[")[0] not in functions_of(path):
                missing.append(f"{bug.name}: {test}")
        for command in bug.commands:
            module = ROOT / command.removeprefix(COMMAND).split()[0].replace(".", "/")
            if not (module / "__main__.py").is_file() and not module.with_suffix(".py").is_file():
                missing.append(f"{bug.name}: {command}")
    assert missing == []


@pytest.mark.requirement("mutants:planted")
def test_every_promise_has_bugs_that_break_it_and_no_two_are_the_same() -> None:
    assert len(ALL) >= 40
    assert {bug.promise for bug in ALL} == PROMISES
    assert [name for name, times in Counter(bug.name for bug in ALL).items() if times > 1] == []
    assert [place for place, times in Counter((bug.file, bug.old, bug.new) for bug in ALL).items() if times > 1] == []


@pytest.mark.parametrize(
    ("text", "words"), [("2 and 2", "0 times"), ("1 and 1", "2 times")], ids=["gone", "no longer alone"]
)
def test_a_bug_whose_place_is_not_there_once_is_an_error_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(CannotBePlanted, match=f"^a: its old text is in a.py {words}"):
        BUG.plant(tmp_path)
    assert (tmp_path / "a.py").read_text() == text
    (tmp_path / "a.py").unlink()
    with pytest.raises(CannotBePlanted, match=r"^a: there is no a\.py"):
        BUG.plant(tmp_path)


@pytest.mark.requirement("mutants:verdict")
def test_a_test_catches_a_bug_by_failing_in_itself() -> None:
    failed = Report("t.py::test_a", "call", False, (WRONG_VALUE,))
    assert caught(reports(failed), ["t.py::test_a", "t.py::test_ab"]) == {"t.py::test_a"}
    assert caught(reports(Report("t.py::test_a[x-y]", "call", False, (WRONG_VALUE,))), ["t.py::test_a"])
    assert not caught(reports(Report("t.py::test_a", "call", True)), ["t.py::test_a"])
    for phase in ("setup", "teardown"):
        assert not caught(reports(Report("t.py::test_a", phase, False, (WRONG_VALUE,))), ["t.py::test_a"])


@pytest.mark.requirement("mutants:verdict")
def test_code_that_cannot_run_catches_nothing_and_is_told() -> None:
    failed = Report("t.py::test_a", "call", False, (WRONG_VALUE, WRONG_CODE))
    assert not caught(reports(failed), ["t.py::test_a"])
    assert shortcomings(reports(failed), ["t.py::test_a"]) == [
        "t.py::test_a met code that cannot run: NameError: no name 'x'"
    ]
    assert not Error(WRONG_CODE.kinds, "/copy/tests/test_a.py", "").is_nonsense
    assert Error(("ModuleNotFoundError", "ImportError"), "/copy/tests/test_a.py", "").is_nonsense
    sql = ("UndefinedColumnError", "SyntaxOrAccessError", "PostgresError")
    assert Error(sql, "/asyncpg/protocol.pyx", "").is_nonsense


@pytest.mark.requirement("mutants:verdict")
def test_a_command_that_cannot_run_catches_nothing() -> None:
    assert nonsense_in("seed 1\nlost: 3\n") == ""
    assert nonsense_in("a bug: NameError: no\n  ImportError: indented\n") == ""
    assert nonsense_in("Traceback:\n  ...\nNameError: no name 'x'\nmore") == "NameError: no name 'x'"
    assert nonsense_in("ModuleNotFoundError: No module named 'x'") == "ModuleNotFoundError: No module named 'x'"


@pytest.mark.requirement("mutants:verdict")
def test_a_test_that_did_not_run_proves_nothing() -> None:
    assert shortcomings(reports(), ["t.py::test_a"]) == ["t.py::test_a did not run"]
    no_setup = Report("t.py::test_a", "setup", False, (WRONG_VALUE,))
    assert shortcomings(reports(no_setup), ["t.py::test_a"]) == ["t.py::test_a did not run"]
    assert failures(reports(), ["t.py::test_a"]) == ["t.py::test_a did not run"]
    assert failures(reports(no_setup), ["t.py::test_a"]) == [
        "t.py::test_a did not run",
        "t.py::test_a failed (setup): AssertionError: assert 1 == 2",
    ]


@pytest.mark.requirement("mutants:copy")
def test_code_that_was_not_imported_from_the_copy_is_noticed(tmp_path: Path) -> None:
    lines = tmp_path / "reports.jsonl"
    assert read(lines).foreign(Path("/copy")) == list(SOURCES)
    found = {name: f"/copy/{folder}/{name}/__init__.py" for name, folder in SOURCES.items()}
    lines.write_text(json.dumps({"imported": found}) + "\n")
    assert read(lines).foreign(Path("/copy")) == []
    assert read(lines).foreign(Path("/cop")) == list(SOURCES)
    lines.write_text(json.dumps({"imported": found | {"agent_messaging": "/elsewhere/agent_messaging/__init__.py"}}))
    assert read(lines).foreign(Path("/copy")) == ["agent_messaging"]


def test_who_raised_an_error_is_the_last_to_have_touched_it() -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - of whatever kind
        json.loads("{")
    assert raised_in(raised.value).endswith("json/decoder.py")
    assert raised_in(ValueError()) == ""


@pytest.mark.requirement("mutants:verdict")
def test_the_table_says_what_caught_what_and_what_nothing_caught() -> None:
    table = summary(
        [
            Outcome(BUG, Verdict.CAUGHT, 2, 1.23),
            Outcome(BUG, Verdict.SURVIVED, 3, 4.0, missed=BUG.caught_by),
            Outcome(BUG, Verdict.BROKEN, 1, 1.0, why=("it does not run",)),
        ],
        9,
    )
    assert "a  R1         1.2  test_a (run 2)" in table
    assert "a survived: Wrong.\n  in a.py, 3 runs; passed:\n    test_a.py::test_a" in table
    assert "a does not work as a bug:\n    it does not run" in table
    assert table.endswith("3 bugs against 1 promises: 1 caught, 1 survived, 1 broken, in 9 s")


def test_a_bug_that_nobody_knows_is_not_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "unheard-of"]) == 2
    assert "there is no bug unheard-of" in capsys.readouterr().err
    assert main(["--list", "--promise", "R8"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed
    assert all(line.startswith("R8 ") for line in listed)
