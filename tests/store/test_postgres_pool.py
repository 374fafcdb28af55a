"""What the connections for frequent calls promise (node/store/postgres_pool.py), on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from node.store.postgres import LOST
from node.store.postgres_pool import DriverPool, Work, open_pools
from sync_protocol.errors import Unavailable
from tests.postgres import driver_dsn

KILL_ITSELF = "SELECT pg_terminate_backend(pg_backend_pid())"


def asking(question: str) -> Work[Any]:
    async def ask(driver: Any) -> Any:
        return await driver.fetchval(question)

    return ask


pid = asking("SELECT pg_backend_pid()")


def pool_of(url: str, connections: int, **options: Any) -> DriverPool:
    async def connect() -> Any:
        return await asyncpg.connect(driver_dsn(make_url(url)))

    return DriverPool(connect, connections, **options)


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[DriverPool]:
    """One connection, so that whatever is not given back is missed."""
    opened = pool_of(postgres_url, 1)
    yield opened
    await opened.close()


@pytest.fixture
async def server(postgres_url: str) -> AsyncIterator[Any]:
    """A connection beside the pool."""
    connection = await asyncpg.connect(driver_dsn(make_url(postgres_url)))
    yield connection
    await connection.close()


async def kill_all_others(server: Any) -> None:
    """As a restart of the server does."""
    await server.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def wait_for_others(server: Any, count: int, condition: str = "true") -> None:
    """Until so many other connections to this database are so."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        f" WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
    )
    async with asyncio.timeout(20):
        while await server.fetchval(query) != count:  # noqa: ASYNC110 - other processes' work
            await asyncio.sleep(0.01)


async def test_calls_that_follow_each_other_use_one_connection(postgres_url: str) -> None:
    pool = pool_of(postgres_url, 4)
    assert len({await pool.read(pid) for _ in range(3)} | {await pool.write(pid)}) == 1
    await pool.close()


async def test_the_settings_are_those_of_the_engines(postgres_url: str) -> None:
    for durability, commit in (("FULL", "on"), ("NORMAL", "off")):
        writers, readers = open_pools(postgres_url, "plane", writers=1, readers=1, durability=durability)  # type: ignore[arg-type]
        assert await writers.write(asking("SHOW synchronous_commit")) == commit
        assert await writers.write(asking("SHOW default_transaction_isolation")) == "read committed"
        for pool in (writers, readers):
            assert await pool.read(asking("SHOW search_path")) == "plane"
            assert await pool.read(asking("SHOW tcp_keepalives_idle")) in ("4", "0")  # 0: through a Unix socket
            assert await pool.read(asking("SHOW enable_seqscan")) == "off"
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await readers.read(asking("CREATE TABLE t (a int)"))
        await writers.close()
        await readers.close()


async def test_more_callers_than_connections_wait_and_are_all_served(postgres_url: str) -> None:
    pool = pool_of(postgres_url, 3)
    at_work = most = 0

    async def slow(driver: Any) -> int:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        found: int = await driver.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.01)")
        at_work -= 1
        return found

    pids = await asyncio.gather(*(pool.read(slow) if n % 2 else pool.write(slow) for n in range(40)))
    assert most == 3
    assert len(set(pids)) == 3
    await pool.close()


async def test_who_waits_too_long_for_a_connection_is_told_to_come_again(postgres_url: str) -> None:
    pool = pool_of(postgres_url, 1, wait_s=0.05)
    slow = asyncio.create_task(pool.read(asking("SELECT pg_sleep(0.5)")))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="busy"):
        await pool.write(pid)
    await slow
    assert await pool.write(pid)
    await pool.close()


async def test_what_the_server_refuses_costs_no_connection(pool: DriverPool) -> None:
    before = await pool.write(pid)
    for call in (pool.read, pool.write):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await call(asking("SELECT 1 / 0"))
    assert await pool.read(pid) == before


async def test_after_a_restart_of_the_server_a_read_is_asked_again_and_a_write_gets_a_new_connection(
    pool: DriverPool, server: Any
) -> None:
    for call in (pool.read, pool.write):
        before = await call(pid)
        await kill_all_others(server)
        await asyncio.sleep(0.05)
        assert await call(pid) != before


