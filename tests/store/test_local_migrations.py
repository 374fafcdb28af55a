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
