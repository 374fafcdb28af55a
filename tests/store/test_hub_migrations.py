"""The hub's migrations make exactly the tables that the program uses, from nothing and from an older schema."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateTable

from node.hub.ports import HubStore
from node.store.hub_records import LogLeaf
from node.store.hub_store import SqlHubStore
from node.store.hub_tables import HUB_REVISION, HubTable
from node.store.migration import alembic_config, migrate, revision_of
from node.store.postgres import HUB_SCHEMA, PROJECTION_SCHEMA, create_schema, open_for_migration
from node.store.postgres_hub import PostgresHubStore
from node.store.projection_tables import PROJECTION_REVISION, ProjectionTable
from node.store.sqlite import open_writer, sqlite_url
from sync_protocol.errors import Corrupt
from tests.store.hub_samples import a_set, commit_of

TREES = [
    ("hub", HUB_REVISION, HubTable.metadata, HUB_SCHEMA),
    ("projection", PROJECTION_REVISION, ProjectionTable.metadata, PROJECTION_SCHEMA),
]


@dataclass
class Place:
    """An empty database: an engine for each schema, and how the hub's store opens it."""

    engine: Callable[[str], Awaitable[AsyncEngine]]
    open: Callable[[], Awaitable[HubStore]]


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "made.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def place(where: Path | str) -> AsyncIterator[Place]:
    engines = []
    if isinstance(where, Path):
        path = where

        async def open_file(_schema: str) -> AsyncEngine:
            engines.append(open_writer(sqlite_url(path), durability="FULL"))
            return engines[-1]

        found = Place(open_file, partial(SqlHubStore.open, path))
    else:
        url = where

        async def open_schema(schema: str) -> AsyncEngine:
            await create_schema(url, schema)
            engines.append(open_for_migration(url, schema))
            return engines[-1]

        found = Place(open_schema, partial(PostgresHubStore.open, url))
    yield found
    for engine in engines:
        await engine.dispose()


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index complaint_due")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
@pytest.mark.parametrize(("tree", "revision", "metadata", "schema"), TREES, ids=[tree for tree, *_ in TREES])
async def test_migrating_makes_the_tables_that_the_program_uses(
    tree: str, revision: str, metadata: MetaData, schema: str, place: Place
) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, metadata)
        # Expressions cannot be read back: that queries find this index is seen in their plans.
        incomparable = {"complaint_due"}
        if connection.dialect.name == "postgresql":  # there the index has the column that SQLite adds by itself
            incomparable.add("complaint_place")
        return [difference for difference in found if getattr(difference[1], "name", "") not in incomparable]

    engine = await place.engine(schema)
    await migrate(engine, tree)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    assert await revision_of(engine) == revision
    assert ScriptDirectory.from_config(alembic_config(tree)).get_current_head() == revision


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


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index complaint_due")
@pytest.mark.parametrize(("tree", "metadata"), [(tree, metadata) for tree, _, metadata, _ in TREES])
async def test_the_tables_in_sqlite_are_spelled_as_the_program_spells_them(
    tree: str, metadata: MetaData, tmp_path: Path
) -> None:
    path = tmp_path / "made.db"
    writer = open_writer(sqlite_url(path), durability="FULL")
    await migrate(writer, tree)
    await writer.dispose()
    reflected = MetaData()
    engine = create_engine(f"sqlite:///{path}")
    reflected.reflect(engine)
    reflected.remove(reflected.tables["alembic_version"])
    engine.dispose()
    assert spelled(reflected, path) == spelled(metadata, path)


async def test_migrating_again_changes_nothing(place: Place) -> None:
    engine = await place.engine(HUB_SCHEMA)
    for _ in range(2):
        await migrate(engine, "hub")
        assert await revision_of(engine) == HUB_REVISION


@pytest.mark.parametrize("tree", ["hub", "projection"])
async def test_processes_that_start_at_the_same_time_migrate_one_after_the_other(tree: str, place: Place) -> None:
    engines = [await place.engine(HUB_SCHEMA) for _ in range(3)]
    await asyncio.gather(*(migrate(engine, tree) for engine in engines))
    assert await revision_of(engines[0]) == {name: newest for name, newest, *_ in TREES}[tree]


# A log of one statement and one set as the first version wrote it: words of then, not of today.
FIRST_VERSION = [
    ("INSERT INTO log_entry (idx, kind, entry) VALUES (0, 0, :b)", b"statement 0"),
    ("INSERT INTO statement (idx, typ, agency, digest) VALUES (0, 'simpul-genesis', NULL, :b)", b"d" * 32),
    ("INSERT INTO checkpoint (size, follows, root, note, at_ms) VALUES (1, 0, :b, :b, 7)", b"one"),
    ("INSERT INTO log_entry (idx, kind, entry) VALUES (1, 1, :b)", b"manifest 1"),
    (
        """INSERT INTO change_set (idx, agency, seq, epoch, digest, changes, size, hidden, erased, received_at_ms)
        VALUES (1, '33.75', 1, 1, :b, 2, 3, 1, 0, 9)""",
        b"s" * 32,
    ),
    ("INSERT INTO set_changes (idx, frame) VALUES (1, :b)", b"changes" * 1_000),
    ("INSERT INTO set_contents (idx, frame) VALUES (1, :b)", b"contents" * 1_000),
    ("INSERT INTO head (agency, epoch, seq, digest, idx, received_at_ms) VALUES ('33.75', 1, 1, :b, 1, 9)", b"s" * 32),
    ("INSERT INTO hash_tile (place, hashes) VALUES (0, :b)", b"h" * 64),
    ("INSERT INTO checkpoint (size, follows, root, note, at_ms) VALUES (2, 1, :b, :b, 8)", b"two"),
]


async def test_a_filled_database_of_the_first_version_is_brought_forward_and_goes_on(place: Place) -> None:
    engine = await place.engine(HUB_SCHEMA)
    await migrate(engine, "hub", "0001")
    async with engine.begin() as connection:
        for statement, words in FIRST_VERSION:
            await connection.execute(text(statement), {"b": words})
    store = await place.open()
    try:
        assert await revision_of(engine) == HUB_REVISION
        newest = await store.newest_checkpoint()
        assert newest is not None
        assert (newest.size, newest.follows, newest.note) == (2, 1, b"two")
        frames = (b"changes" * 1_000, b"contents" * 1_000)
        assert await store.set_parts(1) == frames
        assert await store.leaves(0, 9, 10**6) == [
            LogLeaf(0, b"statement 0", None),
            LogLeaf(1, b"manifest 1", frames[0]),
        ]
        await store.append(commit_of(2, a_set(2, "33.75", 2)))
        assert [head.seq for head in await store.heads()] == [2]
        assert await store.tiles([(0, 0)]) != {(0, 0): b"h" * 64}
    finally:
        await store.close()


@pytest.mark.parametrize("version", ["9999", "other"])
async def test_a_schema_of_another_program_is_left_alone(place: Place, version: str) -> None:
    engine = await place.engine(HUB_SCHEMA)
    await migrate(engine, "hub")
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": version})
    with pytest.raises(Corrupt, match=f"has schema {version}, this program wants {HUB_REVISION}"):
        await place.open()
    assert await revision_of(engine) == version
