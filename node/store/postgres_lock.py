"""Lock store and turns in PostgreSQL, for a hub whose processes run on several machines (protocol §6.3).

A small database of its own, never the hub's: that one is restored from a backup one day, this one never. A turn is a
session's advisory lock on a connection that is used for nothing else. Who waits, waits in the server, in order; whose
connection ends, however it ends, has let go. What a holder writes goes over the connection that holds: once that is
gone, nothing can be written any more in the name of the lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeVar

import asyncpg

from node.store.hub_records import KeptErasure
from node.store.postgres import LOCK_SCHEMA, LOST, connect_again, connect_postgres, create_schema
from node.store.postgres_url import in_words
from sync_protocol.errors import Corrupt

LOCK_CLASS: Final = 0x53494D50  # "SIMP": first half of the names of our advisory locks
APPENDING: Final = 1
LEADING: Final = 2
PROJECTING: Final = 3

WAIT_S: Final = 20  # then a waiter asks again: so it finds out whether the server is still there

_CREATE: Final = "CREATE TABLE IF NOT EXISTS kept (name text PRIMARY KEY, note bytea NOT NULL)"
_READ: Final = "SELECT note FROM kept WHERE name = $1"
_FIRST: Final = "INSERT INTO kept (name, note) VALUES ('checkpoint', $1) ON CONFLICT DO NOTHING"
_SWAP: Final = "UPDATE kept SET note = $1 WHERE name = 'checkpoint' AND note = $2"
_KEEP: Final = (
    "INSERT INTO kept (name, note) VALUES ('proof', $1) ON CONFLICT (name) DO UPDATE SET note = excluded.note"
)
_CREATE_STATEMENTS: Final = "CREATE TABLE IF NOT EXISTS kept_statement (idx bigint PRIMARY KEY, entry bytea NOT NULL)"
_ADD: Final = (
    "INSERT INTO kept_statement (idx, entry) SELECT * FROM unnest($1::bigint[], $2::bytea[]) "
    "ON CONFLICT (idx) DO UPDATE SET entry = excluded.entry"
)
_STATEMENTS: Final = "SELECT idx, entry FROM kept_statement"
_KEPT_TO: Final = "SELECT coalesce(max(idx), -1) FROM kept_statement"
_CREATE_ERASURES: Final = (
    "CREATE TABLE IF NOT EXISTS kept_erasure (no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, idx bigint NOT NULL,"
    " positions integer[] NOT NULL, leaves bytea[] NOT NULL)"
)
_ADD_ERASURE: Final = "INSERT INTO kept_erasure (idx, positions, leaves) VALUES ($1, $2, $3)"
_ERASURES: Final = "SELECT idx, positions, leaves FROM kept_erasure ORDER BY no"
_LET_GO: Final = "DELETE FROM kept WHERE name = 'proof'"
_TABLES: Final = (("kept", _CREATE), ("kept_statement", _CREATE_STATEMENTS), ("kept_erasure", _CREATE_ERASURES))

Result = TypeVar("Result")


class _Connection:
    """One connection that is made when it is needed, and made again when it is gone. One user at a time."""

    def __init__(self, url: str, wait_s: int = WAIT_S) -> None:
        self._url = url
        self._settings = {
            "lock_timeout": f"{wait_s}s",
            "client_connection_check_interval": "1s",
            "synchronous_commit": "on",
        }
        self._driver: Any = None

    async def run(self, work: Callable[[Any], Awaitable[Result]]) -> Result:
        """What `work` makes of the connection; a second time on a new one if the one at hand was gone already."""
        if self._driver is not None and not self._driver.is_closed():
            try:
                return await self._try(work)
            except LOST:
                pass  # the server was restarted meanwhile; nothing was held
        self._driver = await connect_again(self._url, LOCK_SCHEMA, self._settings)
        return await self._try(work)

    async def _try(self, work: Callable[[Any], Awaitable[Result]]) -> Result:
        try:
            return await work(self._driver)
        except BaseException:
            # Also a cancelled wait: the server may have granted the lock in that moment. A dead session holds nothing.
            self.close()
            raise

    def close(self) -> None:
        """Ends it at once; the server lets go of what it held."""
        if self._driver is not None:
            self._driver.terminate()


class PostgresTurn:
    """See Turn in node/hub/ports.py. One object for each process and turn."""

    def __init__(self, url: str, number: int, *, wait_s: int = WAIT_S) -> None:
        self._connection = _Connection(url, wait_s)
        self._number = number
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Any]:
        """Waits for its turn; yields the connection that has it. Raises what the database says, or Unavailable."""
        async with self._turn:
            driver = await self._connection.run(self._take)
            try:
                yield driver
            finally:
                await self._let_go(driver)

    async def _take(self, driver: Any) -> Any:
        while True:
            try:
                await driver.execute("SELECT pg_advisory_lock($1, $2)", LOCK_CLASS, self._number)
            except asyncpg.LockNotAvailableError:
                continue  # the server is there, and somebody else has it
            return driver

    async def _let_go(self, driver: Any) -> None:
        try:
            await driver.execute("SELECT pg_advisory_unlock($1, $2)", LOCK_CLASS, self._number)
        except LOST:
            self.close()  # then the server has let go by itself
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives the connection back, and with it the turn."""
        self._connection.close()


