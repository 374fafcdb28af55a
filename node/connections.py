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


class Connections:
    """Those of one server, at most `most` beside those that are in the middle of a request. For one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._busy: set[RequestHandler] = set()
        self._has_asked: set[RequestHandler] = set()
        self._since_s: dict[RequestHandler, float] = {}
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
        wanted = self._most + OTHER_FILES
        if resource.RLIM_INFINITY not in (soft, hard) and soft < wanted:
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
        while True:
            self.look(server.connections, asyncio.get_running_loop().time())
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self, open_now: list[RequestHandler], now_s: float) -> None:
        """Ends what never asked in time, and those that were silent first where there are too many."""
        self._since_s = {connection: self._since_s.get(connection, now_s) for connection in open_now}
        self._has_asked.intersection_update(self._since_s)
        for connection, since_s in self._since_s.items():
            if connection not in self._has_asked and now_s - since_s > HEAD_S:
                self._end(connection)
        surplus = len(self._since_s) - self._most
        if surplus > 0:
            idle = [connection for connection in self._since_s if connection not in self._busy]
            for connection in sorted(idle, key=lambda one: (one in self._has_asked, self._since_s[one]))[:surplus]:
                self._end(connection)

    def _end(self, connection: RequestHandler) -> None:
        if connection.transport is not None:
            self.ended += 1
            connection.transport.abort()


CONNECTIONS: Final = web.AppKey("connections", Connections)
