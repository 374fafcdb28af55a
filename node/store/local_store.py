"""A local node's database, `node.db`: SQLite, WAL, synchronous=FULL, one writer (node/local/ports.py LocalStore)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self

from node.store.local_connectors import LocalConnectors
from node.store.local_erasing import LocalErasing
from node.store.local_files import LocalFiles
from node.store.local_inbox import LocalInbox
from node.store.local_outbox import LocalOutbox
from node.store.local_reading import LocalReading
from node.store.local_recording import record
from node.store.local_records import Found, Named, WrittenRows
from node.store.local_sms import LocalSms
from node.store.local_tables import LOCAL_REVISION
from node.store.local_transaction import SqlLocalTransaction
from node.store.migration import bring_up_to_date, migrate
from node.store.sqlite import open_readers, open_writer, sqlite_url


class SqlLocalStore(LocalReading, LocalOutbox, LocalErasing, LocalFiles, LocalInbox, LocalConnectors, LocalSms):
    """See LocalStore. Durability FULL: a recorded complaint and a stored receipt survive a power cut."""

    @classmethod
    async def create(cls, place: Path | str) -> Self:
        """A new or older database brought to the newest schema. `place` is a file, or a URL that names its driver."""
        store = cls._open(place)
        try:
            await migrate(store.writer, "local")
        except BaseException:
            await store.close()
            raise
        return store

    @classmethod
    async def open(cls, place: Path | str) -> Self:
        """An existing database; an older schema is brought forward. Raises Corrupt if it has any other."""
        store = cls._open(place)
        try:
            await bring_up_to_date(store.writer, "local", LOCAL_REVISION, "node's database")
        except BaseException:
            await store.close()
            raise
        return store

    @classmethod
    def _open(cls, place: Path | str) -> Self:
        url = sqlite_url(place) if isinstance(place, Path) else place
        return cls(open_writer(url, durability="FULL"), open_readers(url))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlLocalTransaction]:
        async with self.writing() as connection:
            yield SqlLocalTransaction(connection)

    async def record(self, named: Named, judge: Callable[[Found], WrittenRows], *, few: bool = False) -> None:
        async with self.turn:
            await self.plain.write(partial(record, named=named, judge=judge), small=few)


async def open_local_store(place: Path | str, *, create: bool = False) -> SqlLocalStore:
    """The store of a node's directory; `create` makes the database or brings it to the newest schema."""
    return await (SqlLocalStore.create(place) if create else SqlLocalStore.open(place))
