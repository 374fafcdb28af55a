"""What PostgreSQL alone must be asked of the projection: one statement, and who meets whom in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from node.store import projection_postgres, projection_reading
from node.store.postgres import LOST, PROJECTION_SCHEMA
from node.store.projection_postgres import COPY_FROM_ROWS, PostgresProjectionStore
from node.store.projection_records import ComplaintRow, Cursor, ProjectionStep, RefusedChange
from sync_protocol.errors import Unavailable
from tests.postgres import driver_dsn

FEW, MANY = 1, COPY_FROM_ROWS


def key(number: int) -> bytes:
    return number.to_bytes(16, "big") + b"33.75"


def row(number: int) -> ComplaintRow:
    return ComplaintRow(key(number), number, b"s%d" % number, (number << 16).to_bytes(8, "big"))


def whole_step(begins: int, born: int) -> ProjectionStep:
    """Everything that a step may hold; it changes the complaint 1."""
    return ProjectionStep(
        begins=begins,
        cursor=Cursor(begins + 1, bytes([begins + 1]) * 32, 1_000),
        born=[row(1_000 * begins + n) for n in range(born)],
        changed=[row(1)._replace(state=b"step %d" % begins, pointers=begins.to_bytes(8, "big"))],
        refused=[RefusedChange(begins, 0, "33.75", begins, "id", 11)],
        totals={"applied/33.75//": 1},
        last_heard={"33.75": begins},
    )


@pytest.fixture
async def two(postgres_url: str) -> AsyncIterator[tuple[PostgresProjectionStore, PostgresProjectionStore]]:
    """Two projectors on one database, in which the complaint 1 is."""
    stores = [await PostgresProjectionStore.create_or_open(postgres_url) for _ in range(2)]
    await stores[0].commit(ProjectionStep(0, Cursor(1, b"\x01" * 32, 1_000), born=[row(1)]))
    yield stores[0], stores[1]
    for store in stores:
        await store.close()


@pytest.fixture
async def server(postgres_url: str) -> AsyncIterator[Any]:
    """A connection beside them."""
    settings = {"search_path": PROJECTION_SCHEMA}
    connection = await asyncpg.connect(driver_dsn(make_url(postgres_url)), server_settings=settings)
    yield connection
    await connection.close()


async def at_once(server: Any, *works: Coroutine[Any, Any, None]) -> list[BaseException | None]:
    """What becomes of works that have all begun, one after the other, before the first of them can go on."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    tasks = []
    async with server.transaction(), asyncio.timeout(20):
        await server.execute("SELECT 1 FROM cursor FOR UPDATE")
        for count, work in enumerate(works, 1):
            tasks.append(asyncio.create_task(work))
            while await server.fetchval(waiting) != count:
                await asyncio.sleep(0.01)
                await server.execute("SELECT pg_stat_clear_snapshot()")
    return await asyncio.gather(*tasks, return_exceptions=True)


