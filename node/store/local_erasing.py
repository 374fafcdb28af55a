"""Erasing what was said from a local node's database (node/local/ports.py LocalStore; protocol §3.4).

A content line stands in up to four places: beside its change, in the stored bytes of the sets that were cut over it
(also withdrawn ones), among changes set aside, and in what another agency's set shows. Recording an `erased` change
notes the leaf hashes in the same transaction, whichever way the change came: taken in here, adopted from the hub, or
rebased after an old backup; one of another agency's is noted when the inbox brings it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from typing import Any, Final

from node.store.local_base import LocalBase, fetch
from node.store.local_files import FORGET_ATTACHMENT, UNNAME_FILE, UNNAME_FOREIGN
from node.store.local_records import WrittenChange
from sync_protocol.attachment import named_file
from sync_protocol.change_set import HAS_CONTENT, hide_contents, parse_change_set
from sync_protocol.change_types import Erased
from sync_protocol.compression import compress_part, decompress_part
from sync_protocol.errors import Refused
from sync_protocol.excerpt import hide_in_excerpt
from sync_protocol.limits import SET_MAX_BYTES
from sync_protocol.line import ERASED_LINE, parse_change
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import b64u_decode

_OFFERED_LINE: Final = b'"type":"offered"}'
_HAS_NONE: Final = b',"content":0,"data":'
_PENDING: Final = "SELECT complaint_no, leaf FROM erasure ORDER BY complaint_no"
_SAID: Final = "SELECT no, content FROM change WHERE complaint_no = ? AND content IS NOT NULL"
_SETS_OVER: Final = (
    "SELECT id, head, contents FROM change_set JOIN set_frames ON set_frames.set_id = change_set.id"
    " WHERE (first_no <= ? AND last_no >= ?) OR status = 2"
)
_IS_CUT: Final = "SELECT EXISTS (SELECT 1 FROM change_set WHERE first_no <= ? AND last_no >= ? AND status <> 2)"
_REWRITE: Final = "UPDATE set_frames SET contents = ? WHERE set_id = ?"
_FORGET: Final = "UPDATE change SET content = NULL WHERE no = ?"
_FOREIGN: Final = "SELECT idx, lines FROM foreign_set WHERE complaint_no = ?"
_REWRITE_FOREIGN: Final = "UPDATE foreign_set SET lines = ? WHERE complaint_no = ? AND idx = ?"
_ASIDE: Final = "SELECT id, content FROM set_aside WHERE content IS NOT NULL"
_FORGET_ASIDE: Final = "UPDATE set_aside SET content = NULL WHERE id = ?"
_DONE: Final = "DELETE FROM erasure WHERE leaf = ?"


def erasure_rows(change: WrittenChange) -> Iterator[tuple[bytes, bytes]]:
    """(leaf hash, complaint key) of everything that an `erased` change names; nothing for any other."""
    if change.key is None or not change.line.endswith(ERASED_LINE):
        return
    try:
        data = parse_change(change.line).data
    except Refused:
        return  # adopted from the log, where the fold called it malformed
    if isinstance(data, Erased):
        yield from ((b64u_decode(leaf, 32, "leaves"), change.key) for leaf in data.leaves)


def unannounced(line: bytes) -> bytes:
    """The change line of an unsent change whose words were erased when it stood in a set that never went out.

    It announces none any more: they would be missing where it is signed anew, and every other line of that set would
    seem to belong to the wrong change. An offer stays as it is: its hash is what others answer to.
    """
    return line if line.endswith(_OFFERED_LINE) else line.replace(HAS_CONTENT, _HAS_NONE, 1)


class LocalErasing(LocalBase):
    """The part of a local node's store that forgets."""

    async def carry_out_erasures(self) -> int:
        if not await self.fetch("SELECT 1 FROM erasure LIMIT 1"):
            return 0
        gone = 0
        async with self.writing() as connection:
            wanted: dict[int, set[bytes]] = {}
            for complaint_no, leaf in await fetch(connection, _PENDING):
                wanted.setdefault(complaint_no, set()).add(leaf)
            for complaint_no, leaves in wanted.items():
                gone += await _erase(connection, complaint_no, leaves)
            await _erase_aside(connection, {leaf for leaves in wanted.values() for leaf in leaves})
        return gone


async def _erase(connection: Any, complaint_no: int, leaves: set[bytes]) -> int:
    """What is in a set goes now; what is not cut yet stays noted. How many lines went."""
    said = {leaf_hash(content): no for no, content in await fetch(connection, _SAID, (complaint_no,))}
    gone = 0
    for leaf in leaves:
        no = said.get(leaf)
        if no is not None:
            if not (await fetch(connection, _IS_CUT, (no, no)))[0][0]:
                continue
            await _erase_from_sets(connection, no, leaf)
            await fetch(connection, _FORGET, (no,))
            await fetch(connection, UNNAME_FILE, (leaf,))
            await fetch(connection, FORGET_ATTACHMENT, (leaf,))
            gone += 1
        await fetch(connection, _DONE, (leaf,))
    return gone + await _erase_foreign(connection, complaint_no, leaves)


async def _erase_foreign(connection: Any, complaint_no: int, leaves: set[bytes]) -> int:
    """Words that other agencies took down, in what their sets show here."""
    gone = 0
    for index, lines in await fetch(connection, _FOREIGN, (complaint_no,)):
        left = hide_in_excerpt(lines, leaves)
        if left != lines:
            for line in lines.split(b"\n"):
                file = named_file(line) if leaf_hash(line) in leaves else None
                if file is not None:
                    await fetch(connection, UNNAME_FOREIGN, (bytes(file),))
            await fetch(connection, _REWRITE_FOREIGN, (left, complaint_no, index))
            gone += 1
    return gone


async def _erase_from_sets(connection: Any, no: int, leaf: bytes) -> None:
    """Withdrawn sets are all looked through: their changes may have other numbers by now."""
    for set_id, head, contents in await fetch(connection, _SETS_OVER, (no, no)):
        frame = await asyncio.to_thread(_without, head, contents, leaf)
        await fetch(connection, _REWRITE, (frame, set_id))


def _without(head_frame: bytes, contents_frame: bytes, leaf: bytes) -> bytes:
    """Runs in a thread, within the transaction: nobody pushes the old bytes meanwhile."""
    head = decompress_part(head_frame)
    change_set = parse_change_set(head, decompress_part(contents_frame, SET_MAX_BYTES - len(head)))
    left = hide_contents(change_set, {leaf})
    return compress_part(left) if left else b""


async def _erase_aside(connection: Any, leaves: Collection[bytes]) -> None:
    for number, content in await fetch(connection, _ASIDE):
        if leaf_hash(content) in leaves:
            await fetch(connection, _FORGET_ASIDE, (number,))
