"""Files from the hub, on demand: piece by piece, going on after a cut, verified when whole (protocol §13.6)."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Final

import structlog

from node.files.incoming import WRONG_OFFSET, Incoming
from node.files.pieces import Span, read_pieces
from node.files.store import FileStore
from node.local.file_ports import FileLink
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.values import Digest

PIECE_BYTES: Final = 512 * 1024  # on the slowest line two minutes; what a cut loses at most

_logger = structlog.get_logger("simpul.files")


class FileFetching:
    """Belongs to one event loop. Who wants a file that is on its way waits for the same one."""

    def __init__(self, link: FileLink, store: FileStore) -> None:
        self._link = link
        self._store = store
        self._incoming = Incoming(store)
        self._under_way: dict[Digest, asyncio.Task[None]] = {}

    async def fetch(self, file: Digest, size: int) -> None:
        """The file is in the store when this returns. Raises Unavailable, Refused; what came stays for the next try."""
        task = self._under_way.get(file)
        if task is None:
            task = self._under_way[file] = asyncio.create_task(self._fetch(file, size), name="fetching")
            task.add_done_callback(lambda _: self._under_way.pop(file, None))
        await asyncio.shield(task)

    async def _fetch(self, file: Digest, size: int) -> None:
        if size > self._store.limits.file_max:
            raise Refused("too-large", f"the file has {size} bytes, this node takes {self._store.limits.file_max}")
        name = sha256(b"fetched " + file).hexdigest()[:32]
        here = await asyncio.to_thread(self._incoming.offset, name)
        if not here:
            await asyncio.to_thread(self._store.check_room, size)
        while here < size:
            data = await self._piece(file, here, min(here + PIECE_BYTES, size))
            try:
                here = await asyncio.to_thread(self._incoming.append, name, here, data, size)
            except Refused as refused:
                if refused.kind != WRONG_OFFSET:
                    raise
                here = int(str(refused.members["offset"]))  # another process fetches it as well
        if not await asyncio.to_thread(self._keep, name, file):
            raise Unavailable("the hub's bytes are not the file that the change names", retry_after_s=3_600)
        _logger.info("file fetched", file=file.b64u[:12], bytes=size)

    async def _piece(self, file: Digest, start: int, end: int) -> bytes:
        """What is between this node and the hub (a clock, a key) is no refusal of whoever wants the file here."""
        try:
            return await self._link.fetch_file(file, start, end)
        except Refused as refused:
            if refused.kind == "not-found":
                raise
            raise Unavailable(f"the hub does not hand it out: {refused.detail}", retry_after_s=60) from None

    def _keep(self, name: str, file: Digest) -> bool:
        """Runs in a thread. Another process may have kept it, and dropped what came."""
        try:
            with self._incoming.opened(name) as data:
                is_it = self._store.add(read_pieces(data, [Span(0, len(data))]), file) is not None
        except FileNotFoundError:
            return self._store.size_of(file) is not None
        self._incoming.drop(name)
        return is_it

    async def close(self) -> None:
        """Gives up what is under way; it goes on from there the next time."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
