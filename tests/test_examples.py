"""The example programs of the design print what the design says, and end by themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent_messaging_db import embedded
from tests.leftovers import left_after

EXAMPLES = Path(__file__).parent.parent / "examples"

PRINTED = {
    "notification.py": ["Bob received: Server restart in 5 minutes (Priority: high)"],
    "interview.py": [
        "Bob: My answer to 'What's your experience?' is...",
        "Bob: My answer to 'Why this role?' is...",
        "Bob: My answer to 'Any questions for us?' is...",
    ],
    "meeting.py": [
        """agent_alice spoke: speaker='Alice' content="Let's discuss the project\"""",
        "agent_bob spoke: speaker='Bob' content='The backend is ready'",
        "agent_charlie spoke: speaker='Charlie' content='The tests need another day'",
    ],
}


def run(example: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / example],
        env={"PATH": os.environ.get("PATH", os.defpath), "AGENT_MESSAGING_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.requirement("examples:design:print")
@pytest.mark.requirement("examples:design:again")
@pytest.mark.requirement("examples:design:nothing-left")
def test_the_examples_of_the_design_print_what_it_says_however_often_they_are_run(tmp_path: Path):
    data_dir = tmp_path / "a fresh directory"
    try:
        for example in [*PRINTED, *reversed(PRINTED)]:
            finished = run(example, data_dir)
            assert (finished.returncode, finished.stderr) == (0, "")
            assert finished.stdout.splitlines() == PRINTED[example]
        assert left_after(20, tmp_path) == {}
    except BaseException:
        embedded.stop(data_dir)
        raise
