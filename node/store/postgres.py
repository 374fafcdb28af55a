"""PostgreSQL engines with the settings that the guarantees rest on: one schema for each plane, chosen durability,
snapshots for readers (protocol §6.3).

Every connection of ours talks to the server itself: session locks, LISTEN and prepared statements do not pass through
a pooler that shares connections between transactions. Passwords never stand in what is raised here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from node.store.migration import bring_up_to_date, migrate
from sync_protocol.errors import Refused, Unavailable

HUB_SCHEMA: Final = "simpul_hub"
PROJECTION_SCHEMA: Final = "simpul_projection"
LOCK_SCHEMA: Final = "simpul_lock"

WRITERS: Final = 2  # one appends; the other keeps a grant or an erasure from waiting for it
READERS: Final = 4  # more would only queue for the same cores; a server has 100 connections for all hub processes
CONNECT_TIMEOUT_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 60.0  # longer than any statement of ours; then the server or the line is gone
POOL_TIMEOUT_S: Final = 60.0
_DEFAULTS: Final = {"host": "localhost", "port": 5432, "database": ""}  # where a URL leaves them out
_QUERY: Final = frozenset({"host", "port", "ssl", "passfile", "target_session_attrs"})

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
    commit = {"synchronous_commit": "on" if durability == "FULL" else "off"}
    return (
        _engine(url, schema, _WRITING | commit | dict(settings), connections=WRITERS),
        _engine(url, schema, _READING | dict(settings), connections=READERS),
    )


def open_for_migration(url: str, schema: str) -> AsyncEngine:
    """One connection without a time limit: rewriting a large table takes as long as it takes."""
    return _engine(url, schema, _WRITING | {"synchronous_commit": "on"}, connections=1, command_timeout=None)


async def connect_postgres(url: str, schema: str, **settings: str) -> Any:
    """An asyncpg connection of one's own, outside of any pool; durable. Closed by the caller.

    Raises Refused(configuration) for what a person must correct, Unavailable where the server is away.
    """
    server = _SERVER | _WRITING | {"synchronous_commit": "on", "search_path": schema} | settings
    try:
        return await asyncpg.connect(
            **_arguments(url), timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S, server_settings=server
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise in_words(error, url) from None


async def create_schema(url: str, schema: str) -> None:
    """Makes the schema if it is not there; raises as `connect_postgres` does."""
    connection = await connect_postgres(url, schema)
    try:
        # Looked up first: IF NOT EXISTS asks for the right to create even where there is nothing to create.
        if not await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", schema):
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
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


def is_same_database(one: str, other: str) -> bool:
    """Whether both URLs name one database of one server, as far as their words tell. Raises Refused(configuration)."""
    return _address(one) == _address(other)


def _address(url: str) -> tuple[Any, ...]:
    arguments = _arguments(url)
    return tuple(arguments.get(name) or default for name, default in _DEFAULTS.items())


def shown_url(url: str) -> str:
    """The URL as it may be printed: without its password."""
    return parse_url(url).render_as_string(hide_password=True)


def parse_url(url: str) -> URL:
    """Raises Refused(configuration), without repeating what was wrong: it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise _configuration("a database URL cannot be read", _FORM) from None
    if parsed.drivername != "postgresql+asyncpg":
        raise _configuration("a PostgreSQL URL begins with postgresql+asyncpg://", _FORM)
    unknown = sorted(set(parsed.query) - _QUERY)
    if unknown:
        step = f"Known are {', '.join(sorted(_QUERY))}; for TLS: ?ssl=require, or verify-full."
        raise _configuration(f"the database URL has an unknown option {unknown[0]}", step)
    return parsed


_FORM: Final = "Write it as postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE."


def in_words(error: BaseException, url: str) -> Refused | Unavailable:
    """What went wrong with a connection, for the person at the keyboard."""
    shown = shown_url(url)
    match error:
        case asyncpg.InvalidCatalogNameError():
            step = f"Create it (docs/operations.md, 'PostgreSQL'): createdb {parse_url(url).database}"
            return _configuration(f"there is no such database: {shown}", step)
        case asyncpg.InvalidAuthorizationSpecificationError():  # also a wrong password
            step = "Correct user and password in the URL, or in the server's pg_hba.conf."
            return _configuration(f"the database server refuses this user or password: {shown}", step)
        case asyncpg.InsufficientPrivilegeError():
            step = "Make the role the owner of the database (docs/operations.md, 'PostgreSQL')."
            return _configuration(f"the role lacks rights on {shown}: {error}", step)
        case ValueError() if not isinstance(error, OSError):
            return _configuration(f"the driver does not take this URL: {shown}", _FORM)
        case OSError():
            return Unavailable(f"the database server does not answer: {shown}")
    return Unavailable(f"the database server does not let us in now: {shown} ({type(error).__name__}: {error})")


def _configuration(detail: str, step: str) -> Refused:
    return Refused("configuration", detail, members={"next": step})


def _arguments(url: str) -> dict[str, Any]:
    """What asyncpg's `connect` takes, from our URL."""
    parsed = parse_url(url)
    _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    return dict(arguments)


def _engine(
    url: str,
    schema: str,
    settings: dict[str, str],
    *,
    connections: int,
    command_timeout: float | None = COMMAND_TIMEOUT_S,
) -> AsyncEngine:
    engine = create_async_engine(
        parse_url(url),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": command_timeout,
            "server_settings": _SERVER | {"search_path": schema} | settings,
        },
        hide_parameters=True,  # an error is logged, and parameters are what citizens said
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def on_checkout(connection: Any, _record: Any, _proxy: Any) -> None:
        # Costs nothing, unlike asking the server: a connection that died in the pool is replaced.
        if connection.driver_connection.is_closed():
            raise DisconnectionError("closed by the server")

    return engine
