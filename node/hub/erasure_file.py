"""What was erased, kept apart from the database: an old backup of it brings the words back (protocol §3.4).

One JSON line for each time that lines were taken out of a set: the set's place in the log, the positions of the
changes whose words they were, and the leaf hashes, which say nothing without the salt that went with the words. Added
before the words go, so that no erasure is known to the database alone. A line that a power cut tore is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from node.hub.line_file import append_lines
from node.hub.lock_file import read_file
from node.store.hub_records import KeptErasure
from sync_protocol.errors import Refused
from sync_protocol.values import b64u_decode, b64u_encode


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    index: int
    at: list[int]
    leaves: list[str]


_decoder: Final = msgspec.json.Decoder(_Line)


class ErasureFile:
    """The file at `path`. Who projects writes; anybody reads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[KeptErasure]:
        """All that are whole. Raises OSError."""
        found = []
        for line in (read_file(str(self._path)) or b"").split(b"\n"):
            try:
                read = _decoder.decode(line)
                leaves = frozenset(b64u_decode(leaf, 32, "leaves") for leaf in read.leaves)
            except (msgspec.DecodeError, Refused):
                continue
            found.append(KeptErasure(read.index, tuple(read.at), leaves))
        return found

    def add(self, erasures: Sequence[KeptErasure]) -> None:
        """On the disk when this returns. Raises OSError."""
        lines = [_Line(one.index, list(one.positions), sorted(map(b64u_encode, one.leaves))) for one in erasures]
        append_lines(self._path, [msgspec.json.encode(line) for line in lines])
