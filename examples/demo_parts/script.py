"""The words of the three agents. A language model would find its own; these need no model and no key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

THINKING = 0.5  # seconds an agent takes to find its words


@dataclass(frozen=True, slots=True)
class Line:
    """What an agent does with a turn: speak, or pass without words; `then` is whom it hands the floor to."""

    words: str = ""
    then: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """What one agent has to say: to a question, to a message, and in its turns of a meeting."""

    answer: str = ""
    response: str = ""
    lines: tuple[Line, ...] = ()


QUESTION = "Which commit does staging run? I want to announce the right one."
NOTICE = "The release notes are in docs/releases/1.4.md. No hurry: tell me what is missing."
TITLE = "Is 1.4 ready?"
AGENDA = "1. The failing import test. 2. Go or no go."
OUTCOME = "1.4 goes out tomorrow at ten, with the retry fix."

PARTS: Mapping[str, Part] = {
    "alice": Part(
        lines=(
            Line("One test was red last night. Carol, what is it?", then="carol"),
            Line("Then we ship tomorrow at ten, with Bob's fix. Any objection?"),
        )
    ),
    "bob": Part(
        answer="9f3c2e1, since this morning.",
        lines=(
            Line("That would be the retry in the loader; I have a fix. Carol, does it pass for you?", then="carol"),
            Line(),
        ),
    ),
    "carol": Part(
        response="Read them. The new retry setting is missing.",
        lines=(
            Line("The import test: it fails one run in five, always after a lost connection."),
            Line("Fifty runs with the fix, all green."),
            Line(),
        ),
    ),
}
