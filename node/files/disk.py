"""What both halves of a file store do on a disk: private folders, whole files, room that is looked after.

No name comes from outside: callers name what is theirs by digits that the program made or computed.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keys.key_file import sync_directory
from sync_protocol.errors import Unavailable

RETRY_AFTER_S: Final = 600.0  # somebody has to make room first

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class NoRoom(Unavailable):
    """No room for a file: the disk is full, or what is set aside for files is used up. What was there stays."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, retry_after_s=RETRY_AFTER_S)


@contextmanager
def room_watched() -> Iterator[None]:
    """What a full disk says becomes NoRoom."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoRoom("the disk is full") from None
        raise


def check_free(directory: Path, wanted: int, free_min: int) -> None:
    """Raises NoRoom if after `wanted` bytes less than `free_min` were free."""
    found = os.statvfs(directory)
    if found.f_bavail * found.f_frsize - wanted < free_min:
        raise NoRoom("the disk is nearly full; the rest of it is kept for the database")


def make_folder(folder: Path, top: Path) -> None:
    """`folder` below `top` and all between them, 0700, on the disk."""
    if folder.is_dir():
        return
    if folder != top:
        make_folder(folder.parent, top)
    folder.mkdir(mode=0o700, exist_ok=True, parents=folder == top)
    sync_directory(folder.parent)


def open_new(path: Path) -> int:
    """A descriptor of a new file, 0600."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def write_whole(path: Path, data: bytes) -> None:
    """A small file, 0600: all of it on the disk when this returns, else what was there before. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        with os.fdopen(open_new(fresh), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_directory(path.parent)