async def test_a_read_over_a_connection_that_breaks_is_asked_once_more_and_a_write_is_not(pool: DriverPool) -> None:
    for call, wanted in ((pool.read, 2), (pool.write, 1)):
        pids: list[int] = []

        async def breaking(driver: Any, pids: list[int] = pids) -> None:
            pids.append(await pid(driver))
            await driver.execute(KILL_ITSELF)

        with pytest.raises(LOST):
            await call(breaking)
        assert len(set(pids)) == len(pids) == wanted
        assert await call(pid) not in pids


async def test_a_read_is_asked_again_of_a_new_connection_and_not_of_one_that_may_be_dead_as_well(
    postgres_url: str, server: Any
) -> None:
    pool = pool_of(postgres_url, 2)
    known = await asyncio.gather(*(pool.read(asking("SELECT pg_backend_pid() FROM pg_sleep(0.1)")) for _ in range(2)))
    asked: list[int] = []

    async def breaks_at_first(driver: Any) -> None:
        asked.append(await pid(driver))
        if len(asked) == 1:
            await driver.execute(KILL_ITSELF)

    await pool.read(breaks_at_first)
    assert asked[0] in known
    assert asked[1] not in known
    await wait_for_others(server, 2)  # never more than two
    await pool.close()


async def test_a_call_that_is_cancelled_in_the_middle_takes_its_connection_with_it(
    pool: DriverPool, server: Any
) -> None:
    await server.execute("CREATE TABLE t (a int)")
    for call in (pool.read, pool.write):
        before = await call(pid)

        async def long(driver: Any) -> None:
            async with driver.transaction():
                await driver.execute("INSERT INTO t VALUES (1)")
                await driver.execute("SELECT pg_sleep(0.3)")

        task = asyncio.create_task(call(long))
        await wait_for_others(server, 1, "wait_event = 'PgSleep'")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await call(pid) != before
        assert await call(asking("SELECT 41 + 1")) == 42
    await wait_for_others(server, 1)
    assert await server.fetchval("SELECT count(*) FROM t") == 0


async def test_calls_that_are_cancelled_at_any_moment_leave_every_connection_free(postgres_url: str) -> None:
    pool = pool_of(postgres_url, 2)
    for moment in range(30):
        tasks = [asyncio.create_task(pool.read(asking(f"SELECT {n}"))) for n in range(6)]
        await asyncio.sleep(moment / 2_000)
        for task in tasks[::2]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert found[1::2] == [1, 3, 5]
        assert all(isinstance(one, asyncio.CancelledError) or one == n for n, one in enumerate(found))
    async with asyncio.timeout(5):
        assert await asyncio.gather(*(pool.read(asking("SELECT 1 FROM pg_sleep(0.1)")) for _ in range(2))) == [1, 1]
    await pool.close()


async def test_an_error_of_our_own_and_an_open_transaction_end_the_connection(pool: DriverPool) -> None:
    async def fails(driver: Any) -> None:
        await driver.fetchval("SELECT 1")
        raise KeyError

    async def leaves_a_transaction(driver: Any) -> None:
        await driver.execute("BEGIN")

    before = await pool.write(pid)
    with pytest.raises(KeyError):
        await pool.write(fails)
    between = await pool.write(pid)
    await pool.write(leaves_a_transaction)
    assert len({before, between, await pool.write(pid)}) == 3


async def test_a_closed_pool_holds_no_connection_and_makes_none(postgres_url: str, server: Any) -> None:
    pool = pool_of(postgres_url, 2)
    await asyncio.gather(*(pool.read(asking("SELECT pg_sleep(0.05)")) for _ in range(2)))
    late = asyncio.create_task(pool.read(asking("SELECT 7 FROM pg_sleep(0.2)")))
    await wait_for_others(server, 1, "wait_event = 'PgSleep'")
    await pool.close()
    await wait_for_others(server, 1)
    assert await late == 7
    await wait_for_others(server, 0)
    for call in (pool.read, pool.write):
        with pytest.raises(Unavailable, match="closed"):
            await call(pid)
    await pool.close()
