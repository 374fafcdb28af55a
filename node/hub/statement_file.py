"""The log's own statements, kept apart from the database: what no node holds (protocol §10.6).

Rules and ticks are the hub's alone. When the database is lost they come back from here: one JSON line each, `index` and
`statement`, added when a commit that has some was stored and before the lock store confirms it. A line that a power cut
tore is passed over; of two lines for one index the later counts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from node.hub.line_file import append_lines
from node.hub.lock_file import read_file
from sync_protocol.limits import FORK_JWS_MAX_BYTES

LINE_MAX_BYTES: Final = FORK_JWS_MAX_BYTES + 64  # the longest statement, its index, and the names of both


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    index: int
    statement: str


_decoder: Final = msgspec.json.Decoder(_Line)


class StatementFile:
    """The file at `path`; whoever writes holds the append lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[int, bytes]:
        """By log index. Raises OSError."""
        data = read_file(str(self._path)) or b""
        return {line.index: line.statement.encode("utf-8") for line in _lines(data)}

    def kept_to(self) -> int:
        """The index of the newest, -1 if there is none. Raises OSError."""
        try:
            with self._path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 2 * LINE_MAX_BYTES))  # a torn line may follow the last whole one
                tail = file.read()
        except FileNotFoundError:
            return -1
        return max((line.index for line in _lines(tail)), default=-1)

    def add(self, statements: Sequence[tuple[int, bytes]]) -> None:
        """On the disk when this returns. Raises OSError; then some of the lines may be there."""
        append_lines(
            self._path, [msgspec.json.encode(_Line(index, entry.decode("ascii"))) for index, entry in statements]
        )


def _lines(data: bytes) -> list[_Line]:
    found = []
    for line in data.split(b"\n"):
        try:
            found.append(_decoder.decode(line))
        except msgspec.DecodeError:
            continue  # torn, or the half of a line at the beginning of a tail
    return found
