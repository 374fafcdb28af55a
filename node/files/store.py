"""Whole files, each under the SHA-256 of its bytes, outside of any database (protocol §13.4).

    DIR/ab/cd/abcd…        64 hex digits; 65,536 folders keep each of them short
    DIR/incoming/          what is not whole yet (incoming.py), and copies being written

A file appears under its name when all of it is on the disk, and never changes. Any number of processes may share a
directory. Everything here blocks: it is called in threads.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from keys.key_file import sync_directory
from node.files.disk import NoRoom, check_free, make_folder, open_new, room_watched
from node.files.limits import COPY_BYTES, FileLimits
from sync_protocol.errors import Corrupt
from sync_protocol.values import Digest

INCOMING: Final = "incoming"
COUNT_AGAIN_S: Final = 3_600.0  # other processes add and remove as well
CHECK_AGAIN_S: Final = 600.0  # a film that is looked at comes in dozens of parts
CHECKED_MAX: Final = 1_024  # files that are being looked at
_NEW: Final = ".new"
_DAMAGED: Final = ".damaged"
_NAME_DIGITS: Final = 64


class StoredFile(NamedTuple):
    """A file that is here: `digest` is the SHA-256 of its bytes."""

    digest: Digest
    bytes: int


class FileStore:
    """See the module."""

    def __init__(self, directory: Path, limits: FileLimits) -> None:
        self.directory = directory
        self.limits = limits
        self._count = threading.Lock()
        self._used = 0
        self._counted_at_s: float | None = None
        self._checking = threading.Lock()
        self._checked: dict[Digest, tuple[tuple[int, int, int, int], float]] = {}

    def path_of(self, digest: Digest) -> Path:
        """Where a file of that hash is, or would be."""
        name = digest.hex()
        return self.directory / name[:2] / name[2:4] / name

    def size_of(self, digest: Digest) -> int | None:
        """In bytes, None if it is not here."""
        try:
            return self.path_of(digest).stat().st_size
        except FileNotFoundError:
            return None

    def head(self, digest: Digest, count: int) -> bytes:
        """Its first bytes. Raises FileNotFoundError."""
        with self.path_of(digest).open("rb") as file:
            return file.read(count)

    def add(self, parts: Iterable[bytes], wanted: Digest | None = None) -> StoredFile | None:
        """Writes a file, hashed while it is written; durable when this returns. What is here already stays as it is.

        None, with nothing kept, if `wanted` is given and it is another. Raises NoRoom.
        """
        folder = self.directory / INCOMING
        make_folder(folder, self.directory)
        fresh = folder / f"{secrets.token_hex(16)}{_NEW}"
        try:
            with room_watched():
                stored = self._write(fresh, parts)
            if wanted is not None and stored.digest != wanted:
                return None
            self._put(fresh, stored)
        finally:
            fresh.unlink(missing_ok=True)
        return stored

    def _write(self, fresh: Path, parts: Iterable[bytes]) -> StoredFile:
        digest, size = sha256(), 0
        with os.fdopen(open_new(fresh), "wb") as file:
            for part in parts:
                check_free(self.directory, len(part), self.limits.free_min)
                file.write(part)
                digest.update(part)
                size += len(part)
            file.flush()
            os.fsync(file.fileno())
        return StoredFile(Digest(digest.digest()), size)

    def _put(self, fresh: Path, stored: StoredFile) -> None:
        """A crash before the last line leaves a file under its name that nobody was told of: it is swept, or used."""
        target = self.path_of(stored.digest)
        is_new = self.size_of(stored.digest) != stored.bytes
        make_folder(target.parent, self.directory)
        if is_new:
            fresh.replace(target)
        target.chmod(0o400)
        os.utime(target)
        sync_directory(target.parent)
        if is_new:
            self._note(stored.bytes)

    def check(self, digest: Digest) -> int | None:
        """Reads all of it and verifies it; its size, None if it is not here.

        Raises Corrupt for a damaged one, which is out of the way afterwards, so that it can be fetched again.
        """
        path = self.path_of(digest)
        try:
            with path.open("rb") as file:
                found, size = sha256(), 0
                while part := file.read(COPY_BYTES):
                    found.update(part)
                    size += len(part)
        except FileNotFoundError:
            return None
        if found.digest() == digest:
            return size
        with suppress(FileNotFoundError):
            path.rename(path.with_name(path.name + _DAMAGED))
        raise Corrupt(
            f"the file {digest.b64u[:12]}… is damaged",
            next_step="Check the disk. The file is set aside, and comes back from the hub or from whoever sent it.",
        )

    def check_lately(self, digest: Digest) -> int | None:
        """As `check`, but what this process verified a while ago, and nobody touched since, is not read again."""
        try:
            found = self.path_of(digest).stat()
        except FileNotFoundError:
            return None
        known = self._checked.get(digest)
        mark = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        if known is not None and known[0] == mark and time.monotonic() - known[1] < CHECK_AGAIN_S:
            return found.st_size
        size = self.check(digest)
        if size is not None:
            with self._checking:
                self._checked[digest] = mark, time.monotonic()
                while len(self._checked) > CHECKED_MAX:
                    del self._checked[next(iter(self._checked))]
        return size

    def is_older(self, digest: Digest, before_s: float) -> bool:
        """Whether it is here and came, or was touched last, before that time."""
        try:
            return self.path_of(digest).stat().st_mtime < before_s
        except FileNotFoundError:
            return False

    def remove(self, digest: Digest) -> bool:
        """For good, a damaged copy too; whether it was here."""
        path = self.path_of(digest)
        size = self.size_of(digest)
        for name in (path, path.with_name(path.name + _DAMAGED)):
            name.unlink(missing_ok=True)
        if size is None:
            return False
        sync_directory(path.parent)
        self._note(-size)
        return True

    def touch(self, digest: Digest) -> bool:
        """As if it had come now; False if it is not here. Whoever is about to name it keeps it from being swept."""
        try:
            os.utime(self.path_of(digest))
        except FileNotFoundError:
            return False
        return True

    def older_than(self, before_s: float) -> Iterator[Digest]:
        """Files that came, or were touched last, before that time (seconds since 1970)."""
        for entry in self._files():
            with suppress(FileNotFoundError):
                if entry.stat().st_mtime < before_s and len(entry.name) == _NAME_DIGITS:
                    yield Digest(bytes.fromhex(entry.name))

    def sweep_copies(self, before_s: float) -> int:
        """Removes copies that were being written when a process died; how many."""
        gone = 0
        folder = self.directory / INCOMING
        for path in folder.glob(f"*{_NEW}") if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before_s:
                    path.unlink()
                    gone += 1
        return gone

    def check_room(self, wanted: int) -> None:
        """Raises NoRoom if so many bytes more are more than is set aside, or than the disk has."""
        make_folder(self.directory, self.directory)
        if self.used_bytes() + wanted > self.limits.store_max:
            raise NoRoom("the room that is set aside for files is used up")
        check_free(self.directory, wanted, self.limits.free_min)

    def used_bytes(self) -> int:
        """Of all files that are here; counted anew now and then."""
        with self._count:
            now_s = time.monotonic()
            if self._counted_at_s is None or now_s - self._counted_at_s > COUNT_AGAIN_S:
                self._used, self._counted_at_s = sum(_size(entry) for entry in self._files()), now_s
            return self._used

    def totals(self) -> tuple[int, int]:
        """How many files are here, and their bytes, counted now."""
        sizes = [_size(entry) for entry in self._files()]
        return len(sizes), sum(sizes)

    def _note(self, more: int) -> None:
        with self._count:
            self._used += more

    def _files(self) -> Iterator[os.DirEntry[str]]:
        for outer in _folders(self.directory):
            for inner in _folders(outer):
                with suppress(FileNotFoundError), os.scandir(inner) as entries:
                    yield from [entry for entry in entries if entry.is_file(follow_symlinks=False)]


def _folders(folder: str | Path) -> list[str]:
    """Of two hex digits, in order."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if len(entry.name) == 2 and entry.is_dir())
    except FileNotFoundError:
        return []


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
