"""Every SQL statement stands: PostgreSQL accepts it on the migrated schema, and the code uses all and no other."""

from __future__ import annotations

import importlib
import re
from importlib.resources import files
from pathlib import Path

import pytest

import agent_messaging_db
from agent_messaging_db.statements import load
from tests.conftest import connect

PACKAGE = Path(agent_messaging_db.__file__).parent
NOUNS = sorted(path.name.removesuffix(".sql") for path in files("agent_messaging_db").joinpath("sql").iterdir())  # type: ignore[attr-defined]
USE = re.compile(r'_SQL\["(\w+)"\]|load\("(\w+)"\)\["(\w+)"\]')


def used() -> set[tuple[str, str]]:
    """The statements that the code asks for: (noun, name)."""
    found: set[tuple[str, str]] = set()
    for path in PACKAGE.glob("*.py"):
        text = path.read_text()
        own = re.search(r'^_SQL = load\("(\w+)"\)', text, re.MULTILINE)
        for name, noun, other in USE.findall(text):
            found.add((noun, other) if noun else (own[1] if own else "", name))
    return found


@pytest.mark.requirement("sql:prepared")
async def test_postgresql_accepts_every_statement_on_the_migrated_schema(dsn: str) -> None:
    async with connect(dsn) as connection:
        prepared = 0
        for noun in NOUNS:
            for name, sql in load(noun).items():
                statement = await connection.prepare(sql)
                placeholders = {int(number) for number in re.findall(r"\$(\d+)", sql)}
                assert len(statement.get_parameters()) == max(placeholders, default=0), f"{noun}.{name}"
                assert placeholders == set(range(1, len(placeholders) + 1)), f"{noun}.{name}"
                prepared += 1
    assert prepared > 50


@pytest.mark.requirement("sql:used")
def test_every_statement_is_used_by_a_function_and_every_one_that_is_used_exists() -> None:
    stored = {(noun, name) for noun in NOUNS for name in load(noun)}

    assert used() - stored == set()
    assert stored - used() == set()


@pytest.mark.requirement("sql:used")
@pytest.mark.parametrize("noun", NOUNS)
def test_a_noun_has_its_module_beside_its_statements_and_no_name_twice(noun: str) -> None:
    importlib.import_module(f"agent_messaging_db.{noun}")
    names = re.findall(r"^-- name: (\w+)$", (PACKAGE / "sql" / f"{noun}.sql").read_text(), re.MULTILINE)

    assert len(names) == len(set(names)) == len(load(noun))


@pytest.mark.requirement("sql:no-session-locks")
def test_no_statement_takes_an_advisory_lock_for_longer_than_a_transaction_or_asks_for_the_time_it_began() -> None:
    texts = [path.read_text() for path in PACKAGE.glob("sql/*.sql")]
    texts += [path.read_text() for path in PACKAGE.glob("migrations/*.sql")]
    sql = "\n".join(re.sub(r"--.*", "", text) for text in texts).lower()

    assert not re.findall(r"pg_(?:try_)?advisory_lock", sql)
    assert not re.findall(r"\bnow\(\)|current_timestamp|statement_timestamp|localtime", sql)
