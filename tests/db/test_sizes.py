"""The sizes of tables and indexes, for the report."""

from __future__ import annotations

import pytest

from benchmarks.sizes import Size, sizes, table
from tests.conftest import connect


@pytest.mark.requirement("growth:sizes")
async def test_every_table_and_index_is_told_with_its_size_and_small_ones_are_left_out_of_the_page(dsn: str) -> None:
    async with connect(dsn) as connection:
        await connection.execute(
            "INSERT INTO idempotency_keys (agent_id, key, hash, result)"
            " SELECT gen_random_uuid(), n::text, '', repeat('x', 100) FROM generate_series(1, 2000) n"
        )
        await connection.execute("ANALYZE idempotency_keys")
        found = await sizes(connection)

    told = {(size.table, size.index): size for size in found}
    assert {("messages", None), ("messages", "messages_by_pair"), ("deliveries", "unread_deliveries")} <= told.keys()
    keys = told["idempotency_keys", None]
    assert keys.rows == 2_000
    assert keys.bytes > 2_000 * 100
    assert found[0].table == "idempotency_keys"  # the largest first
    page = table(found)
    assert "| idempotency_keys | idempotency_keys_pkey |" in page
    assert "| organizations |  |" not in page
    assert table([Size("t", None, 3 * 2**20, 1_000)]).endswith("| t |  | 1,000 | 3.0 MB | 3146 |")
