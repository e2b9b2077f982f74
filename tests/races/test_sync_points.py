"""Sync points: nobody but a test sets them off, each is somewhere, and at each a call is cancelled by some test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent_messaging_db import sync_points
from agent_messaging_db.sync_points import SyncPoint
from tests.races.operations import ALL

ROOT = Path(__file__).parents[2]
PRODUCT = [path for layer in ("db", "protocol", "mcp_server") for path in sorted((ROOT / layer).rglob("*.py"))]


def mentioned(text: str) -> set[SyncPoint]:
    return {SyncPoint[name] for name in re.findall(r"SyncPoint\.([A-Z_]+)", text)}


@pytest.mark.requirement("sync-points:off")
def test_nothing_of_the_product_sets_the_hook() -> None:
    assert sync_points.hook is None
    setting = re.compile(r"sync_points\.hook\s*(:[^=\n]*)?=[^=]|setattr\(\s*sync_points|global hook")
    assert [path.name for path in PRODUCT if setting.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.requirement("sync-points:off")
def test_a_point_is_passed_only_where_the_hook_was_looked_at() -> None:
    asked = re.compile(
        r"if (?:\w+ and )?sync_points\.hook is not None:\n +await sync_points\.hook\(SyncPoint\.[A-Z_]+\)\n"
    )
    passed = re.compile(r"sync_points\.hook\(")
    for path in PRODUCT:
        text = path.read_text(encoding="utf-8")
        assert len(passed.findall(text)) == len(asked.findall(text)), path


@pytest.mark.requirement("sync-points:reached")
def test_every_point_is_somewhere_in_the_product() -> None:
    assert set[SyncPoint]().union(*(mentioned(path.read_text(encoding="utf-8")) for path in PRODUCT)) == set(SyncPoint)


@pytest.mark.requirement("sync-points:reached")
def test_at_every_point_a_call_is_cancelled_or_its_process_closed_by_a_test() -> None:
    closed = mentioned((ROOT / "tests" / "races" / "test_closing.py").read_text(encoding="utf-8"))
    assert closed.union(*(kind.points for kind in ALL)) == set(SyncPoint)
