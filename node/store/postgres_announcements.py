"""Word among hub processes, on any machine, through PostgreSQL's LISTEN and NOTIFY (node/hub/ports.py Announcements).

One connection of its own, which must not go through a pooler that shares connections. While it is away nobody hears
anything, and nothing else happens: who listens also looks by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from node.ports import Clock
from node.store.postgres import HUB_SCHEMA, connect_postgres

CHANNEL: Final = "simpul_log"  # of this database: a database holds one hub
RECONNECT_S: Final = 1.0
APART_S: Final = 0.01  # of one word and the next: in a rush one tells of many commits
CLOSE_S: Final = 2.0
SIZE_DIGITS_MAX: Final = 19  # of a log of 2^63 leaves; anybody in this database may say anything

_logger = structlog.get_logger("simpul.hub.announcements")


class PostgresAnnouncements:
    """See Announcements. Belongs to one event loop."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._heard: list[Callable[[int], None]] = []
        self._size = 0
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def publish(self, size: int) -> None:
        if size > self._size:  # what was not told yet is told with it: only the newest matters
            self._size = size
            self._moved.set()

    def listen(self, heard: Callable[[int], None]) -> None:
        self._heard.append(heard)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="hub-announcements")

    async def close(self) -> None:
        self._heard.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                # A word that a power cut swallows is no loss: nobody is there to hear it.
                connection = await connect_postgres(self._url, HUB_SCHEMA, synchronous_commit="off")
                try:
                    await self._talk(connection)
                finally:
                    await _let_go(connection)
            except Exception as error:  # noqa: BLE001 - the driver has many ways to say that a connection broke
                _logger.warning("announcements are away", error=type(error).__name__)
            await self._clock.sleep(RECONNECT_S)

    async def _talk(self, connection: Any) -> None:
        """Until the connection ends."""
        connection.add_termination_listener(lambda _connection: self._moved.set())
        await connection.add_listener(CHANNEL, self._on_word)
        self._tell(self._size)  # something may have been said before we listened
        while not connection.is_closed():
            await self._moved.wait()
            self._moved.clear()
            if self._size:
                await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, str(self._size))
                await self._clock.sleep(APART_S)

    def _on_word(self, _connection: Any, _process: int, _channel: str, word: str) -> None:
        if word.isascii() and word.isdigit() and len(word) <= SIZE_DIGITS_MAX:
            self._tell(int(word))

    def _tell(self, size: int) -> None:
        for heard in self._heard:
            heard(size)


async def _let_go(connection: Any) -> None:
    try:
        await connection.close(timeout=CLOSE_S)
    except Exception:  # noqa: BLE001 - the same
        connection.terminate()
