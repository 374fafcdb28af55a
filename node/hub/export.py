"""`simpul hub export`: everything an auditor needs, as files (layout: node/audit/source.py).

The files are copies of what the hub holds: entries, tiles, sets as they came. Content lines are folded into hidden ones
unless they were asked for; that is recorded first. `hub.json` is written last, so that a broken export is seen as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from node.hub.ports import HubStore
from node.ports import Progress, no_progress
from node.store.hub_records import StoredSet
from sync_protocol.change_set import ChangeSet, hide_contents, parse_change_set
from sync_protocol.compression import compress_part, decompress_part
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.limits import SET_MAX_BYTES
from sync_protocol.tiles import TILE_WIDTH, TileRef, entry_tiles_of, pack_entries, tiles_of

_TILES_AT_ONCE: Final = 256  # 2 MiB of hashes
SETS_AT_ONCE: Final = 256
BYTES_AT_ONCE: Final = 8 * 1024 * 1024  # compressed, and one set more
_SetWithParts = tuple[StoredSet, tuple[bytes, bytes]]


@dataclass(frozen=True)
class ExportResult:
    """How much was written: log size and number of sets."""

    size: int
    change_sets: int


async def export_log(
    store: HubStore,
    *,
    size: int,
    note: bytes,
    description: Mapping[str, Any],
    out: Path,
    with_content: bool,
    deadlines: object = None,
    progress: Progress = no_progress,
) -> ExportResult:
    """Write the log up to the published checkpoint (`size`, `note`) into `out`, a new or empty folder.

    `description` becomes hub.json, with `size` and `content` added, `deadlines`, if given, deadlines.json; `progress`
    counts leaves. Raises Refused(configuration) for a folder in use, Corrupt where something is not in the database.
    """
    await asyncio.to_thread(_claim_folder, out)
    await _write_hash_tiles(store, size, out)
    await _write_entries(store, size, out)
    sets = 0
    for head in await store.heads():
        async for page in sets_up_to(store, head.agency, size):
            await asyncio.to_thread(_write_sets, page, out, with_content)
            sets += len(page)
            progress(sets, size)
    progress(size, size)  # statements have no files of their own
    document = {**description, "size": size, "content": with_content}
    await asyncio.to_thread(_write, out / "checkpoint", note)
    if deadlines is not None:
        await asyncio.to_thread(_write, out / "deadlines.json", msgspec.json.encode(deadlines))
    await asyncio.to_thread(_write, out / "hub.json", msgspec.json.format(msgspec.json.encode(document)))
    return ExportResult(size, sets)


def _claim_folder(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused("configuration", f"{out} is not an empty folder", where=str(out))
    out.mkdir(parents=True, exist_ok=True)


async def _write_hash_tiles(store: HubStore, size: int, out: Path) -> None:
    """Cut each tile to what existed at `size`: the database may be ahead of the published checkpoint."""
    references = tiles_of(size)
    while wanted := list(islice(references, _TILES_AT_ONCE)):
        held = await store.tiles([_place(reference) for reference in wanted])
        for reference in wanted:
            tile = held.get(_place(reference), b"")[: reference.width * 32]
            if len(tile) != reference.width * 32:
                raise Corrupt(f"the hash tile {reference.path} is not whole in the database")
            await asyncio.to_thread(_write, out / reference.path, tile)


async def _write_entries(store: HubStore, size: int, out: Path) -> None:
    for reference in entry_tiles_of(size):
        start = reference.index * TILE_WIDTH
        entries = await store.entries(start, start + reference.width)
        if len(entries) != reference.width:
            raise Corrupt(f"log entries from {start} on are missing in the database")
        await asyncio.to_thread(_write, out / reference.path, pack_entries(entries))


async def sets_up_to(store: HubStore, agency: str, size: int) -> AsyncIterator[list[_SetWithParts]]:
    """An agency's sets in the log up to `size`, page by page. Raises Corrupt where the lines of one are missing."""
    seq = 0
    while True:
        found = await store.sets_from(agency, seq, SETS_AT_ONCE, BYTES_AT_ONCE)
        page: list[_SetWithParts] = []
        for stored, parts in found:
            if stored.index >= size:
                break
            if parts is None:
                raise Corrupt(f"the lines of {stored.agency} seq {stored.seq} are missing in the database")
            page.append((stored, parts))
        if page:
            yield page
        if not page or len(page) < len(found):
            return
        seq = page[-1][0].seq + 1


def _write_sets(page: Sequence[_SetWithParts], out: Path, with_content: bool) -> None:
    for stored, (head_frame, contents_frame) in page:
        if not with_content and contents_frame:
            contents_frame = hide_frame(head_frame, contents_frame)  # noqa: PLW2901
        _write(out / "sets" / stored.agency / f"{stored.seq:09d}.jsonl.zst", head_frame + contents_frame)


def hide_frame(head_frame: bytes, contents_frame: bytes) -> bytes:
    """The contents frame of a stored set with every content line hidden."""
    head = decompress_part(head_frame)
    change_set: ChangeSet = parse_change_set(head, decompress_part(contents_frame, SET_MAX_BYTES - len(head)))
    hidden = hide_contents(change_set)
    return compress_part(hidden) if hidden else b""


def _place(reference: TileRef) -> tuple[int, int]:
    assert reference.level is not None
    return reference.level, reference.index


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
