"""A file that holds one note and takes a new one in a single flush (protocol §6.3).

Two slots of one size, written in turn: each with its number, the note, and at its end a SHA-256 over all of it. The
newest that is whole counts. A write that a power cut or a full disk tears leaves the other slot as it was; and as
nothing but the file's own blocks changes, the disk flushes once, where replacing a file by rename makes it flush its
journal twice.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from sync_protocol.errors import Corrupt

SLOT_BYTES: Final = 4_096  # a page; a checkpoint with one signature has some 250 bytes
_MAGIC: Final = b"simpul-lock 1 "
_DIGEST_BYTES: Final = 64  # in hex


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file holds; `place` is the slot that it stands in, None for a file that is nothing but the note."""

    note: bytes
    number: int
    place: int | None


class LockFile:
    """The file at `path`. Parts of it that are as they were when they were last looked at are not checked again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        self._known: list[tuple[bytes, Kept | None]] = [(b"", None), (b"", None)]

    def read(self) -> Kept | None:
        """The newest whole note, None if there is no file. Raises Corrupt, OSError."""
        data = read_file(self._name)
        if data is None:
            return None
        slots = [data[:SLOT_BYTES], data[SLOT_BYTES:]]
        if not any(slot.startswith(_MAGIC) for slot in slots):
            return Kept(data, 0, None)
        whole = [kept for place, slot in enumerate(slots) if (kept := self._whole(slot, place)) is not None]
        if not whole:
            raise Corrupt(
                f"the lock file {self._name} is damaged",
                next_step="Do not start the hub, and do not remove the file (docs/operations.md, 'A restored hub').",
            )
        return max(whole, key=lambda kept: kept.number)

    def write(self, before: Kept | None, note: bytes) -> None:
        """`note` on the disk, in the place of what is `before`.

        Raises OSError; then what was there may still be there.
        """
        number = before.number + 1 if before else 1
        slot = _format_slot(number, note)
        if len(slot) > SLOT_BYTES:
            replace_file(self._path, note)
        elif before is None or before.place is None:
            replace_file(self._path, slot + bytes(SLOT_BYTES))
        else:
            _overwrite(self._name, slot, (1 - before.place) * SLOT_BYTES)

    def _whole(self, slot: bytes, place: int) -> Kept | None:
        known, kept = self._known[place]
        if known != slot:
            kept = _parse_slot(slot, place)
            self._known[place] = (slot, kept)
        return kept


def read_file(name: str) -> bytes | None:
    """All of it, None if there is none. Raises OSError."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        parts = []
        while part := os.read(descriptor, 4 * SLOT_BYTES):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _format_slot(number: int, note: bytes) -> bytes:
    text = (_MAGIC + b"%d %d\n%s\n" % (number, len(note), note)).ljust(SLOT_BYTES - _DIGEST_BYTES, b"\n")
    return text + sha256(text).hexdigest().encode()


def _parse_slot(slot: bytes, place: int) -> Kept | None:
    """None if it was torn, or never written."""
    head, _, rest = slot.partition(b"\n")
    words = head.removeprefix(_MAGIC).split(b" ")
    if len(words) != 2 or not (words[0].isdigit() and words[1].isdigit()):
        return None
    number, length = int(words[0]), int(words[1])
    kept = Kept(rest[:length], number, place)
    return kept if _format_slot(number, kept.note) == slot else None


def _overwrite(name: str, slot: bytes, offset: int) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if os.pwrite(descriptor, slot, offset) != len(slot):
            raise OSError(errno.EIO, "the disk took only a part of it", name)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes | None) -> None:
    """All of `content` (None: no file) on the disk in the place of what was there.

    Raises OSError, and the old content stands.
    """
    if content is None:
        path.unlink(missing_ok=True)
    else:
        # A crash before the rename leaves the old content whole; after it, and before the folder is on the disk, one
        # of the two. Both are right: the database holds the newer checkpoint already (see log.py).
        _write_whole(path.with_suffix(".new"), content).rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_whole(path: Path, content: bytes) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:  # buffered: a write that a full disk cuts short goes on, or raises
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    return path
