"""How large each table and index is, for the report and for `python -m benchmarks sizes` on any database."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import asyncpg

_SIZES = """
SELECT t.relname AS table_name, i.relname AS index_name, pg_relation_size(coalesce(i.oid, t.oid)) AS bytes,
       greatest(t.reltuples, 0)::bigint AS rows
FROM pg_class t
LEFT JOIN LATERAL (
    SELECT NULL::oid AS oid, NULL::name AS relname
    UNION ALL
    SELECT c.oid, c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid = t.oid
) i ON true
WHERE t.relkind = 'r' AND t.relnamespace = current_schema()::regnamespace AND t.relname <> ALL ($1::text[])
ORDER BY pg_total_relation_size(t.oid) DESC, t.relname, i.relname NULLS FIRST
"""


@dataclass(frozen=True, slots=True)
class Size:
    """A table without its indexes, or with `index` one of them. `rows` is the planner's estimate for the table."""

    table: str
    index: str | None
    bytes: int
    rows: int


async def sizes(connection: asyncpg.Connection[Any], *, without: tuple[str, ...] = ()) -> list[Size]:
    """The tables of the connection's schema, largest first, each followed by its indexes."""
    rows = await connection.fetch(_SIZES, list(without))
    return [Size(row["table_name"], row["index_name"], row["bytes"], row["rows"]) for row in rows]


def table(found: list[Size]) -> str:
    """In Markdown, without what is empty; bytes a row where there are enough rows to tell."""
    lines = ["| table | index | rows | size | bytes a row |", "|---|---|---|---|---|"]
    for size in found:
        if size.bytes <= 8192:
            continue
        each = f"{size.bytes / size.rows:.0f}" if size.rows >= 1_000 else ""
        rows = f"{size.rows:,}" if size.index is None else ""
        lines.append(f"| {size.table} | {size.index or ''} | {rows} | {_shown(size.bytes)} | {each} |")
    return "\n".join(lines)


async def main() -> str:
    """The sizes of the database that DATABASE_URL names."""
    dsn = os.environ.get("DATABASE_URL")
    if not dsn:
        raise SystemExit("set DATABASE_URL to the database whose tables are to be measured")
    connection = await asyncpg.connect(dsn)
    try:
        return table(await sizes(connection))
    finally:
        await connection.close()


def _shown(size: int) -> str:
    return f"{size / 2**20:.1f} MB" if size >= 2**20 else f"{size / 2**10:.0f} kB"
