"""Which database holds what: SQLite files, or PostgreSQL where a URL says so. PostgreSQL is loaded only there."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from node.hub.announcements import LocalAnnouncements
from node.hub.file_turn import FileTurn
from node.hub.lock import FileLockStore
from node.hub.options import HubOptions
from node.hub.ports import Announcements, HubStore, LockStore, Turn
from node.hub.projection_ports import ProjectionStore
from node.ports import Clock
from node.store.hub_store import SqlHubStore
from node.store.projection_store import SqlProjectionStore
from node.store.sqlite_copy import find_damage, is_open_elsewhere, tells_of_damage
from sync_protocol.errors import Corrupt, Refused

SIDE_FILES: Final = ("", "-wal", "-shm")  # what SQLite keeps beside a database belongs to it alone


@dataclass(frozen=True)
class Locks:
    """The lock store, and the turns of who leads and who projects (HubPorts)."""

    lock: LockStore
    leading: Turn
    projecting: Turn

    def close(self) -> None:
        """All three."""
        self.lock.close()
        self.leading.close()
        self.projecting.close()


async def hub_exists(options: HubOptions) -> bool:
    """Whether there is a log. Raises Refused(configuration), Unavailable where the database cannot be asked."""
    if options.log_file is not None:
        return await asyncio.to_thread(SqlHubStore.exists, options.log_file)
    from node.store.postgres_hub import PostgresHubStore

    return await PostgresHubStore.exists(options.database_url)


async def open_log(options: HubOptions, *, create: bool) -> HubStore:
    """The log plane; `create` makes one where there is none. Raises Corrupt, Refused(configuration), Unavailable."""
    if options.log_file is not None:
        return await (SqlHubStore.create if create else SqlHubStore.open)(options.log_file)
    from node.store.postgres_hub import PostgresHubStore

    return await (PostgresHubStore.create if create else PostgresHubStore.open)(options.database_url)


async def open_projection(options: HubOptions) -> ProjectionStore:
    """The query tables. They may be deleted at any time: they are made again, and the log is folded again.

    Raises Corrupt where the file is damaged: `simpul hub rebuild` puts it aside.
    """
    if options.projection_file is not None:
        try:
            return await SqlProjectionStore.create_or_open(options.projection_file)
        except (DBAPIError, sqlite3.DatabaseError) as error:
            words = str(getattr(error, "orig", error))
            if not tells_of_damage(words):
                raise
            step = f"Stop the hub, then: simpul hub rebuild {options.directory}. The log is not touched."
            detail = f"{options.projection_file} is damaged: {words}"
            raise Corrupt(detail, next_step=step) from error
    from node.store.projection_postgres import PostgresProjectionStore

    return await PostgresProjectionStore.create_or_open(options.projection_url or options.database_url)


async def put_damaged_projection_aside(options: HubOptions) -> Path | None:
    """Where a damaged file with the query tables was moved to; None where it is whole, not there, or in PostgreSQL.

    Raises Refused(configuration) while a hub serves from it: that one would go on with the file that was moved.
    """
    file = options.projection_file
    if file is None or not await asyncio.to_thread(file.is_file):
        return None
    if await asyncio.to_thread(find_damage, file) is None:
        return None
    if await asyncio.to_thread(is_open_elsewhere, file):
        step = f"Stop it, then: simpul hub rebuild {options.directory}"
        raise Refused("configuration", f"a hub serves from {file}, which is damaged", members={"next": step})
    return await asyncio.to_thread(_move_aside, file)


def _move_aside(file: Path) -> Path:
    """Under a name that was never used, with what belongs to it."""
    number = 1
    while (aside := file.with_name(f"{file.name}.damaged-{number}")).exists():
        number += 1
    for ending in SIDE_FILES[::-1]:  # the file itself last: cut off in between, the next try moves the rest
        beside = file.with_name(file.name + ending)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + ending))
    return aside


async def open_locks(options: HubOptions) -> Locks:
    """Files, or a PostgreSQL database of their own. Raises Refused(configuration), Unavailable."""
    if not options.lock_url:
        folder = options.lock_folder
        return Locks(
            FileLockStore(folder),
            leading=FileTurn(folder / "leader.lock"),
            projecting=FileTurn(folder / "projector.lock"),
        )
    from node.store.postgres_lock import LEADING, PROJECTING, PostgresLockStore, PostgresTurn

    check_lock_stands_apart(options)
    return Locks(
        await PostgresLockStore.create_or_open(options.lock_url),
        leading=PostgresTurn(options.lock_url, LEADING),
        projecting=PostgresTurn(options.lock_url, PROJECTING),
    )


def open_announcements(options: HubOptions, clock: Clock) -> Announcements:
    """Word among processes goes through the database that they share; in SQLite there is one process that serves."""
    if options.log_file is not None:
        return LocalAnnouncements()
    from node.store.postgres_announcements import PostgresAnnouncements

    return PostgresAnnouncements(options.database_url, clock)


def check_lock_stands_apart(options: HubOptions) -> None:
    """Raises Refused(configuration) if a backup of the log would bring an old lock back with it."""
    from node.store.postgres_url import is_same_database

    if options.log_file is None and is_same_database(options.lock_url, options.database_url):
        step = "Create a small database of its own for lock_url; it is never restored from a backup."
        raise Refused("configuration", "lock_url and database_url name the same database", members={"next": step})


async def reach_databases(options: HubOptions) -> None:
    """That every PostgreSQL named can be reached, before anything is written: a mistyped URL shall not be final.

    Raises Refused(configuration), Unavailable.
    """
    urls = [options.database_url] if options.log_file is None else []
    if options.projection_url and options.projection_file is None:
        urls.append(options.projection_url)
    if options.lock_url:
        check_lock_stands_apart(options)
        urls.append(options.lock_url)
    if urls:
        from node.store.postgres import HUB_SCHEMA, has_tables

        for url in dict.fromkeys(urls):
            await has_tables(url, HUB_SCHEMA)
