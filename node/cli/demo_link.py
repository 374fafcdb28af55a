"""A link that can be cut and healed: a TCP relay on loopback between a node and the hub, for the demonstration."""

from __future__ import annotations

import asyncio
from typing import Final

_PIECE_BYTES: Final = 65_536


class CuttableLink:
    """Relays every connection to `(host, port)`. While it is cut, open connections are torn down and new ones reset."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._whole = True
        self.refused = 0

    async def open(self) -> str:
        """Starts listening; returns the address to give to the node."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        """Ends every connection and stops listening."""
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @property
    def whole(self) -> bool:
        """Whether anything gets through."""
        return self._whole

    def cut(self) -> None:
        """In the middle of whatever is being said; neither side gets a good-bye."""
        self._whole = False
        for writer in tuple(self._writers):
            writer.transport.abort()

    def heal(self) -> None:
        """The next connection gets through."""
        self._whole = True

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            self.refused += 1
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(_PIECE_BYTES):
            sink.write(piece)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
    except OSError:
        sink.transport.abort()
