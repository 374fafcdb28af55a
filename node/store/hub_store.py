"""The log plane in SQLite (`hub.db`): node/hub/ports.py HubStore. Durability FULL: a receipt survives a power cut."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, Self

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from node.store.hub_append import has_rest, write_commit
from node.store.hub_plain_append import append_sets
from node.store.hub_queries import SqlHubQueries
from node.store.hub_records import Commit
from node.store.hub_tables import HUB_REVISION, CheckpointRow, table_of
from node.store.migration import bring_up_to_date, migrate
from node.store.plain_connection import PlainConnection
from node.store.sqlite import open_readers, open_writer, sqlite_url
from node.store.sqlite_copy import rows_of
from sync_protocol.errors import Unavailable

HUB_DATABASE: Final = "hub's log database"

_CHECKPOINT = table_of(CheckpointRow)


class SqlHubStore(SqlHubQueries):
    """See HubStore. One connection that appends, one for all else that is written, some readers.

    Any number of processes on the same file.
    """

    def __init__(self, writer: AsyncEngine, readers: AsyncEngine) -> None:
        super().__init__(writer, readers)
        self._appending = PlainConnection(str(writer.url.database))

    async def close(self) -> None:
        await self._appending.close()
        await super().close()

    @classmethod
    async def create(cls, path: Path) -> Self:
        """A new or older database brought to the newest schema."""
        store = cls._open(path)
        await migrate(store.writer, "hub")
        return store

    @classmethod
    async def open(cls, path: Path) -> Self:
        """An existing database; an older schema is brought forward. Raises Corrupt if it has another schema."""
        store = cls._open(path)
        try:
            await bring_up_to_date(store.writer, "hub", HUB_REVISION, HUB_DATABASE)
        except BaseException:
            await store.close()
            raise
        return store

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is a log plane in that file: one that was made and got no tables, by a crash, is none."""
        if not path.is_file():
            return False
        try:
            return bool(rows_of(path, "SELECT 1 FROM sqlite_master LIMIT 1"))
        except sqlite3.DatabaseError:
            return True  # what is wrong with it is said where it is opened

    @classmethod
    def _open(cls, path: Path) -> Self:
        url = sqlite_url(path)
        return cls(open_writer(url, durability="FULL"), open_readers(url))

    async def append(self, commit: Commit) -> None:
        if not has_rest(commit):
            newest = await self._appending.write(lambda connection: append_sets(connection, commit))
            if newest != commit.follows:
                raise not_the_newest(newest, commit.follows)
            return
        async with self.writer.begin() as connection:
            newest = (await connection.execute(select(func.max(_CHECKPOINT.c.size)))).scalar_one() or 0
            if newest != commit.follows:
                raise not_the_newest(newest, commit.follows)
            await write_commit(connection, commit)


def not_the_newest(newest: int, follows: int) -> Unavailable:
    """Somebody else appended meanwhile; sizes in leaves."""
    return Unavailable(f"the log has size {newest}, the append follows {follows}", retry_after_s=1)
