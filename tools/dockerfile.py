"""What a Dockerfile says, and what `.dockerignore` lets it see: read without an engine, for the dry run and the
tests. Knows what ours uses, and refuses the rest.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_KNOWN = frozenset(
    {"CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL", "USER", "WORKDIR"}
)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One step; `value` is what follows the keyword, its continued lines joined."""

    line: int
    keyword: str
    value: str

    @property
    def options(self) -> dict[str, str]:
        """The `--name=value` that it begins with."""
        return dict(re.findall(r"--([a-z-]+)=(\S+)", self.value.removesuffix(self.arguments)))

    @property
    def arguments(self) -> str:
        """The rest."""
        return re.sub(r"^(--\S+\s+)*", "", self.value)

    @property
    def words(self) -> list[str]:
        """The arguments apart: of a list in JSON, or as a shell parts them."""
        return json.loads(self.arguments) if self.arguments.startswith("[") else shlex.split(self.arguments)

    @property
    def pairs(self) -> dict[str, str]:
        """The arguments of ENV and LABEL."""
        return dict(word.split("=", 1) for word in self.words)


@dataclass(slots=True)
class Stage:
    """From one FROM to the next."""

    image: str
    name: str | None
    steps: list[Instruction] = field(default_factory=list[Instruction])

    def all(self, keyword: str) -> list[Instruction]:
        return [step for step in self.steps if step.keyword == keyword]

    def last(self, keyword: str) -> Instruction:
        return self.all(keyword)[-1]


def read(text: str) -> list[Stage]:
    """The stages of a Dockerfile. Raises ValueError for an instruction that is not known here."""
    stages: list[Stage] = []
    for step in _instructions(text):
        if step.keyword == "FROM":
            image, _, name = step.value.partition(" AS ")
            stages.append(Stage(image, name or None))
        elif step.keyword in _KNOWN:
            stages[-1].steps.append(step)
        else:
            raise ValueError(f"line {step.line}: {step.keyword} is not known here")
    return stages


def _instructions(text: str) -> Iterator[Instruction]:
    begun, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        begun = begun if parts else number
        parts.append(line.strip().removesuffix("\\").strip())
        if line.endswith("\\"):
            continue
        keyword, _, value = " ".join(parts).partition(" ")
        parts.clear()
        # HEALTHCHECK keeps its CMD inside: `--interval=10s CMD [...]`.
        yield Instruction(begun, keyword, value)


def context(root: Path) -> list[Path]:
    """The files of `root` that a build sees, relative to it: what the last matching line of .dockerignore says,
    about the file or a directory above it.
    """
    lines = (root / ".dockerignore").read_text("utf-8").splitlines()
    rules = [(line[0] == "!", _pattern(line.lstrip("!").strip("/"))) for line in lines if line and line[0] != "#"]
    seen: list[Path] = []
    for directory, directories, files in os.walk(root):
        directories[:] = [name for name in directories if name not in (".git", ".venv")]
        seen += [Path(directory, name).relative_to(root) for name in files]
    return sorted(path for path in seen if _is_kept(path, rules))


def _is_kept(path: Path, rules: list[tuple[bool, re.Pattern[str]]]) -> bool:
    kept = True
    above = [path.as_posix(), *(parent.as_posix() for parent in path.parents if parent.name)]
    for keeps, pattern in rules:
        if any(pattern.fullmatch(name) for name in above):
            kept = keeps
    return kept


def _pattern(line: str) -> re.Pattern[str]:
    # Docker's patterns: ** any number of directories, * and ? within one, [abc] as in the shell.
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]*\])", line)
    return re.compile("".join(meaning.get(part, part if part[:1] == "[" else re.escape(part)) for part in parts))
