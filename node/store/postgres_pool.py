"""A few connections of the driver itself, for the calls that a hub makes hundreds of times a second.

SQLAlchemy's engine asks for a connection and gives it back in more time than such a call takes; the driver's own pool
asks the server once more each time. This one does neither: what comes back is as it went, or it is ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg

from node.store.postgres import (
    LOST,
    POOL_TIMEOUT_S,
    RETRY_AFTER_S,
    Durability,
    connect_again,
    reading_settings,
    writing_settings,
)
from sync_protocol.errors import Unavailable

CLOSE_S: Final = 2.0
# Without these the server, which does not know how long an array or a range will be, now and then reads a whole table.
BY_INDEX: Final = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
# The way by the index is the same for all arguments: planning it once saves up to half the time of a small statement.
# A plan from when a table was small must not compare each row with a copy of all the others once it is large.
_PLANNED_ONCE: Final = BY_INDEX | {"enable_material": "off", "plan_cache_mode": "force_generic_plan"}

Result = TypeVar("Result")
Work = Callable[[Any], Awaitable[Result]]


def open_pools(
    url: str, schema: str, *, writers: int, readers: int, durability: Durability = "FULL"
) -> tuple[DriverPool, DriverPool]:
    """As `open_postgres`, at most so many of each: for statements that find all their rows by an index.

    Every statement of a reader is a snapshot of its own.
    """

    def pool(settings: Mapping[str, str], connections: int) -> DriverPool:
        return DriverPool(partial(connect_again, url, schema, settings), connections)

    return pool(writing_settings(durability, _PLANNED_ONCE), writers), pool(reading_settings(_PLANNED_ONCE), readers)


class DriverPool:
    """At most `connections` at once, each made by `connect` when it is first needed. Belongs to one event loop.

    Work gets a connection of its own outside of any transaction, and leaves it so. Raises what the work raises, what
    `connect` raises, and Unavailable where none comes free in `wait_s` or the pool is closed: then nothing was sent.
    Work that is cancelled, or ends in an error that is not the server's answer, takes its connection with it: nobody
    knows what still comes over that one. The server may finish a statement of such work.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Any]], connections: int, *, wait_s: float = POOL_TIMEOUT_S
    ) -> None:
        self._connect = connect
        self._wait_s = wait_s
        self._places = asyncio.Semaphore(connections)
        self._idle: list[Any] = []  # the one that was used last is used first: its statements are prepared
        self._is_closed = False

    async def read(self, work: Work[Result]) -> Result:
        """What `work` finds; asked once more, of a new connection, if the one at hand was dead, as all are after a
        restart of the server.
        """
        await self._take_place()
        try:
            try:
                return await self._run(work, self._at_hand() or await self._new())
            except (TimeoutError, asyncpg.QueryCanceledError):
                raise  # the server is there, and has enough to do
            except LOST:
                pass
            return await self._run(work, await self._new())
        finally:
            self._places.release()

    async def write(self, work: Work[Result]) -> Result:
        """As `read`, but never asked again: of a connection that breaks, nobody knows what was written over it."""
        await self._take_place()
        try:
            return await self._run(work, self._at_hand() or await self._new())
        finally:
            self._places.release()

    async def close(self) -> None:
        """Ends all connections: idle ones now, the others when their work ends."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        # One that cannot be closed in time is cut off by the driver.
        await asyncio.gather(*(driver.close(timeout=CLOSE_S) for driver in idle), return_exceptions=True)

    async def _take_place(self) -> None:
        if not self._places.locked():  # the usual case, without a timer
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_s):
                await self._places.acquire()
        except TimeoutError:
            words = "all connections to the hub's database are busy"
            raise Unavailable(words, retry_after_s=RETRY_AFTER_S) from None

    def _at_hand(self) -> Any:
        """An idle connection that lives, as far as this side knows; None if there is none."""
        while self._idle:
            driver = self._idle.pop()
            if not driver.is_closed():
                return driver
            driver.terminate()  # lets go of what the driver keeps of it
        return None

    async def _new(self) -> Any:
        if self._is_closed:
            raise Unavailable("the hub's database was closed", retry_after_s=RETRY_AFTER_S)
        return await self._connect()

    async def _run(self, work: Work[Result], driver: Any) -> Result:
        is_sound = False
        try:
            found = await work(driver)
            is_sound = True
        except asyncpg.PostgresError as error:
            is_sound = not isinstance(error, LOST)  # the server answered, and waits for the next statement
            raise
        else:
            return found
        finally:
            if is_sound and not (self._is_closed or driver.is_closed() or driver.is_in_transaction()):
                self._idle.append(driver)
            else:
                driver.terminate()
