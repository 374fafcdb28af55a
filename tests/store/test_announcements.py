"""The contract of Announcements (node/hub/ports.py), and what becomes of them while PostgreSQL is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from node.hub.announcements import LocalAnnouncements
from node.hub.ports import Announcements
from node.store.postgres import HUB_SCHEMA, create_schema
from node.store.postgres_announcements import PostgresAnnouncements
from node.system import SystemClock
from tests.postgres import driver_dsn

_END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
_END_ALL += " AND datname = current_database()"


class HurriedClock(SystemClock):
    """Nobody waits long."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - another connection's work
            await asyncio.sleep(0.005)


@pytest.fixture(params=["local", "postgresql"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Announcements, Announcements]]:
    """One that publishes and one that listens: the same where there is one process."""
    if request.param == "local":
        local = LocalAnnouncements()
        yield local, local
        return
    url = await asyncio.to_thread(request.getfixturevalue, "postgres_url")
    await create_schema(url, HUB_SCHEMA)
    one, other = PostgresAnnouncements(url, SystemClock()), PostgresAnnouncements(url, SystemClock())
    yield one, other
    await one.close()
    await other.close()


async def test_what_one_publishes_another_hears(ends: tuple[Announcements, Announcements]) -> None:
    one, other = ends
    heard: list[int] = []
    other.listen(heard.append)
    await one.start()
    await other.start()
    size = 0

    def says_more() -> bool:
        nonlocal size
        size += 1
        one.publish(size)
        return bool(heard and max(heard) > 0)

    await until(says_more)  # until both are connected word gets lost, and that is allowed
    one.publish(1_000_000)
    await until(lambda: max(heard) == 1_000_000)


async def test_nobody_needs_to_listen_and_nothing_needs_to_be_there(ends: tuple[Announcements, Announcements]) -> None:
    one, _ = ends
    one.publish(1)
    await one.close()
    one.publish(2)


@pytest.fixture
def url(postgres_url: str) -> str:
    asyncio.run(create_schema(postgres_url, HUB_SCHEMA))
    return postgres_url


async def test_a_connection_that_was_ended_is_made_again_and_word_comes_through(url: str) -> None:
    one, other = PostgresAnnouncements(url, HurriedClock()), PostgresAnnouncements(url, HurriedClock())
    heard: list[int] = []
    other.listen(heard.append)
    await one.start()
    await other.start()
    size = 0

    def says_more() -> bool:
        nonlocal size
        size += 1
        one.publish(size)
        return bool(heard and max(heard) > 0)

    await until(says_more)
    server = await asyncpg.connect(driver_dsn(make_url(url)))
    for _ in range(3):
        async with asyncio.timeout(20):
            while not await server.fetch(_END_ALL):  # noqa: ASYNC110 - it may be on its way to a new one
                await asyncio.sleep(0.01)
        heard.clear()
        await until(says_more)
    await server.close()
    await one.close()
    await other.close()


async def test_what_is_no_size_is_not_heard(url: str) -> None:
    other = PostgresAnnouncements(url, SystemClock())
    heard: list[int] = []
    other.listen(heard.append)
    await other.start()
    server = await asyncpg.connect(driver_dsn(make_url(url)))
    async with asyncio.timeout(20):
        while 7 not in heard:
            for word in ("", "-1", "seven", "1e3", "9" * 7_900, "7"):
                await server.execute("SELECT pg_notify('simpul_log', $1)", word)
            await asyncio.sleep(0.01)
    assert set(heard) <= {0, 7}
    await server.close()
    await other.close()
