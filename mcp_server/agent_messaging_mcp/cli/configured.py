"""Settings from the environment and the command line, or one sentence on what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

Made = TypeVar("Made")


def configured(make: Callable[[], Made]) -> Made:
    """What `make` gives; a value that it refuses is named, never shown. Raises ClickException."""
    from pydantic import ValidationError

    try:
        return make()
    except ValidationError as wrong:
        prefix = "AGENT_MESSAGING_" if wrong.title == "Settings" else ""
        found = "; ".join(
            f"{_variable(at['loc'], prefix)}{at['msg'].removeprefix('Value error, ')}"
            for at in wrong.errors(include_input=False)
        )
        raise click.ClickException(f"the configuration cannot be used: {found}") from None


def _variable(place: tuple[int | str, ...], prefix: str) -> str:
    name = ".".join(map(str, place)).upper()
    if not name:
        return ""
    return f"{name}: " if name.startswith((prefix or name, "OAUTH_")) else f"{prefix}{name}: "
