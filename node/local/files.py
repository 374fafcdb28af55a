"""A node's files: what clients upload, what changes name, what goes when its line goes (protocol §13).

`naming` is held by whoever records an `attached` change: it sees that the file is here, and keeps it from being swept
until the change is in the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from node.files.limits import UNNAMED_LIFETIME_MS
from node.files.media import HEAD_BYTES, plain_name, sniff
from node.files.store import FileStore
from node.files.uploads import Uploads
from node.local.evidence import check_words
from node.local.file_fetching import FileFetching
from node.local.file_ports import NodeStore
from node.local.shared import history_of
from node.logs import words_of
from node.ports import Clock, Randomness
from node.store.local_records import HeldComplaint
from sync_protocol.attachment import is_attached, named_file
from sync_protocol.change_types import Attached
from sync_protocol.errors import Refused, malformed
from sync_protocol.line import parse_change
from sync_protocol.values import Digest

FILE_MISSING: Final = "file-missing"
TIDY_EVERY_S: Final = 15.0  # how long a file may outlive the line that named it; nobody is shown it meanwhile
SWEEP_EVERY_S: Final = 24 * 3_600.0
AT_ONCE: Final = 500  # asked about in one query

_logger = structlog.get_logger("simpul.files")


class NodeFiles:
    """Belongs to one event loop; one process of a directory serves it."""

    def __init__(
        self,
        store: FileStore,
        register: NodeStore,
        clock: Clock,
        randomness: Randomness,
        fetching: FileFetching | None = None,
    ) -> None:
        self.store = store
        self.register = register
        self.uploads = Uploads(store, clock, randomness)
        self.fetching = fetching
        self._clock = clock
        self._turn = asyncio.Lock()  # between naming a file and removing it

    @asynccontextmanager
    async def naming(self, said: Mapping[str, Any], done: Mapping[str, Any]) -> AsyncIterator[None]:
        """While a change is recorded that names a file: content and data of an `attached`.

        Raises Refused: file-missing; file-type or malformed where type or size are not the file's.
        """
        async with self._turn:
            await asyncio.to_thread(self._check_named, said, done)
            yield

    def _check_named(self, said: Mapping[str, Any], done: Mapping[str, Any]) -> None:
        file = Digest.parse(str(said["file"]), "file")
        size = self.store.size_of(file)
        if size is None or not self.store.touch(file):
            raise Refused(FILE_MISSING, "this node has no file of that hash", where="file")
        if done["bytes"] != size:
            raise malformed(f"the file has {size} bytes", "bytes")
        found = sniff(self.store.head(file, HEAD_BYTES))
        if plain_name(str(done["media_type"])) != found or found != done["media_type"]:
            raise Refused("file-type", f"the file is {found}", where="media_type")

    async def of_complaint(self, complaint: HeldComplaint, file: Digest) -> None:
        """Sees that the file is here and whole, fetching it if it is not.

        Raises Refused(not-found) where no line of the complaint names it, or nobody has it; Unavailable where the hub
        cannot be asked, and in an old backup, whose files may be erased by now; Corrupt for one that is damaged (the
        next question fetches it).
        """
        await check_words(self.register)
        size = (await self.named_in(complaint)).get(file)
        if size is not None and await asyncio.to_thread(self.store.check_lately, file) is not None:
            return
        if size is None or self.fetching is None:
            raise Refused("not-found", "no such file belongs to this complaint, or it is erased", where="file")
        await self.fetching.fetch(file, size)

    async def named_in(self, complaint: HeldComplaint) -> dict[Digest, int]:
        """Hash and size of every file that a content line of this complaint names, ours and others', in order."""
        found: dict[Digest, int] = {}
        for one in await history_of(self.register, complaint):
            file = named_file(one.content) if one.content is not None and is_attached(one.line) else None
            data = None if file is None else parse_change(one.line).data
            if file is not None and isinstance(data, Attached):
                found[file] = data.bytes
        return found

    async def tidy(self) -> int:
        """Removes the files of lines that were erased; how many. A crash in between does it again."""
        gone = 0
        while erased := await self.register.files_to_erase(AT_ONCE):
            for name in erased:
                async with self._turn:
                    if not await self.register.named_among([name]):
                        gone += await asyncio.to_thread(self.store.remove, Digest(name))
                    await self.register.forget_erased(name)
        return gone

    async def sweep(self) -> int:
        """Gives up what nobody finished, and removes what nobody named for a week; how many."""
        before_s = (self._clock.now_ms() - UNNAMED_LIFETIME_MS) / 1000
        gone = await asyncio.to_thread(self.uploads.sweep)
        old = await asyncio.to_thread(lambda: list(self.store.older_than(before_s)))
        for start in range(0, len(old), AT_ONCE):
            async with self._turn:
                some = old[start : start + AT_ONCE]
                named = await self.register.named_among(some)
                for file in some:
                    if file not in named and await asyncio.to_thread(self.store.is_older, file, before_s):
                        gone += await asyncio.to_thread(self.store.remove, file)
        return gone

    async def run(self) -> None:
        """Tidies and sweeps until it is cancelled; no error ends it."""
        sweep_at_s = 0.0
        while True:
            try:
                await self.tidy()
                if self._clock.monotonic_s() >= sweep_at_s:
                    sweep_at_s = self._clock.monotonic_s() + SWEEP_EVERY_S
                    await self.sweep()
            except Exception as error:  # noqa: BLE001 - a full disk, a busy database: later
                _logger.warning("tidying files failed", error=words_of(error))
            await self._clock.sleep(TIDY_EVERY_S)
