"""What is measured together, by the numbers of its figures."""

from __future__ import annotations

import sys

from benchmarks.asking import asking, asking_another_process, asking_in_a_crowd
from benchmarks.ground import Family
from benchmarks.growth import growth
from benchmarks.inbox import inbox
from benchmarks.meetings import meetings
from benchmarks.peers import peers
from benchmarks.sending import sending
from benchmarks.starting import starting
from benchmarks.waiting import waiting
from benchmarks.waiting_clients import waiting_clients
from benchmarks.words import words

FAMILIES: dict[tuple[str, ...], Family] = {
    ("P1", "P2", "P3"): sending,
    ("P4", "P5"): asking,
    ("P6",): asking_in_a_crowd,
    ("P4", "P7"): asking_another_process,
    ("P8",): meetings,
    ("P9",): waiting,
    ("P10",): growth,
    ("P11", "P12"): waiting_clients,
    ("P13",): starting,
    ("P14",): words,
    ("P15",): inbox,
    ("peers",): peers,
}
LARGE = {"P9", "P10"}


def chosen(only: str | None, large: bool) -> set[str]:
    """The figures that `--only` names, or else all; ends the program if one does not exist."""
    every = {number for numbers in FAMILIES for number in numbers}
    if only is None:
        return LARGE if large else every
    wanted = {number.strip() for number in only.split(",")}
    if unknown := wanted - every:
        sys.exit(f"there is no figure {', '.join(sorted(unknown))}; there are {', '.join(sorted(every, key=_order))}")
    return wanted


def _order(number: str) -> tuple[int, str]:
    return (int(number[1:]), "") if number[1:].isdecimal() else (99, number)
