"""Which files the changes of a local node name (node/local/file_ports.py FileRegister; protocol §13).

A row follows its content line: it is written with the change, whichever way the change came, moves with it after an
adoption, and goes when the line is erased.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from node.store.local_base import LocalBase, in_bunches, unpack_state
from node.store.local_records import FileToSend, WrittenChange
from sync_protocol.attachment import is_attached, named_file
from sync_protocol.backoff import DAY_MS, Schedule
from sync_protocol.change_types import Attached
from sync_protocol.errors import Refused
from sync_protocol.line import parse_change
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import Digest

INSERT_ATTACHMENT: Final = (
    "INSERT INTO attachment (leaf, change_no, file, size, failures, next_attempt_at_ms)"
    " SELECT ?1, change.no, ?4, ?5, 0, 0 FROM change JOIN complaint ON complaint.no = change.complaint_no"
    " WHERE complaint.key = ?2 AND change.line = ?3 ON CONFLICT (leaf) DO UPDATE SET change_no = excluded.change_no"
)
FORGET_ATTACHMENTS: Final = "DELETE FROM attachment WHERE change_no > ?"
UNNAME_FILE: Final = (
    "INSERT INTO unnamed_file (file) SELECT file FROM attachment WHERE leaf = ? ON CONFLICT (file) DO NOTHING"
)
UNNAME_FOREIGN: Final = "INSERT INTO unnamed_file (file) VALUES (?) ON CONFLICT (file) DO NOTHING"
FORGET_ATTACHMENT: Final = "DELETE FROM attachment WHERE leaf = ?"

FURTHEST_MS: Final = 60 * DAY_MS  # no attempt is planned for later: the clock was set back

# Sets are receipted in order: what is not after the newest receipted one is in one of them.
_TO_SEND: Final = """
SELECT a.leaf, a.file, a.size, a.sent_at_ms, complaint.packed,
    (SELECT seq FROM change_set WHERE first_no <= a.change_no AND last_no >= a.change_no AND status = 1
        ORDER BY first_no DESC LIMIT 1),
    a.failures, a.failing_since_ms, a.attempted_at_ms, a.next_attempt_at_ms
FROM attachment a JOIN change ON change.no = a.change_no JOIN complaint ON complaint.no = change.complaint_no
WHERE (a.next_attempt_at_ms <= ?1 OR a.next_attempt_at_ms > ?1 + ?2) AND a.change_no <= coalesce(
    (SELECT last_no FROM change_set WHERE status = 1 ORDER BY seq DESC LIMIT 1), 0)
ORDER BY a.next_attempt_at_ms, a.change_no LIMIT ?3
"""
_SCHEDULE: Final = "failures = ?, failing_since_ms = ?, attempted_at_ms = ?, next_attempt_at_ms = ?"
_ATTEMPT: Final = f"UPDATE attachment SET {_SCHEDULE} WHERE leaf = ?"  # noqa: S608 - constants
_NOT_SENT: Final = f"UPDATE attachment SET {_SCHEDULE}, trouble = ? WHERE leaf = ?"  # noqa: S608
_SENT: Final = (
    "UPDATE attachment SET failures = 0, failing_since_ms = NULL, trouble = NULL, sent_at_ms = ?,"
    " next_attempt_at_ms = ? WHERE leaf = ?"
)
_WAITING: Final = "SELECT count(*), max(trouble) FROM attachment WHERE sent_at_ms IS NULL"
_UNNAMED: Final = "SELECT file FROM unnamed_file ORDER BY file LIMIT ?"
_FORGET_UNNAMED: Final = "DELETE FROM unnamed_file WHERE file = ?"


def attachment_rows(change: WrittenChange) -> Iterator[tuple[Any, ...]]:
    """What INSERT_ATTACHMENT takes, for a change that names a file; nothing for any other."""
    if change.key is None or change.content is None or not is_attached(change.line):
        return
    file = named_file(change.content)
    try:
        data = parse_change(change.line).data
    except Refused:
        return  # adopted from the log, where the fold called it malformed
    if file is not None and isinstance(data, Attached):
        yield leaf_hash(change.content), change.key, change.line, bytes(file), data.bytes


class LocalFiles(LocalBase):
    """See FileRegister."""

    async def files_to_send(self, now_ms: int, limit: int) -> list[FileToSend]:
        return [
            _file_to_send(row) for row in await self.fetch(_TO_SEND, now_ms, FURTHEST_MS, limit) if row[5] is not None
        ]

    async def record_file_attempt(self, leaf: bytes, schedule: Schedule) -> None:
        await self._write(_ATTEMPT, *_values(schedule), leaf)

    async def file_sent(self, leaf: bytes, at_ms: int, ask_again_at_ms: int) -> None:
        await self._write(_SENT, at_ms, ask_again_at_ms, leaf)

    async def file_not_sent(self, leaf: bytes, schedule: Schedule, trouble: str) -> None:
        await self._write(_NOT_SENT, *_values(schedule), trouble, leaf)

    async def files_waiting(self) -> tuple[int, str | None]:
        ((count, trouble),) = await self.fetch(_WAITING)
        return count, trouble

    async def files_to_erase(self, limit: int) -> list[bytes]:
        return [file for (file,) in await self.fetch(_UNNAMED, limit)]

    async def forget_erased(self, file: bytes) -> None:
        await self._write(_FORGET_UNNAMED, file)

    async def named_among(self, files: Collection[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        for bunch in in_bunches(files):
            marks = ", ".join("?" * len(bunch))
            query = f"SELECT DISTINCT file FROM attachment WHERE file IN ({marks})"  # noqa: S608 - question marks
            found.update(file for (file,) in await self.fetch(query, *bunch))
        return found

    async def _write(self, statement: str, *values: Any) -> None:
        async with self.turn:
            await self.plain.write(lambda connection: connection.execute(statement, values), small=True)


def _values(schedule: Schedule) -> tuple[int | None, ...]:
    return schedule.failures, schedule.since_ms, schedule.attempted_at_ms, schedule.next_attempt_at_ms


def _file_to_send(row: Any) -> FileToSend:
    leaf, file, size, sent_at_ms, packed, seq = row[:6]
    visibility = unpack_state(packed).visibility
    return FileToSend(leaf, Digest(file), size, seq, sent_at_ms is not None, visibility, Schedule(*row[6:]))
