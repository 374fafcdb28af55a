"""The local node's schema: made by the migrations alone, checked at every start (node/store/migration.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from node.store.local_store import SqlLocalStore, open_local_store
from node.store.local_tables import LocalTable
from node.store.migration import migrate
from node.store.sqlite import open_writer, sqlite_url
from sync_protocol.errors import Corrupt


async def pragma(store: SqlLocalStore, name: str) -> object:
    async with store.writer.connect() as connection:
        return (await connection.execute(text(f"PRAGMA {name}"))).scalar()


async def test_the_migrations_make_exactly_the_tables_of_the_models(tmp_path: Path) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), LocalTable.metadata))

    store = await open_local_store(tmp_path / "local.db", create=True)
    async with store.writer.connect() as connection:
        assert await connection.run_sync(differences) == []
    await store.close()


async def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        store = await open_local_store(tmp_path / "local.db", create=True)
        await store.close()
    store = await open_local_store(tmp_path / "local.db")
    await store.close()


async def test_a_database_of_another_schema_is_not_opened(tmp_path: Path) -> None:
    store = await open_local_store(tmp_path / "local.db", create=True)
    async with store.writer.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await store.close()
    with pytest.raises(Corrupt, match="schema 9999"):
        await open_local_store(tmp_path / "local.db")


async def test_a_directory_without_a_database_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="schema none"):
        await open_local_store(tmp_path / "local.db")


async def test_a_commit_survives_a_power_cut_and_readers_do_not_wait(tmp_path: Path) -> None:
    store = await open_local_store(tmp_path / "local.db", create=True)
    assert await pragma(store, "journal_mode") == "wal"
    assert await pragma(store, "synchronous") == 2
    await store.close()


async def test_a_filled_database_of_the_first_version_is_brought_forward_when_it_is_opened(tmp_path: Path) -> None:
    place = tmp_path / "local.db"
    writer = open_writer(sqlite_url(place), durability="FULL")
    await migrate(writer, "local", "0001")
    async with writer.begin() as connection:
        await connection.execute(
            text("INSERT INTO change (complaint_no, line, content) VALUES (1, :line, :content)"),
            {"line": b"a line", "content": b"what was said"},
        )
    await writer.dispose()

    store = await open_local_store(place)
    try:
        async with store.transaction() as transaction:
            assert await transaction.last_no() == 1
        assert await store.carry_out_erasures() == 0
        async with store.readers.connect() as connection:
            rows = (await connection.execute(text("SELECT line, content FROM change"))).all()
        assert [tuple(row) for row in rows] == [(b"a line", b"what was said")]
    finally:
        await store.close()
