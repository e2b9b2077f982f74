"""Draw `docs/states.md` from the tables of the rules: `python tools/draw_states.py`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import TypeVar

from agent_messaging.rules.conversation import QUESTION
from agent_messaging.rules.meeting_tables import FLOOR, MEMBERS, PHASES
from agent_messaging_db.rows import Floor, MeetingPhase, MemberStatus, QuestionState

PAGE = Path(__file__).resolve().parent.parent / "docs" / "states.md"

Edge = tuple[str, str, str]
State = TypeVar("State", bound=Enum)
Step = TypeVar("Step", bound=Enum)

HEAD = """\
# States

The machines of questions and meetings, drawn from the tables that the code runs on by `tools/draw_states.py`;
do not edit. What has no arrow is refused. The guards (who may, with what turn) are in
`protocol/agent_messaging/rules/meeting_guards.py`.
"""


def edges(table: Mapping[State, Mapping[Step, State]]) -> list[Edge]:
    """The arrows of a table in which every step leads to one state."""
    return [(before.value, step.value, after.value) for before, row in table.items() for step, after in row.items()]


def phase_edges() -> list[Edge]:
    """The arrows of the table of phases, where a command may lead to several."""
    return [
        (phase.value, command.__name__, after.value)
        for phase, row in PHASES.items()
        for command, phases in row.items()
        for after in phases
    ]


def diagram(first: Enum, arrows: Iterable[Edge]) -> str:
    """A Mermaid chart: one arrow for each pair of states, labelled with every step between them."""
    steps: dict[tuple[str, str], list[str]] = {}
    for before, step, after in arrows:
        steps.setdefault((before, after), []).append(step)
    leaving = {before for before, after in steps if before != after}
    reached = {state for pair in steps for state in pair}
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}"]
    lines += [f"    {before} --> {after}: {', '.join(labels)}" for (before, after), labels in steps.items()]
    lines += [f"    {state} --> [*]" for state in sorted(reached - leaving)]
    return "\n".join([*lines, "```", ""])


def grid(states: Iterable[Enum], steps: Iterable[str], arrows: Iterable[Edge]) -> str:
    """A table: states down, steps across, what follows in the cells; an empty cell is a refusal."""
    cells: dict[tuple[str, str], list[str]] = {}
    for before, step, after in arrows:
        cells.setdefault((before, step), []).append(after)
    columns = list(steps)
    lines = [f"| | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for state in states:
        row = (" or ".join(cells.get((state.value, step), [])) for step in columns)
        lines.append(f"| **{state.value}** | {' | '.join(row)} |")
    return "\n".join([*lines, ""])


def section(title: str, text: str, first: Enum, states: Iterable[Enum], arrows: list[Edge]) -> str:
    """A heading, a sentence, the chart, the table."""
    steps = list(dict.fromkeys(step for _, step, _ in arrows))
    return "\n".join([f"## {title}\n", f"{text}\n", diagram(first, arrows), grid(states, steps, arrows)])


def commands() -> str:
    """What each command of a meeting is, as its docstring says."""
    known = dict.fromkeys(command for row in PHASES.values() for command in row)
    return "\n".join([*(f"- `{command.__name__}`: {inspect.getdoc(command)}" for command in known), ""])


def page() -> str:
    """The whole page."""
    return (
        "\n".join(
            [
                HEAD,
                section(
                    "Questions",
                    "An answer after `expired` is flagged late.",
                    QuestionState.OPEN,
                    QuestionState,
                    edges(QUESTION),
                ),
                section(
                    "Meetings",
                    "`ready` is not stored: it is `created` while the host attends and the quorum does."
                    " Where a command may lead to several phases, the rules of the floor decide.",
                    MeetingPhase.CREATED,
                    MeetingPhase,
                    phase_edges(),
                ),
                commands(),
                section(
                    "Members",
                    "`waiting` and `speaking` are `attending` without and with the floor.",
                    MemberStatus.INVITED,
                    MemberStatus,
                    edges(MEMBERS),
                ),
                section(
                    "The floor",
                    "Every grant is a turn with a number of its own. A meeting is `active`"
                    " exactly while its floor is not `none`.",
                    Floor.NONE,
                    Floor,
                    edges(FLOOR),
                ),
            ]
        ).rstrip("\n")
        + "\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
