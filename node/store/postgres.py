"""PostgreSQL engines with the settings that the guarantees rest on: one schema for each plane, chosen durability,
snapshots for readers (protocol §6.3).

Every connection of ours talks to the server itself: session locks, LISTEN and prepared statements do not pass through
a pooler that shares connections between transactions.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal

import asyncpg
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from node.store.migration import bring_up_to_date, migrate
from node.store.postgres_url import connect_arguments, in_words, parse_url
from sync_protocol.errors import Unavailable

HUB_SCHEMA: Final = "simpul_hub"
PROJECTION_SCHEMA: Final = "simpul_projection"
LOCK_SCHEMA: Final = "simpul_lock"

WRITERS: Final = 1  # what is appended all the time has another (postgres_pool.py): a grant does not wait for it
READERS: Final = 2  # more would only queue for the same cores; a server has 100 connections for all hub processes
CONNECT_TIMEOUT_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 60.0  # longer than any statement of ours; then the server or the line is gone
POOL_TIMEOUT_S: Final = 60.0
RETRY_AFTER_S: Final = 5.0  # a restart of the server takes as long
LOST: Final = (  # what a connection says that is dead, or that the server is about to end
    *(asyncpg.InterfaceError, asyncpg.InternalClientError, OSError),
    *(asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError),
)
CONNECT_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError)
_SERVER: Final = {
    "application_name": "simpul",
    "jit": "off",  # our queries take less time than their compilation
    # The server notices within some 10 s that the machine of a client is gone, and lets go of what it held.
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
_WRITING: Final = {"default_transaction_isolation": "read committed"}
_READING: Final = {
    "default_transaction_isolation": "repeatable read",
    "default_transaction_read_only": "on",
    "plan_cache_mode": "force_custom_plan",  # a range of the log is narrow; a plan for any range would not know that
}

Durability = Literal["FULL", "NORMAL"]


def open_postgres(
    url: str, schema: str, *, durability: Durability = "FULL", settings: Mapping[str, str] = MappingProxyType({})
) -> tuple[AsyncEngine, AsyncEngine]:
    """Writers and readers of one schema; nothing is connected yet. Raises Refused(configuration) for a wrong URL.

    FULL: a returned commit survives a power cut, whatever the server's default says. NORMAL: the newest commits may be
    lost together, never one without those before it. A transaction of a reader sees one snapshot and cannot write.
    `settings` are of the server, for every connection.
    """
    return (
        _engine(url, schema, writing_settings(durability, settings), connections=WRITERS),
        open_readers(url, schema, settings=settings),
    )


def open_readers(
    url: str, schema: str, *, connections: int = READERS, settings: Mapping[str, str] = MappingProxyType({})
) -> AsyncEngine:
    """The second half of `open_postgres`."""
    return _engine(url, schema, reading_settings(settings), connections=connections)


def writing_settings(durability: Durability, settings: Mapping[str, str]) -> dict[str, str]:
    """Of the server, for a connection that writes (`open_postgres`)."""
    return _WRITING | {"synchronous_commit": "on" if durability == "FULL" else "off"} | dict(settings)


def reading_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Of the server, for a connection that cannot write."""
    return _READING | dict(settings)


def open_for_migration(url: str, schema: str) -> AsyncEngine:
    """One connection without a time limit: rewriting a large table takes as long as it takes."""
    return _engine(url, schema, _WRITING | {"synchronous_commit": "on"}, connections=1, command_timeout=None)


async def connect_postgres(url: str, schema: str, **settings: str) -> Any:
    """An asyncpg connection of one's own, outside of any pool; durable. Closed by the caller.

    Raises Refused(configuration) for what a person must correct, Unavailable where the server is away.
    """
    try:
        return await _connect(url, schema, _WRITING | {"synchronous_commit": "on"} | settings)
    except CONNECT_ERRORS as error:
        raise in_words(error, url) from None


async def connect_again(
    url: str, schema: str, settings: Mapping[str, str], *, command_timeout: float | None = COMMAND_TIMEOUT_S
) -> Any:
    """An asyncpg connection while a hub runs, for whoever asks it over the network: raises nothing but Unavailable.

    Nothing was sent to the server then. Where that is, and as whom we go there, is nobody's business.
    """
    try:
        return await _connect(url, schema, settings, command_timeout=command_timeout)
    except CONNECT_ERRORS as error:
        words = f"the hub's database does not answer ({type(error).__name__})"
        raise Unavailable(words, retry_after_s=RETRY_AFTER_S) from error


async def _connect(
    url: str, schema: str, settings: Mapping[str, str], *, command_timeout: float | None = COMMAND_TIMEOUT_S
) -> Any:
    return await asyncpg.connect(
        **connect_arguments(url),
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=command_timeout,
        server_settings={**_SERVER, "search_path": schema, **settings},
    )


async def create_schema(url: str, schema: str) -> None:
    """Makes the schema if it is not there; raises as `connect_postgres` does."""
    connection = await connect_postgres(url, schema)
    try:
        # Looked up first: IF NOT EXISTS asks for the right to create even where there is nothing to create.
        if not await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", schema):
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    except CONNECT_ERRORS as error:
        raise in_words(error, url) from None
    finally:
        await connection.close()


async def make_schema(url: str, schema: str, tree: str) -> None:
    """The schema with the newest tables of a migration tree; raises as `connect_postgres` does."""
    await create_schema(url, schema)
    engine = open_for_migration(url, schema)
    try:
        await migrate(engine, tree)
    finally:
        await engine.dispose()


async def check_schema(url: str, schema: str, tree: str, wanted: str, what: str) -> None:
    """An older schema is brought forward. Raises Corrupt for any other, and what `connect_postgres` raises."""
    await (await connect_postgres(url, schema)).close()  # what is wrong with the way there is said in our words
    engine = open_for_migration(url, schema)
    try:
        await bring_up_to_date(engine, tree, wanted, what)
    finally:
        await engine.dispose()


async def has_tables(url: str, schema: str) -> bool:
    """Whether that schema has tables of ours, of whatever version; raises as `connect_postgres` does."""
    connection = await connect_postgres(url, schema)
    try:
        return bool(await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"))
    finally:
        await connection.close()


async def driver_connection(connection: AsyncConnection) -> Any:
    """The asyncpg connection under one of SQLAlchemy's, for COPY and arrays.

    It is in a transaction only if something was executed through SQLAlchemy before, or if one is begun on it.
    """
    return (await connection.get_raw_connection()).driver_connection


def _engine(
    url: str,
    schema: str,
    settings: dict[str, str],
    *,
    connections: int,
    command_timeout: float | None = COMMAND_TIMEOUT_S,
) -> AsyncEngine:
    engine = create_async_engine(
        parse_url(url).set(password=None),
        async_creator=partial(connect_again, url, schema, settings, command_timeout=command_timeout),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        hide_parameters=True,  # an error is logged, and parameters are what citizens said
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def on_checkout(connection: Any, _record: Any, _proxy: Any) -> None:
        # Costs nothing, unlike asking the server: a connection that died in the pool is replaced.
        if connection.driver_connection.is_closed():
            raise DisconnectionError("closed by the server")

    return engine