async def everything(server: Any) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    tables = ("complaint", "refused", "total", "last_heard", "cursor")
    return {
        table: [tuple(row) for row in await server.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")] for table in tables
    }


async def test_a_small_step_is_one_statement(two: tuple[PostgresProjectionStore, Any]) -> None:
    store = two[0]
    sent: list[str] = []

    async def listen(driver: Any) -> None:
        driver.add_query_logger(lambda record: sent.append(record.query))

    await store.committing.write(listen)
    for begins, born in ((1, 0), (2, 1), (3, COPY_FROM_ROWS - 1)):
        await store.commit(whole_step(begins, born))
    await asyncio.sleep(0)  # the driver tells after it has answered
    assert len(sent) == 3
    assert len(set(sent)) == 1


@pytest.mark.parametrize("born", [FEW, MANY])
async def test_of_two_that_commit_one_step_at_the_same_moment_the_second_writes_nothing_of_it(
    two: tuple[PostgresProjectionStore, PostgresProjectionStore], server: Any, born: int
) -> None:
    other = replace(whole_step(1, born), born=[row(7_000 + n) for n in range(born)], last_heard={"33.75": 9, "3": 9})
    ends = await at_once(server, two[0].commit(whole_step(1, born)), two[1].commit(other))
    assert ends[0] is None
    assert isinstance(ends[1], Unavailable)
    cursor, changed = await two[0].complaint(key(1))
    assert (cursor, changed) == (
        whole_step(1, born).cursor,
        row(1)._replace(state=b"step 1", pointers=row(1).pointers + (1).to_bytes(8, "big")),
    )
    assert await two[0].load([key(7_000 + n) for n in range(born)]) == {}
    assert await two[0].totals() == (cursor, {"applied/33.75//": 1})
    assert await two[0].last_heard() == {"33.75": 1}
    assert len(await two[0].refused("33.75", 0, 9)) == 1


@pytest.mark.parametrize("born", [FEW, MANY])
async def test_a_stale_step_writes_to_no_table(
    two: tuple[PostgresProjectionStore, Any], server: Any, born: int
) -> None:
    before = await everything(server)
    for begins in (0, 2):
        with pytest.raises(Unavailable):
            await two[0].commit(whole_step(begins, born))
    assert await everything(server) == before


@pytest.mark.parametrize("born", [FEW, MANY])
async def test_emptying_the_tables_and_a_step_meet_without_holding_each_other_up(
    two: tuple[PostgresProjectionStore, PostgresProjectionStore], server: Any, born: int
) -> None:
    assert await at_once(server, two[0].commit(whole_step(1, born)), two[1].clear()) == [None, None]
    assert await two[0].cursor() == Cursor()
    assert await two[0].load([key(1), key(1_000)]) == {}
    first = replace(whole_step(0, born), changed=[])
    ends = await at_once(server, two[1].clear(), two[0].commit(first))
    assert ends == [None, None]
    assert await two[0].totals() == (first.cursor, {"applied/33.75//": 1})


async def test_a_step_whose_connection_breaks_while_it_waits_is_not_repeated_and_nothing_of_it_stays(
    two: tuple[PostgresProjectionStore, Any], server: Any
) -> None:
    store = two[0]
    before = await everything(server)
    pid = await store.committing.write(lambda driver: driver.fetchval("SELECT pg_backend_pid()"))

    async def kill() -> None:
        await store.loading.read(lambda driver: driver.execute("SELECT pg_terminate_backend($1, 5000)", pid))

    async with server.transaction():
        await server.execute("SELECT 1 FROM cursor FOR UPDATE")
        task = asyncio.create_task(store.commit(whole_step(1, 1)))
        await asyncio.sleep(0.1)
        await kill()
        with pytest.raises(LOST):
            await task
    assert await everything(server) == before
    await store.commit(whole_step(1, 1))
    assert await store.cursor() == whole_step(1, 1).cursor


async def test_what_is_overdue_is_found_by_the_index_of_what_is_due(
    two: tuple[PostgresProjectionStore, Any], server: Any
) -> None:
    store = two[0]
    await store.commit(replace(whole_step(1, 0), born=[row(5_000 + n) for n in range(2_000)]))
    await server.execute("ANALYZE")
    values = {"slot": 5, "number": 1, "last": 5_100, "rows": 51}
    async with store.readers.connect() as connection:
        lines = (await connection.execute(text(f"EXPLAIN {projection_reading.OVERDUE.text}"), values)).all()
    shown = "\n".join(line[0] for line in lines)
    assert shown.count("Index Scan using complaint_due") == 3, "two walks, and the rows that they found"
    assert "Seq Scan" not in shown


async def test_a_step_finds_every_row_by_an_index(two: tuple[PostgresProjectionStore, Any], server: Any) -> None:
    store = two[0]
    await store.commit(replace(whole_step(1, 0), born=[row(5_000 + n) for n in range(2_000)]))
    await server.execute("ANALYZE")
    arrays = ", ".join(["'{}'"] * 30)

    async def plan(driver: Any) -> str:
        await driver.execute(f"PREPARE step AS {projection_postgres._STEP}")
        lines = await driver.fetch(f"EXPLAIN EXECUTE step (1, 2, '', 3, {arrays})")
        return "\n".join(line[0] for line in lines)

    shown = await store.committing.write(plan)
    assert "Seq Scan" not in shown
    assert "Index Scan using complaint_key" in shown
    assert "$1" in shown  # planned for any arguments, once
