"""What our PostgreSQL connections promise, and what is said where none can be had (node/store/postgres*.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from node.logs import words_of
from node.store.hub_records import Grant
from node.store.hub_store import SqlHubStore
from node.store.postgres import (
    connect_postgres,
    create_schema,
    driver_connection,
    open_postgres,
)
from node.store.postgres_hub import PostgresHubStore
from node.store.postgres_lock import PostgresLockStore
from node.store.postgres_pool import Work
from node.store.postgres_url import is_same_database, shown_url
from sync_protocol.errors import Refused, Unavailable
from tests.postgres import driver_dsn
from tests.store.hub_samples import a_set, commit_of

SECRET = "s3cr3t-w0rds"


@pytest.fixture
async def engines(postgres_url: str) -> AsyncIterator[tuple[AsyncEngine, AsyncEngine]]:
    await create_schema(postgres_url, "plane")
    writer, readers = open_postgres(postgres_url, "plane")
    async with writer.begin() as connection:
        await connection.execute(text("CREATE TABLE t (a int)"))
    yield writer, readers
    await writer.dispose()
    await readers.dispose()


async def answer(engine: AsyncEngine, question: str) -> object:
    async with engine.connect() as connection:
        return (await connection.execute(text(question))).scalar()


async def test_a_commit_is_durable_whatever_the_default_of_the_role_says(postgres_url: str) -> None:
    url = make_url(postgres_url)
    connection = await asyncpg.connect(driver_dsn(url))
    await connection.execute(f'ALTER DATABASE "{url.database}" SET synchronous_commit = off')
    await connection.close()
    for durability, wanted in (("FULL", "on"), ("NORMAL", "off")):
        writer, readers = open_postgres(postgres_url, "public", durability=durability)  # type: ignore[arg-type]
        assert await answer(writer, "SHOW synchronous_commit") == wanted
        await writer.dispose()
        await readers.dispose()
    driver = await connect_postgres(postgres_url, "public")
    assert await driver.fetchval("SHOW synchronous_commit") == "on"
    await driver.close()


async def test_a_reader_sees_one_snapshot_and_cannot_write(engines: tuple[AsyncEngine, AsyncEngine]) -> None:
    writer, readers = engines
    async with readers.connect() as reading:
        assert (await reading.execute(text("SELECT count(*) FROM t"))).scalar() == 0
        async with writer.begin() as writing:
            await writing.execute(text("INSERT INTO t VALUES (1)"))
        assert (await reading.execute(text("SELECT count(*) FROM t"))).scalar() == 0
        with pytest.raises(DBAPIError, match="read-only"):
            await reading.execute(text("INSERT INTO t VALUES (2)"))
    assert await answer(readers, "SELECT count(*) FROM t") == 1


async def test_tables_are_in_the_schema_and_nowhere_else(engines: tuple[AsyncEngine, AsyncEngine]) -> None:
    where = "SELECT table_schema FROM information_schema.tables WHERE table_name = 't'"
    assert await answer(engines[1], where) == "plane"


async def test_a_connection_that_died_in_the_pool_is_replaced(engines: tuple[AsyncEngine, AsyncEngine]) -> None:
    writer, readers = engines
    before = await answer(readers, "SELECT pg_backend_pid()")
    await answer(writer, f"SELECT pg_terminate_backend({before})")
    await asyncio.sleep(0.2)
    assert await answer(readers, "SELECT pg_backend_pid()") != before


async def test_what_the_driver_writes_in_a_transaction_goes_or_stays_with_it(
    engines: tuple[AsyncEngine, AsyncEngine],
) -> None:
    writer, readers = engines
    async with writer.connect() as connection:
        transaction = await connection.begin()
        await connection.execute(text("INSERT INTO t VALUES (1)"))
        await (await driver_connection(connection)).copy_records_to_table("t", records=[(2,), (3,)])
        await transaction.rollback()
    assert await answer(readers, "SELECT count(*) FROM t") == 0


async def refusal(url: str) -> Refused | Unavailable:
    """What is said of a URL, looked at for the secret that it holds."""
    with pytest.raises((Refused, Unavailable)) as caught:
        await create_schema(url, "plane")
    assert SECRET not in repr(caught.value) + str(caught.value) + str(getattr(caught.value, "members", ""))
    assert SECRET not in words_of(caught.value)
    assert caught.value.__cause__ is None
    error = caught.value
    assert isinstance(error, Refused | Unavailable)
    return error


async def test_a_database_that_does_not_exist_is_named(postgres_url: str) -> None:
    url = make_url(postgres_url).set(database="nowhere", password=SECRET)
    said = await refusal(url.render_as_string(hide_password=False))
    assert isinstance(said, Refused)
    assert said.kind == "configuration"
    assert "no such database" in said.detail
    assert "nowhere" in said.detail
    assert "createdb nowhere" in str(said.members["next"])


async def test_a_role_that_may_not_come_in_is_named(postgres_url: str) -> None:
    url = make_url(postgres_url).set(username="stranger", password=SECRET)
    said = await refusal(url.render_as_string(hide_password=False))
    assert isinstance(said, Refused)
    assert "user or password" in said.detail
    assert "stranger" in said.detail


async def test_a_role_without_rights_is_told_what_it_lacks(postgres_url: str) -> None:
    url = make_url(postgres_url)
    owner = await asyncpg.connect(driver_dsn(url))
    role = f"{url.database}_guest"
    await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    try:
        said = await refusal(url.set(username=role, password=SECRET).render_as_string(hide_password=False))
    finally:
        await owner.execute(f"DROP ROLE {role}")
        await owner.close()
    assert isinstance(said, Refused)
    assert "lacks rights" in said.detail
    assert "owner" in str(said.members["next"])


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
async def test_a_server_that_is_away_is_unavailable(host: str) -> None:
    said = await refusal(f"postgresql+asyncpg://simpul:{SECRET}@{host}/hub")
    assert isinstance(said, Unavailable)
    assert "does not answer" in said.detail


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://simpul:{SECRET}@localhost/hub",
        f"postgresql+psycopg://simpul:{SECRET}@localhost/hub",
        f"postgresql+asyncpg://simpul:{SECRET}@localhost:port/hub",
        f"postgresql+asyncpg://simpul@localhost/hub?password={SECRET}",
        f"postgresql+asyncpg://simpul:{SECRET}@localhost/hub?sslmode=require",
        f"postgresql+asyncpg://simpul:{SECRET}@localhost/hub?ssl=quark",
        SECRET,
    ],
)
async def test_a_url_that_cannot_be_right_is_refused_without_repeating_its_password(url: str) -> None:
    said = await refusal(url)
    assert isinstance(said, Refused)
    assert said.kind == "configuration"
    assert said.members["next"]


def test_a_url_is_shown_without_its_password() -> None:
    assert shown_url(f"postgresql+asyncpg://u:{SECRET}@h:5/d") == "postgresql+asyncpg://u:***@h:5/d"
    assert SECRET not in repr(open_postgres(f"postgresql+asyncpg://u:{SECRET}@h:5/d", "plane"))


def test_two_spellings_of_one_database_are_told() -> None:
    one = "postgresql+asyncpg://u:p@localhost:5432/d"
    assert is_same_database(one, "postgresql+asyncpg://other@localhost/d?ssl=require")
    assert is_same_database("postgresql+asyncpg:///d?host=/run/x", "postgresql+asyncpg://u@/d?host=/run/x")
    for other in ("localhost:5433/d", "localhost/e", "elsewhere/d"):
        assert not is_same_database(one, f"postgresql+asyncpg://u:p@{other}")


async def test_what_a_database_says_is_logged_without_the_values_it_did_not_like(postgres_url: str) -> None:
    store = await PostgresHubStore.create(postgres_url)
    try:
        await store.append(commit_of(0, a_set(0, "33.75", 1)))
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await store.append(commit_of(1, a_set(1, "33.75", 1)))
        words = words_of(caught.value)
        assert "duplicate key value" in words
        assert "33.75" not in words
        grant = Grant(b"t" * 32, SECRET, with_content=False, created_at_ms=1)
        await store.add_grant(grant)
        with pytest.raises(DBAPIError) as caught_too:
            await store.add_grant(grant)
        assert "duplicate key value" in words_of(caught_too.value)
        assert SECRET not in words_of(caught_too.value)
    finally:
        await store.close()


async def test_a_hub_that_runs_says_that_its_database_is_away_and_not_where_it_is(postgres_url: str) -> None:
    url = make_url(postgres_url).set(password=SECRET)
    store = await PostgresHubStore.create(url.render_as_string(hide_password=False))
    lock = await PostgresLockStore.create_or_open(url.render_as_string(hide_password=False))
    maintenance = await asyncpg.connect(driver_dsn(url.set(database="postgres")))
    await maintenance.execute(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS false')
    await maintenance.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", url.database)
    try:
        for work in (
            store.heads,
            store.forks,
            partial(store.find_sets, [("33.75", 1)]),
            partial(store.leaves, 0, 1, 100),
            lock.read,
            lock.proof,
            partial(store.append, commit_of(0, a_set(0, "33.75", 1))),
        ):
            with pytest.raises(Unavailable) as caught:
                await work()
            assert "does not answer" in caught.value.detail
            for part in (SECRET, str(url.database), str(url.username), "host"):
                assert part not in str(caught.value)
        with pytest.raises(Unavailable):
            await lock.hold().__aenter__()
        await maintenance.execute(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS true')
        await store.append(commit_of(0, a_set(0, "33.75", 1)))
        async with lock.hold():
            await lock.swap(None, b"one")
    finally:
        await maintenance.close()
        await store.close()
        lock.close()


async def test_a_server_that_was_restarted_fails_no_read_and_no_append_after_it(postgres_url: str) -> None:
    store = await PostgresHubStore.create(postgres_url)
    try:
        await store.append(commit_of(0, a_set(0, "33.75", 1)))
        connection = await asyncpg.connect(driver_dsn(make_url(postgres_url)))
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connection.close()
        assert len(await store.heads()) == 1
        assert len(await store.leaves(0, 9, 100)) == 1
        await store.append(commit_of(1, a_set(1, "33.75", 2)))
        assert [head.seq for head in await store.heads()] == [2]
    finally:
        await store.close()


def listen_to(sent: list[str]) -> Work[None]:
    """Work that notes from now on what is asked over its connection."""

    async def listen(driver: Any) -> None:
        driver.add_query_logger(lambda record: sent.append(record.query))

    return listen


async def test_an_append_of_any_number_of_sets_is_one_statement(postgres_url: str) -> None:
    store = await PostgresHubStore.create(postgres_url)
    sent: list[str] = []
    try:
        await store.append(commit_of(0, a_set(0, "33.75", 1)))  # the driver asks once what the types are
        await store.appending.write(listen_to(sent))
        for size, count in ((1, 1), (2, 64), (66, 64)):
            sets = [a_set(size + n, f"{n:02d}.01", size + 1) for n in range(count)]
            await store.append(commit_of(size, *sets))
        await asyncio.sleep(0)  # the driver tells after it has answered
        assert len(sent) == 3
        assert all("INSERT INTO checkpoint" in query for query in sent)
    finally:
        await store.close()


async def test_agencies_are_ordered_by_their_bytes_whatever_the_locale_of_the_server(postgres_url: str) -> None:
    store = await PostgresHubStore.create(postgres_url)
    codes = ["33.75", "3", "kementerian-panrb", "kementerian.x", "33-75", "Z"]
    try:
        await store.append(commit_of(0, *(a_set(n, code, 1) for n, code in enumerate(codes))))
        assert [head.agency for head in await store.heads()] == sorted(codes)
    finally:
        await store.close()


def test_the_two_databases_answer_to_the_same_names() -> None:
    public = {name for name in dir(SqlHubStore) if not name.startswith("_")}
    assert public <= {name for name in dir(PostgresHubStore) if not name.startswith("_")}
