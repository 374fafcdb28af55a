"""Files that are not whole yet: bytes that grow from the front, each upload under a name of ours.

How far one came is the size of its file, so a process may die at any moment and the next one knows. Bytes are taken at
exactly that offset, one writer at a time, also of several processes: whoever comes second is told the offset. They are
not forced to the disk one by one: what a power cut takes is sent again, and the hash of the whole decides in the end.
Everything here blocks: it is called in threads.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from node.files.disk import check_free, make_folder, room_watched
from node.files.store import INCOMING, FileStore
from sync_protocol.errors import Refused

WRONG_OFFSET: Final = "wrong-offset"
_NAME: Final = re.compile("[0-9a-f]{32}")
_PART: Final = ".part"


class Incoming:
    """Beside the whole files of a store, on the same disk."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self.folder = store.directory / INCOMING

    def path(self, name: str, suffix: str = _PART) -> Path:
        """Of an upload; `name` is 32 hex digits that this program made."""
        assert _NAME.fullmatch(name)
        return self.folder / (name + suffix)

    def offset(self, name: str) -> int:
        """How many bytes are here."""
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, name: str, offset: int, data: bytes, length: int) -> int:
        """Adds bytes and says how many are here then. `length` is that of the whole.

        Raises Refused(wrong-offset) with the right one, (too-large) beyond the whole, NoRoom (then some may be here).
        """
        make_folder(self.folder, self._store.directory)
        check_free(self.folder, len(data), self._store.limits.free_min)
        descriptor = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            here = os.fstat(descriptor).st_size
            if here != offset:
                raise wrong_offset(here)
            if offset + len(data) > length:
                raise Refused("too-large", "more bytes than were announced", where="file", members={"limit": length})
            with room_watched():
                written = 0
                while written < len(data):
                    written += os.pwrite(descriptor, data[written:], offset + written)
            return offset + len(data)
        finally:
            os.close(descriptor)

    def head(self, name: str, count: int) -> bytes:
        """The first bytes of what is here."""
        with self.path(name).open("rb") as file:
            return file.read(count)

    @contextmanager
    def opened(self, name: str) -> Iterator[mmap.mmap]:
        """What is here, at least one byte, to be read."""
        with self.path(name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data

    def drop(self, name: str) -> None:
        """Gives an upload up."""
        self.path(name).unlink(missing_ok=True)

    def sweep(self, before_s: float) -> int:
        """Removes what has not grown since that time (seconds since 1970); how many."""
        gone = 0
        for path in self.folder.glob(f"*{_PART}") if self.folder.is_dir() else ():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before_s:
                    path.unlink()
                    gone += 1
        return gone


def wrong_offset(here: int) -> Refused:
    """Bytes for another place than the end of what is here."""
    return Refused(WRONG_OFFSET, f"{here} bytes are here", where="offset", members={"offset": here})
