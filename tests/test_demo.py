"""`make demo`: what it shows, and that nothing of it is left, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.leftovers import left_after, processes_of

DEMO = Path(__file__).parent.parent / "examples" / "demo.py"
SERVER = re.compile(r"-m agent_messaging_mcp --agent (\w+)")

MILESTONES = [
    r"starting the servers",
    r"1\. A question, and its answer",
    r"alice +asks bob, and waits: “Which commit",
    r"bob +waited [\d.]+ s for something to do: a question from alice",
    r"bob +answers alice: “9f3c2e1",
    r"alice +waited [\d.]+ s for bob: “9f3c2e1",
    r"2\. Messages: nobody waits for an answer",
    r"alice +writes to carol, and carries on",
    r"carol +waited [\d.]+ s for something to do: a message from alice",
    r"carol +writes back to alice, and does not wait",
    r"alice +looks up after [\d.]+ s of it; carol has written: “Read them",
    r"3\. A meeting: one speaks at a time",
    r"alice +invites bob and carol: “Is 1\.4 ready\?”",
    r"alice +waited [\d.]+ s for bob and carol to attend m\w+",
    r"alice +opens the meeting, and hands the floor to carol: “One test was red",
    r"carol +has turn 2 after waiting [\d.]+ s for alice",
    r"carol +says: “The import test",
    r"bob +has turn 3 after waiting [\d.]+ s for alice and carol",
    r"bob +says, and hands the floor to carol: “That would be the retry",
    r"carol +has turn 4 after waiting [\d.]+ s for bob",
    r"carol +says: “Fifty runs",
    r"alice +has turn 5 after waiting [\d.]+ s for carol and bob",
    r"alice +says: “Then we ship",
    r"bob +has turn 6 after waiting [\d.]+ s for carol and alice",
    r"bob +passes",
    r"carol +has turn 7 after waiting [\d.]+ s for alice and bob",
    r"carol +passes",
    r"alice +has turn 8 after waiting [\d.]+ s for bob and carol",
    r"alice +ends the meeting: “1\.4 goes out",
    r"learns that the meeting has ended \(by_host\): “1\.4 goes out",
    r"4\. The history of the meeting, read as a resource",
    r"carol +reads messaging://meetings/m\w+/history",
    r"5 alice, turn 1\] │ One test was red",
    r"bob passed",
    r"the meeting ended: its host ended it",
    r"the database stops by itself",
    r"Done in [\d.]+ s\. No process and no file is left behind\.",
]


def start(home: Path) -> subprocess.Popen[str]:
    """Start the demo with `home` as the place for its temporary files."""
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, DEMO],
        env={"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_until(demo: subprocess.Popen[str], words: str) -> None:
    assert demo.stdout is not None
    for line in demo.stdout:
        if words in line:
            return
    pytest.fail(f"the demo never said {words!r}")


def servers_of(home: Path) -> dict[str, int]:
    """The MCP servers that work below `home`: the agent and the process of each."""
    found = ((SERVER.search(command), pid) for pid, command in processes_of(home).items())
    return {match[1]: pid for match, pid in found if match}


def everything_is_gone(home: Path) -> bool:
    return left_after(5, home) == {} and list(home.iterdir()) == []


@pytest.mark.requirement("examples:demo:milestones")
@pytest.mark.requirement("examples:demo:twice")
@pytest.mark.requirement("examples:demo:nothing-left")
def test_two_demos_at_once_in_a_path_with_a_space_each_show_the_whole_story_and_leave_nothing(tmp_path: Path):
    homes = [tmp_path / "first home", tmp_path / "second home"]
    demos = [start(home) for home in homes]
    try:
        for demo in demos:
            shown, errors = demo.communicate(timeout=200)
            assert (demo.returncode, errors) == (0, "")
            assert "\x1b" not in shown
            story = " ".join(shown.split())
            for milestone in MILESTONES:
                found = re.search(milestone, story)
                assert found, f"{milestone!r} does not follow in:\n{shown}"
                story = story[found.end() :]
    finally:
        for demo in demos:
            demo.kill()
    assert all(everything_is_gone(home) for home in homes)


@pytest.mark.requirement("examples:demo:processes")
@pytest.mark.requirement("examples:demo:interrupt")
def test_a_demo_that_is_interrupted_ends_its_three_servers_and_leaves_nothing(tmp_path: Path):
    with start(tmp_path) as demo:
        try:
            read_until(demo, "asks bob, and waits")
            assert servers_of(tmp_path).keys() == {"alice", "bob", "carol"}
            demo.send_signal(signal.SIGINT)
            shown, errors = demo.communicate(timeout=200)
        finally:
            demo.kill()
    assert demo.returncode == 130
    assert "A meeting" not in shown
    assert errors == "\nInterrupted; nothing is left behind.\n"
    assert everything_is_gone(tmp_path)


@pytest.mark.requirement("examples:demo:interrupt")
def test_a_demo_that_is_ended_while_the_database_is_being_made_leaves_nothing(tmp_path: Path):
    with start(tmp_path) as demo:
        try:
            read_until(demo, "starting the servers")
            ends_at = time.monotonic() + 30
            while not list(tmp_path.glob("*/data/*/data*")) and time.monotonic() < ends_at:
                time.sleep(0.01)
            demo.send_signal(signal.SIGTERM)
            demo.communicate(timeout=200)
        finally:
            demo.kill()
    assert demo.returncode == 143
    assert everything_is_gone(tmp_path)


@pytest.mark.requirement("examples:demo:failure")
def test_a_demo_whose_server_dies_fails_says_so_and_leaves_nothing(tmp_path: Path):
    with start(tmp_path) as demo:
        try:
            read_until(demo, "asks bob, and waits")
            os.kill(servers_of(tmp_path)["bob"], signal.SIGKILL)
            _, errors = demo.communicate(timeout=200)
        finally:
            demo.kill()
    assert demo.returncode == 1
    assert "The demo failed: " in errors
    assert "Traceback" not in errors
    assert everything_is_gone(tmp_path)
