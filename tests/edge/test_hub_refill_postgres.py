"""A hub on PostgreSQL whose database is lost: the lock's own database and the nodes bring its log back (§10.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import URL, make_url

from tests.edge.refill_lab import AGENCIES, AWAY_MS, Disaster, audited, roots_of, state_of
from tests.postgres import driver_dsn, fresh_database

SCHEMAS = ("simpul_hub", "simpul_projection")


@pytest.fixture
def databases(postgres_server: URL) -> Iterator[tuple[str, str]]:
    """Of the log, and of the lock."""
    with fresh_database(postgres_server) as log, fresh_database(postgres_server) as lock:
        yield log.render_as_string(hide_password=False), lock.render_as_string(hide_password=False)


async def drop_log(url: str) -> None:
    connection = await asyncpg.connect(driver_dsn(make_url(url)))
    for schema in SCHEMAS:
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
    await connection.close()


async def test_a_lost_database_comes_back_from_the_lock_s_database_and_the_nodes(
    tmp_path: Path, databases: tuple[str, str]
) -> None:
    log_url, lock_url = databases
    disaster = Disaster(tmp_path, database_url=log_url, lock_url=lock_url)
    async with disaster.hub() as lab:
        await disaster.live_a_day(3, *AGENCIES, lab=lab)
        roots, state = await roots_of(lab), await state_of(lab)
    await drop_log(log_url)
    await disaster.make_empty()
    async with disaster.hub() as lab, disaster.nodes(lab, *AGENCIES) as nodes:
        assert lab.hub.log.size == 0
        lab.hub.restoring.commit_leaves = 3
        for node in nodes:
            await node.received()
        await disaster.knock(*nodes)
        await disaster.check_whole_again(lab, roots, state)
        disaster.clock.at_ms += AWAY_MS
        for node in nodes:
            await node.drain()
        await audited(lab, tmp_path / "export")


async def test_two_processes_find_the_log_whole_again_whichever_of_them_took_it_back(
    tmp_path: Path, databases: tuple[str, str]
) -> None:
    log_url, lock_url = databases
    disaster = Disaster(tmp_path, database_url=log_url, lock_url=lock_url)
    async with disaster.hub() as lab:
        await disaster.live_a_day(2, *AGENCIES[:2], lab=lab)
        roots = await roots_of(lab)
    await drop_log(log_url)
    await disaster.make_empty()
    async with disaster.hub() as one, disaster.hub() as two:
        async with disaster.nodes(one, AGENCIES[0]) as nodes:
            await disaster.knock(*nodes)
        async with disaster.nodes(two, AGENCIES[1]) as nodes:
            await disaster.knock(*nodes)
        # Both find that nothing is missing any more, and the one that takes it back second finds it done.
        await asyncio.gather(*(lab.hub.restoring.look(now=True) for lab in (one, two)))
        for lab in (one, two):
            await disaster.whole(lab)
            assert await roots_of(lab) == roots
