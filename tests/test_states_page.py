"""The page of states says what the tables say."""

from __future__ import annotations

import pytest

from agent_messaging.rules.conversation import QUESTION
from agent_messaging.rules.meeting_tables import FLOOR, MEMBERS
from tools import draw_states


@pytest.mark.requirement("states:page")
def test_the_states_page_is_drawn_from_the_tables_that_run() -> None:
    drawn = draw_states.PAGE.read_text(encoding="utf-8")

    assert drawn == draw_states.page(), "run: python tools/draw_states.py"


@pytest.mark.requirement("states:page")
def test_the_states_page_shows_every_arrow_of_every_table() -> None:
    edges = draw_states.phase_edges()
    edges += draw_states.edges(QUESTION) + draw_states.edges(MEMBERS) + draw_states.edges(FLOOR)
    lines = draw_states.page().splitlines()

    for before, step, after in edges:
        drawn = [line for line in lines if line.startswith(f"    {before} --> {after}: ")]
        assert any(step in line.split(": ", 1)[1].split(", ") for line in drawn), (before, step, after)
