"""Where the desk's node keeps its escalations: a folder beside the database, with a list and the evidence bundles.

Nothing in it is the truth about anything: the hub's log is, and what is lost here is fetched and verified again, but
for the moments at which it was noticed. So it is in no backup. It holds no words of citizens: a bundle shows what was
done.

Writers hold `lock` (`alone`), each file appears whole, and a reader sees the list before or after, never in between.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from node.files.disk import make_folder, room_watched, write_whole
from node.local.escalation_types import Escalation, EscalationList, EscalationPage
from node.local.http_problems import NOT_DESK
from sync_protocol.errors import Corrupt, Refused, malformed
from sync_protocol.values import ComplaintId, parse_timestamp

FOLDER_NAME: Final = "escalations"
FOLDER_MAX_BYTES: Final = 256 * 1024 * 1024  # of bundles: two thousand of 128 KiB; most have six
_LIST: Final = "list.json"
_LOCK: Final = "lock"
_OURS: Final = (_LIST, _LOCK)
_AFTER_CHARACTERS_MAX: Final = 256  # of an `after`: a timestamp and a complaint id have 126 bytes at most


class EscalationBook:
    """The folder of one node. `is_desk` is asked before anything is shown."""

    def __init__(self, folder: Path, is_desk: Callable[[], bool], *, bytes_max: int = FOLDER_MAX_BYTES) -> None:
        self.folder = folder
        self._is_desk = is_desk
        self._bytes_max = bytes_max
        self._used: dict[str, int] | None = None  # bytes by bundle
        self._read: tuple[tuple[int, int, int], EscalationList] | None = None

    async def page(self, after: str | None, limit: int) -> EscalationPage:
        """A page behind `after`. Raises Refused (not-desk; malformed for an `after` that no page gave), Corrupt."""
        self.check_desk()
        place = None if after is None else _parse_after(after)
        held = await asyncio.to_thread(self.load)
        ordered = sorted(held.escalations, key=_place)
        behind = [one for one in ordered if place is None or _place(one) > place]
        shown = behind[:limit]
        return EscalationPage(
            as_of=held.as_of,
            looked_at=held.looked_at,
            failed_at=held.failed_at,
            trouble=held.trouble,
            more=held.more,
            count=len(ordered),
            items=shown,
            next=_format_after(shown[-1]) if len(behind) > limit else None,
        )

    def check_desk(self) -> None:
        """Raises Refused(not-desk) with the next step."""
        if not self._is_desk():
            raise Refused(
                NOT_DESK,
                "escalations come to the national desk, and this node's agency is not the desk of the rules in force",
                members={
                    "next": "What is overdue here: `simpul node due DIR`, or GET /v1/complaints?due=overdue. If the"
                    " desk has changed lately, run `simpul node escalations DIR` once: it reads the rules again."
                },
            )

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other process looks now; if so, none does before the block ends. Raises OSError."""
        make_folder(self.folder, self.folder)
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def load(self) -> EscalationList:
        """Waits for the disk. Raises Corrupt for a list that cannot be read."""
        path = self.folder / _LIST
        try:
            found = path.stat()
            mark = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._read is None or self._read[0] != mark:
                self._read = (mark, msgspec.json.decode(path.read_bytes(), type=EscalationList))
        except FileNotFoundError:
            return EscalationList()
        except msgspec.MsgspecError as error:
            step = (
                f"Nothing of value is lost: the next look at the hub writes it anew (`simpul node escalations`). {path}"
            )
            raise Corrupt(f"the list of escalations cannot be read: {error}", next_step=step) from None
        return self._read[1]

    def save(self, held: EscalationList) -> None:
        """On the disk when it returns. Raises NoRoom, OSError."""
        self._write(_LIST, msgspec.json.encode(held))

    def keep(self, name: str, data: bytes) -> str | None:
        """Keeps a bundle; its name, or None where the folder has no room for more. Raises NoRoom, OSError."""
        if self._used is None:
            self._used = {path.name: path.stat().st_size for path in self.folder.iterdir() if path.name not in _OURS}
        others = sum(self._used.values()) - self._used.get(name, 0)
        if others + len(data) > self._bytes_max:
            return None
        self._write(name, data)
        self._used[name] = len(data)
        return name

    def has(self, name: str) -> bool:
        """Whether a bundle is there."""
        return (self.folder / name).is_file()

    def tidy(self, named: Collection[str]) -> None:
        """Removes everything but these bundles, and what a crash left half written. Raises OSError."""
        self._used = None  # another process may have been at work here since
        for path in self.folder.iterdir():
            if path.name not in _OURS and path.name not in named:
                path.unlink()

    def _write(self, name: str, data: bytes) -> None:
        with room_watched():
            write_whole(self.folder / name, data)


def bundle_name(complaint: str, *, holds: bool = True) -> str:
    """The name of a complaint's bundle: one that a complaint id of another form never makes."""
    return complaint.replace(":", "_") + (".json" if holds else ".not-verified.json")


def _place(one: Escalation) -> tuple[str, str]:
    return one.due_at, one.complaint


def _format_after(one: Escalation) -> str:
    return _after_of(one.due_at, one.complaint)


def _after_of(due_at: str, complaint: str) -> str:
    return urlsafe_b64encode(f"{due_at} {complaint}".encode("ascii")).decode("ascii").rstrip("=")


def _parse_after(text: str) -> tuple[str, str]:
    """Exactly what `_format_after` writes. Raises Refused(malformed)."""
    place = _read_after(text) if len(text) <= _AFTER_CHARACTERS_MAX else None
    if place is None or _after_of(*place) != text:
        raise malformed("not a `next` that this node gave", "after")
    return place


def _read_after(text: str) -> tuple[str, str] | None:
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        due_at, _, complaint = raw.decode("ascii").partition(" ")
        parse_timestamp(due_at)
        return due_at, ComplaintId.parse(complaint)
    except (ValueError, Refused):
        return None
