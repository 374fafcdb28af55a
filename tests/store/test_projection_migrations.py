"""An older projection becomes an empty one of today's form, to be folded again; a newer one is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from node.hub.projection_ports import ProjectionStore
from node.store.complaint_keys import complaint_key
from node.store.migration import migrate, revision_of
from node.store.postgres import PROJECTION_SCHEMA, create_schema, open_for_migration
from node.store.projection_postgres import PostgresProjectionStore
from node.store.projection_records import ComplaintRow, Cursor, ProjectionStep, RefusedChange
from node.store.projection_store import SqlProjectionStore
from node.store.projection_tables import PROJECTION_REVISION
from node.store.sqlite import open_writer, sqlite_url
from sync_protocol.errors import Corrupt

KEY = complaint_key("33.75:01890a5d-ac96-774b-bcce-b302099a8057")
# A projection of the first version: words of then, not of today.
FIRST_VERSION = [
    "INSERT INTO complaint (id, key, state, pointers) VALUES (1, :b, :b, :b)",
    "INSERT INTO refused (idx, position, agency, seq, change_id, verdict) VALUES (3, 0, '33.75', 1, '', 2)",
    "INSERT INTO total (name, count) VALUES ('applied/33.75//', 7)",
    "INSERT INTO last_heard (agency, tick_ms) VALUES ('33.75', 9)",
    "INSERT INTO cursor (id, size, state_hash, updated_at_ms) VALUES (1, 4, :b, 9)",
]


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "projection.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def engine(where: Path | str) -> AsyncIterator[AsyncEngine]:
    if isinstance(where, Path):
        made = open_writer(sqlite_url(where), durability="FULL")
    else:
        await create_schema(where, PROJECTION_SCHEMA)
        made = open_for_migration(where, PROJECTION_SCHEMA)
    yield made
    await made.dispose()


async def opened(where: Path | str) -> ProjectionStore:
    if isinstance(where, Path):
        return await SqlProjectionStore.create_or_open(where)
    return await PostgresProjectionStore.create_or_open(where)


async def test_a_filled_projection_of_the_first_version_begins_anew(where: Path | str, engine: AsyncEngine) -> None:
    await migrate(engine, "projection", "0001")
    async with engine.begin() as connection:
        for statement in FIRST_VERSION:
            await connection.execute(text(statement), {"b": KEY} if ":b" in statement else {})
    store = await opened(where)
    try:
        assert await revision_of(engine) == PROJECTION_REVISION
        assert await store.cursor() == Cursor()
        assert await store.totals() == (Cursor(), {})
        assert await store.refused("33.75", 1, 9) == []
        assert await store.last_heard() == {}
        row = ComplaintRow(KEY, 1, b"state", (3 << 16).to_bytes(8, "big"))
        refused = RefusedChange(3, 0, "33.75", 1, "", 2)
        step = ProjectionStep(
            0, Cursor(4, KEY[:16] * 2, 5), born=[row], refused=[refused], totals={"applied/33.75//": 1}
        )
        await store.commit(step)
        assert await store.load([KEY]) == {KEY: b"state"}
    finally:
        await store.close()


async def test_opening_it_again_keeps_what_is_there(where: Path | str, engine: AsyncEngine) -> None:
    for size in (1, 2):
        store = await opened(where)
        await store.commit(ProjectionStep(size - 1, Cursor(size, bytes(32), 5)))
        await store.close()
    assert await revision_of(engine) == PROJECTION_REVISION


@pytest.mark.parametrize("version", ["9999", "other"])
async def test_a_projection_of_another_program_is_left_alone(
    where: Path | str, engine: AsyncEngine, version: str
) -> None:
    await migrate(engine, "projection")
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": version})
    with pytest.raises(Corrupt, match=f"has schema {version}"):
        await opened(where)
    assert await revision_of(engine) == version
