"""One row of the table: what is compared, the ratio of every round, and whether it reaches what is wanted."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class Figure:
    """Numbers of ours beside those of the floor, one of each a round.

    `reach` bounds the median of the rounds' ratios, from below where more is better (`least`), else from above.
    Without a `reach` the row is told and not judged; `absolute` rows have no floor, and their own number is bounded.
    """

    number: str
    what: str
    unit: str
    reach: float | None = None
    least: bool = False
    absolute: bool = False
    floors: list[float] = field(default_factory=list[float])
    ours: list[float] = field(default_factory=list[float])

    def add(self, floor: float, ours: float) -> None:
        """One round."""
        self.floors.append(floor)
        self.ours.append(ours)

    def add_absolute(self, ours: float) -> None:
        """One round without a floor."""
        self.ours.append(ours)

    @property
    def value(self) -> float:
        """What is bounded: the median of the ratios, each of one round, or of the numbers themselves."""
        if self.absolute:
            return statistics.median(self.ours)
        return statistics.median(own / base for own, base in zip(self.ours, self.floors, strict=True))

    @property
    def reached(self) -> bool | None:
        if self.reach is None:
            return None
        return self.value >= self.reach if self.least else self.value <= self.reach

    def cells(self) -> list[str]:
        """The row of the table: floor, ours, ratio, reach, verdict."""
        sign = "≥" if self.least else "≤"
        unit = f" {self.unit}" if self.absolute else " ×"
        return [
            self.number,
            self.what,
            "" if self.absolute else f"{number(statistics.median(self.floors))} {self.unit}",
            f"{number(statistics.median(self.ours))} {self.unit}",
            "" if self.absolute else f"{self.value:.2f} ×",
            "" if self.reach is None else f"{sign} {self.reach:,g}{unit}",
            {None: "", True: "reached", False: "**not reached**"}[self.reached],
        ]


def number(value: float) -> str:
    """Three digits that mean something: 0.123, 4.56, 789, 12,300."""
    return f"{float(f'{value:.3g}'):,.10g}"


def table(figures: list[Figure]) -> str:
    """The figures in Markdown."""
    head = ["", "what", "floor", "ours", "ratio", "reach", ""]
    lines = [head, ["---"] * len(head), *(figure.cells() for figure in figures)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