class PostgresLockStore:
    """See LockStore in node/hub/ports.py. One object for each process."""

    def __init__(self, url: str) -> None:
        self._appending = PostgresTurn(url, APPENDING)
        self._reading = _Connection(url)
        self._reader = asyncio.Lock()
        self._holder: Any = None

    @classmethod
    async def create_or_open(cls, url: str) -> Self:
        """Made if it is not there: a hub finds out by its log that a lock store is empty and must not be.

        Raises Refused(configuration) for what a person must correct, Unavailable where the server is away.
        """
        await create_schema(url, LOCK_SCHEMA)
        connection = await connect_postgres(url, LOCK_SCHEMA)
        try:
            for table, create in _TABLES:
                if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
                    await connection.execute(create)
        except asyncpg.PostgresError as error:
            raise in_words(error, url) from None
        finally:
            await connection.close()
        return cls(url)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        async with self._appending.hold() as driver:
            self._holder = driver
            try:
                yield
            finally:
                self._holder = None

    async def read(self) -> bytes | None:
        return await self._read("checkpoint")

    async def proof(self) -> bytes | None:
        return await self._read("proof")

    async def _read(self, name: str) -> bytes | None:
        note: bytes | None = await self._fetch(lambda driver: driver.fetchval(_READ, name))
        return note

    async def _fetch(self, fetch: Callable[[Any], Awaitable[Any]]) -> Any:
        async with self._reader:
            return await self._reading.run(fetch)

    async def keep_statements(self, statements: Sequence[tuple[int, bytes]]) -> None:
        indices, entries = [index for index, _ in statements], [entry for _, entry in statements]
        await self._held().execute(_ADD, indices, entries)

    async def statements(self) -> dict[int, bytes]:
        rows = await self._fetch(lambda driver: driver.fetch(_STATEMENTS))
        return {row["idx"]: row["entry"] for row in rows}

    async def statements_kept_to(self) -> int:
        return int(await self._fetch(lambda driver: driver.fetchval(_KEPT_TO)))

    async def keep_erasures(self, erasures: Sequence[KeptErasure]) -> None:
        rows = [(one.index, list(one.positions), sorted(one.leaves)) for one in erasures]
        await self._fetch(lambda driver: driver.executemany(_ADD_ERASURE, rows))

    async def erasures(self) -> list[KeptErasure]:
        rows = await self._fetch(lambda driver: driver.fetch(_ERASURES))
        return [KeptErasure(row["idx"], tuple(row["positions"]), frozenset(row["leaves"])) for row in rows]

    async def swap(self, expected: bytes | None, note: bytes) -> None:
        if expected is None:
            told = await self._held().execute(_FIRST, note)
        else:
            told = await self._held().execute(_SWAP, note, expected)
        if not told.endswith(" 1"):
            raise Corrupt(
                "the lock database holds another checkpoint than this process published",
                next_step="Make sure that no other hub uses this lock_url; then start the hub again.",
            )

    async def keep_proof(self, note: bytes | None) -> None:
        if note is None:
            await self._held().execute(_LET_GO)
        else:
            await self._held().execute(_KEEP, note)

    def _held(self) -> Any:
        if self._holder is None:
            raise AssertionError("written without holding the lock")
        return self._holder

    def close(self) -> None:
        """Gives its connections back."""
        self._appending.close()
        self._reading.close()
