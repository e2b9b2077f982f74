"""One bug to plant: where, what is broken by it, and what must catch it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

COMMAND = "python -m "


class CannotBePlanted(Exception):
    """The code has moved on from what the entry expects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A bug of one place.

    `promise`: the one of docs/promises.md that it breaks, such as R5. `sentence`: what goes wrong, for whoever meets
    it. `file`: from the root of the repository. `old` is found there exactly once, and becomes `new`. `caught_by`:
    tests, by their pytest ids, each of which must fail; or commands (`python -m …`), each of which must exit with 1.
    """

    name: str
    promise: str
    sentence: str
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...]

    @property
    def tests(self) -> tuple[str, ...]:
        return tuple(catcher for catcher in self.caught_by if not catcher.startswith(COMMAND))

    @property
    def commands(self) -> tuple[str, ...]:
        return tuple(catcher for catcher in self.caught_by if catcher.startswith(COMMAND))

    def planted_in(self, root: Path) -> str:
        """The text of the file with the bug in it; raises CannotBePlanted."""
        path = root / self.file
        if not path.is_file():
            raise CannotBePlanted(f"{self.name}: there is no {self.file}")
        text = path.read_text("utf-8")
        if (times := text.count(self.old)) != 1:
            raise CannotBePlanted(f"{self.name}: its old text is in {self.file} {times} times, not once:\n{self.old}")
        if self.old == self.new:
            raise CannotBePlanted(f"{self.name}: it changes nothing")
        return text.replace(self.old, self.new)

    def plant(self, root: Path) -> None:
        """Put the bug into the tree at `root`; raises CannotBePlanted."""
        (root / self.file).write_text(self.planted_in(root), "utf-8")
