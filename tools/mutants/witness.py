"""A plugin of pytest: writes down which code the tests ran on, and what became of each test.

Loaded with `-p tools.mutants.witness` in a copy of the tree; the lines go to the file that `REPORTS` names.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPORTS = "MUTANTS_REPORTS"
PACKAGES = ("agent_messaging_db", "agent_messaging", "agent_messaging_mcp")


def pytest_sessionstart() -> None:
    """Say where the project comes from."""
    _write({"imported": {name: importlib.import_module(name).__file__ for name in PACKAGES}})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Say how a phase of a test ended, and if with an error, what kind of error it was and who raised it."""
    report = yield
    errors = [] if report.passed or call.excinfo is None else list(leaves(call.excinfo.value))
    _write(
        {
            "test": item.nodeid,
            "phase": report.when,
            "passed": report.passed,
            "errors": [
                {
                    "kinds": [kind.__name__ for kind in type(error).__mro__],
                    "raised_in": raised_in(error),
                    "words": str(error)[:500],
                }
                for error in errors
            ],
        }
    )
    return report


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, however deep; an error that is no group is itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def raised_in(error: BaseException) -> str:
    """The file whose code raised it; empty if nobody knows."""
    trace, file = error.__traceback__, ""
    while trace is not None:
        file, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return file


def _write(line: dict[str, Any]) -> None:
    with Path(os.environ[REPORTS]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
