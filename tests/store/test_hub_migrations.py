"""The hub's migrations make exactly the tables that the program uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine
from sqlalchemy.schema import CreateTable

from node.store.hub_store import SqlHubStore
from node.store.hub_tables import HUB_REVISION, HubTable
from node.store.migration import alembic_config
from node.store.projection_store import SqlProjectionStore
from node.store.projection_tables import PROJECTION_REVISION, ProjectionTable

TREES = [
    ("hub", HUB_REVISION, HubTable.metadata, SqlHubStore),
    ("projection", PROJECTION_REVISION, ProjectionTable.metadata, SqlProjectionStore),
]


def spelled(metadata: MetaData, path: Path) -> dict[str, list[str]]:
    """Every table's columns and constraints as SQLite would be told, order and layout apart."""
    engine = create_engine(f"sqlite:///{path}")
    tables = {}
    for table in metadata.sorted_tables:
        words = str(CreateTable(table).compile(engine)).split("(", 1)[1]
        types = words.replace("VARCHAR", "TEXT")
        tables[table.name] = sorted(re.sub(r"\s+", " ", line).strip(" ,") for line in types.splitlines())
    engine.dispose()
    return tables


@pytest.mark.parametrize(("tree", "revision", "metadata", "store"), TREES, ids=[tree for tree, *_ in TREES])
async def test_migrating_makes_the_tables_that_the_program_uses(
    tree: str, revision: str, metadata: MetaData, store: type[SqlHubStore | SqlProjectionStore], tmp_path: Path
) -> None:
    path = tmp_path / "made.db"
    opened = await (store.create(path) if issubclass(store, SqlHubStore) else store.create_or_open(path))
    await opened.close()
    reflected = MetaData()
    engine = create_engine(f"sqlite:///{path}")
    reflected.reflect(engine)
    reflected.remove(reflected.tables["alembic_version"])
    engine.dispose()
    assert spelled(reflected, path) == spelled(metadata, path)
    indices = {name: {i.name for i in table.indexes} for name, table in metadata.tables.items()}
    assert {name: {i.name for i in table.indexes} for name, table in reflected.tables.items()} == indices
    assert ScriptDirectory.from_config(alembic_config(tree)).get_current_head() == revision


async def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        store = await SqlHubStore.create(tmp_path / "hub.db")
        assert await store.newest_checkpoint() is None
        await store.close()
