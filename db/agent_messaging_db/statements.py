"""Loads the named SQL statements of `sql/*.sql`; placeholders are PostgreSQL's own, so a file also runs under
psql.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEAD = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def load(noun: str) -> dict[str, str]:
    """Give the statements of `sql/<noun>.sql` by name."""
    text = (files("agent_messaging_db") / "sql" / f"{noun}.sql").read_text(encoding="utf-8")
    _, *parts = _HEAD.split(text)
    return {name: sql.strip().rstrip(";") for name, sql in zip(parts[::2], parts[1::2], strict=True)}
