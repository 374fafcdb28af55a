"""An export reads an agency's sets page by page: none is left out or written twice, whatever the pages are."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.hub.export import SETS_AT_ONCE, sets_up_to
from node.store.hub_store import SqlHubStore
from sync_protocol.errors import Corrupt
from tests.store.hub_samples import a_set, a_statement, commit_of


async def pages_of(store: SqlHubStore, agency: str, size: int) -> list[list[int]]:
    """The seqs of each page."""
    return [[stored.seq for stored, _ in page] async for page in sets_up_to(store, agency, size)]


async def test_every_set_up_to_the_exported_size_comes_once_and_in_order(tmp_path: Path) -> None:
    count = 2 * SETS_AT_ONCE + 3
    store = await SqlHubStore.create(tmp_path / "hub.db")
    try:
        sets = [a_set(2 * seq - 1, "33.75", seq) for seq in range(1, count + 1)]
        others = [a_statement(index) for index in range(0, 2 * count, 2)]
        await store.append(commit_of(0, *[item for pair in zip(others, sets, strict=True) for item in pair]))
        for size, wanted in ((2 * count, count), (2 * count - 1, count - 1), (2 * SETS_AT_ONCE, SETS_AT_ONCE), (1, 0)):
            pages = await pages_of(store, "33.75", size)
            assert [seq for page in pages for seq in page] == list(range(1, wanted + 1))
            assert all(0 < len(page) <= SETS_AT_ONCE for page in pages)
    finally:
        await store.close()


async def test_an_export_ends_at_a_set_whose_lines_are_missing_and_names_it(tmp_path: Path) -> None:
    store = await SqlHubStore.create(tmp_path / "hub.db")
    try:
        lost = a_set(1, "33.75", 2, hidden=3)
        await store.append(commit_of(0, a_set(0, "33.75", 1), lost))
        async with store.writer.begin() as connection:
            await connection.exec_driver_sql("DELETE FROM set_changes WHERE idx = 1")
        with pytest.raises(Corrupt, match=r"33\.75 seq 2"):
            await pages_of(store, "33.75", 2)
        assert await pages_of(store, "33.75", 1) == [[1]]  # what is beyond the exported size does not count
    finally:
        await store.close()
