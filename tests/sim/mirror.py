"""A copy of the hub's published log, as a mirror of its tiles or an auditor keeps one (node/hub/gathering.py Copy)."""

from __future__ import annotations

from enum import Enum

from node.hub.export import hide_frame
from sync_protocol.checkpoint import claimed_size
from sync_protocol.tiles import TILE_WIDTH, TileRef, pack_entries
from tests.sim.true_log import TrueLog


class Shown(Enum):
    """What a copy holds beside the entries."""

    ENTRIES = "entries"
    CHANGES = "changes, contents hidden"
    EVERYTHING = "everything"


class Mirror:
    """See Copy. Up to the newest published checkpoint `note`."""

    def __init__(self, log: TrueLog, note: bytes, shown: Shown) -> None:
        self._log = log
        self._note = note
        self._size = claimed_size(note)
        self._shown = shown

    async def checkpoint(self) -> bytes:
        return self._note

    async def entry_bundle(self, reference: TileRef) -> bytes | None:
        start = reference.index * TILE_WIDTH
        return pack_entries(self._log.entries[start : min(start + reference.width, self._size)])

    async def change_set(self, agency: str, seq: int) -> bytes | None:
        index = self._log.places.get((agency, seq))
        if index is None or index >= self._size or self._shown is Shown.ENTRIES:
            return None
        frames = self._log.frames[index]
        assert frames is not None
        changes, contents = frames
        if self._shown is Shown.CHANGES and contents:
            contents = hide_frame(changes, contents)
        return changes + contents
