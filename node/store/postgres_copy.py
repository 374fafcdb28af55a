"""The log plane from PostgreSQL into a SQLite file and back: same tables, same rows, other database.

Out: one read-only REPEATABLE READ transaction, so that all tables are of one moment while processes go on appending.
In: one transaction into a database that holds no log yet. Neither needs a program of PostgreSQL's own. Bodies are
streamed; what is in memory at one time is a few rows. Raises Refused(configuration), Unavailable, and what the drivers
say; the caller is a command, and shows no values.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Boolean, Table

from node.ports import Progress
from node.store.hub_store import SqlHubStore
from node.store.hub_tables import HUB_REVISION, HubTable
from node.store.postgres import HUB_SCHEMA, connect_postgres, has_tables, make_schema, reading_settings
from node.store.postgres_url import shown_url
from node.store.sqlite_copy import open_file
from sync_protocol.errors import Refused

ROWS_AT_ONCE: Final = 1_000
BODIES_AT_ONCE: Final = 16  # a frame may have megabytes
_BODIES: Final = frozenset({"set_changes", "set_contents", "recovered_leaf"})
_NO_LIMIT_S: Final = 86_400.0  # of one statement: a table takes as long as it takes


def copy_from_postgres(url: str, target: Path, progress: Progress) -> None:
    """Everything of the log plane as of one moment, into the new file `target`. To be called in a thread."""
    asyncio.run(_copy_out(url, target, progress))


def copy_into_postgres(source: Path, url: str) -> None:
    """The rows of a SQLite log plane into a database without one. To be called in a thread."""
    asyncio.run(_copy_in(source, url))


async def _copy_out(url: str, target: Path, progress: Progress) -> None:
    if not await has_tables(url, HUB_SCHEMA):
        step = "Check database_url, or make a hub: simpul hub init DIR --origin NAME --database-url …"
        raise Refused("configuration", f"there is no hub's log in {shown_url(url)}", members={"next": step})
    await (await SqlHubStore.create(target)).close()
    connection = await connect_postgres(url, HUB_SCHEMA, **reading_settings({}))
    try:
        with closing(open_file(target)) as copy:
            copy.execute("PRAGMA journal_mode=DELETE")
            copy.execute("PRAGMA synchronous=OFF")  # whoever keeps the file syncs it once, when it is whole
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await _check_revision(connection)
                for table in _tables():
                    await _table_out(connection, copy, table, progress)
    finally:
        await connection.close()


async def _check_revision(connection: Any) -> None:
    """The first statement: from here on the snapshot stands."""
    found = await connection.fetchval("SELECT version_num FROM alembic_version")
    if found != HUB_REVISION:
        step = "`simpul hub status DIR` brings an older one forward; for a newer one, install the newest program."
        detail = f"the hub's database has schema {found}, this program knows {HUB_REVISION}"
        raise Refused("configuration", detail, members={"next": step})


async def _table_out(connection: Any, copy: sqlite3.Connection, table: Table, progress: Progress) -> None:
    names = [column.name for column in table.columns]
    total = await connection.fetchval(f'SELECT count(*) FROM "{table.name}"')  # noqa: S608 - our own names
    at_once = BODIES_AT_ONCE if table.name in _BODIES else ROWS_AT_ONCE
    insert = f'INSERT INTO "{table.name}" ({", ".join(names)}) VALUES ({", ".join("?" * len(names))})'  # noqa: S608
    cursor = await connection.cursor(f'SELECT {", ".join(names)} FROM "{table.name}"')  # noqa: S608
    done = 0
    copy.execute("BEGIN")
    while rows := await cursor.fetch(at_once):
        copy.executemany(insert, (tuple(row) for row in rows))
        done += len(rows)
        progress(done, total)
    copy.execute("COMMIT")


async def _copy_in(source: Path, url: str) -> None:
    await make_schema(url, HUB_SCHEMA, "hub")
    connection = await connect_postgres(url, HUB_SCHEMA)
    try:
        with closing(open_file(source)) as held:
            async with connection.transaction():
                await _claim(connection, url)
                for table in _tables():
                    await _table_in(connection, held, table)
    finally:
        await connection.close()


async def _claim(connection: Any, url: str) -> None:
    """Nobody else writes until we are through, and nothing is there."""
    await connection.execute("LOCK TABLE checkpoint, log_entry IN EXCLUSIVE MODE")
    for table in _tables():
        if await connection.fetchval(f'SELECT EXISTS (SELECT 1 FROM "{table.name}")'):  # noqa: S608 - our own names
            step = "Create an empty database and name that one. Nothing that is there is ever written over."
            raise Refused("configuration", f"{shown_url(url)} holds a log already", members={"next": step})


async def _table_in(connection: Any, held: sqlite3.Connection, table: Table) -> None:
    names = [column.name for column in table.columns]
    rows = held.execute(f'SELECT {", ".join(names)} FROM "{table.name}"')  # noqa: S608 - our own names
    copied = await connection.copy_records_to_table(
        table.name, records=_typed(rows, table), columns=names, schema_name=HUB_SCHEMA, timeout=_NO_LIMIT_S
    )
    (wanted,) = held.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()  # noqa: S608
    if copied != f"COPY {wanted}":
        raise AssertionError(f"{table.name}: {copied} of {wanted} rows")
    if "id" in names:  # numbered by the database: it goes on after the highest
        sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
        await connection.execute(
            f'SELECT setval({sequence}, coalesce(max(id), 0) + 1, false) FROM "{table.name}"'  # noqa: S608
        )


def _typed(rows: Iterator[tuple[Any, ...]], table: Table) -> Iterator[tuple[Any, ...]]:
    """SQLite keeps truth as a number."""
    flags = [number for number, column in enumerate(table.columns) if isinstance(column.type, Boolean)]
    for row in rows:
        if flags:
            values = list(row)
            for number in flags:
                values[number] = bool(values[number])
            row = tuple(values)  # noqa: PLW2901
        yield row


def _tables() -> list[Table]:
    """All tables of the log plane."""
    return list(HubTable.metadata.sorted_tables)
