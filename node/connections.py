"""How many connections a server keeps, and how long one may stay silent before it asks for anything (ADR 0011).

aiohttp bounds neither. A connection costs some 20 KiB, and up to the size of a head while one is coming in; who opens
thousands, and sends a byte a minute on each, would otherwise cost more than all change sets together.
"""

from __future__ import annotations

import asyncio
import resource
from contextlib import suppress
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

HEAD_S: Final = 20.0  # from the connection to the end of its first head: a mobile line needs two
LOOK_EVERY_S: Final = 0.5
OTHER_FILES: Final = 512  # databases, logs, and connections that come between two looks
NEWCOMERS: Final = 4  # one place in so many is kept for who has only just come, however many others are at work


class Connections:
    """Those of one server, for one event loop: at most `most`, or where more than three in four of these are in the
    middle of a request, those and the newest that did not ask yet. Nobody can keep newcomers out by asking much.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._newcomers = max(1, most // NEWCOMERS)
        self._busy: set[RequestHandler] = set()
        self._has_asked: set[RequestHandler] = set()
        self._since_s: dict[RequestHandler, float] = {}  # in the order in which they came
        self.ended = 0

    @property
    def count(self) -> int:
        """As of the last look."""
        return len(self._since_s)

    def begin(self, connection: RequestHandler) -> None:
        """A request was read as far as its head."""
        self._busy.add(connection)
        self._has_asked.add(connection)

    def end(self, connection: RequestHandler) -> None:
        """It was answered."""
        self._busy.discard(connection)

    async def watch(self, server: web.Server) -> None:
        """Until cancelled. So many files may be open from now on, as far as the system allows it to be asked for."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self._most + self._newcomers + OTHER_FILES
        if resource.RLIM_INFINITY not in (soft, hard) and soft < wanted:
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
        while True:
            self.look(server.connections, asyncio.get_running_loop().time())
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self, known: list[RequestHandler], now_s: float) -> None:
        """Ends what never asked in time, and where there are too many, idle ones: first those that never asked."""
        # The server knows a connection until its handler ends, and one may wait in line long after its caller has gone.
        alive = [connection for connection in known if not _is_gone(connection)]
        self._since_s = {connection: self._since_s.get(connection, now_s) for connection in alive}
        self._has_asked.intersection_update(self._since_s)
        late = [
            one for one, since_s in self._since_s.items() if now_s - since_s > HEAD_S and one not in self._has_asked
        ]
        for connection in late:
            self._end(connection)
        for connection in self._dispensable()[: max(0, len(self._since_s) - self._most)]:
            self._end(connection)

    def _dispensable(self) -> list[RequestHandler]:
        """Which may be ended where there are too many, and in which order: who came first goes first."""
        silent = [connection for connection in self._since_s if connection not in self._has_asked]
        between = [one for one in self._since_s if one in self._has_asked and one not in self._busy]
        return silent[: -self._newcomers] + between

    def _end(self, connection: RequestHandler) -> None:
        del self._since_s[connection]
        if connection.transport is not None:
            self.ended += 1
            connection.transport.abort()


def _is_gone(connection: RequestHandler) -> bool:
    return connection.transport is None or connection.transport.is_closing()


CONNECTIONS: Final = web.AppKey("connections", Connections)
