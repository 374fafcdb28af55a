"""C2SP tiles: the log as immutable files of 256 hashes or entries (protocol §6.2).

Tile (L, n) holds, at place i, the hash of the complete subtree over 256^L leaves whose number is 256·n + i. A partial
tile holds what exists so far, one to 255 hashes; its nodes never depend on anything outside it. Entry bundles hold
the log entries themselves, each after its length as u16, big-endian.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sync_protocol.errors import Corrupt, malformed, too_large
from sync_protocol.limits import LOG_ENTRY_MAX_BYTES
from sync_protocol.merkle import EMPTY_ROOT, HASH_BYTES, TREE_SIZE_MAX, fold_peaks, pair_up

TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8  # 2^8 = 256
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
TILE_LEVELS: Final = 8  # 256^8 is beyond TREE_SIZE_MAX: no tile stands higher
PATH_MAX: Final = 64  # the longest legal path has fewer characters

_PATH: Final = re.compile(r"tile/(entries|[0-7])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")

TileReader = Callable[[int, int], bytes]
"""(level, index) -> the widest content stored of that hash tile, 32 to 8,192 bytes."""


@dataclass(frozen=True, slots=True, order=True)
class TileRef:
    """A hash tile, or an entry bundle where `level` is None. `width` is 256 for a full one. Checks itself: Refused."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level < TILE_LEVELS:
            raise malformed(f"tile levels go from 0 to {TILE_LEVELS - 1}", "tile")
        if not 1 <= self.width <= TILE_WIDTH:
            raise malformed(f"a tile holds 1 to {TILE_WIDTH}", "tile")
        hashes = self.index * TILE_WIDTH + self.width
        if self.index < 0 or hashes << (TILE_HEIGHT * (self.level or 0)) > TREE_SIZE_MAX:
            raise malformed("no log is so long", "tile")

    @property
    def path(self) -> str:
        """As below `/`, for example `tile/0/x001/067.p/5`."""
        kind = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{kind}/{_format_index(self.index)}{partial}"


def _format_index(index: int) -> str:
    """Groups of three digits, all but the last after an x: 1234067 is x001/x234/067."""
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a hash tile. Raises Refused(malformed) for one that cannot exist."""
    return TileRef(level, index, width).path


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """The path of an entry bundle. Raises Refused(malformed) for one that cannot exist."""
    return TileRef(None, index, width).path


def parse_tile_path(path: str) -> TileRef:
    """The inverse of `TileRef.path`; one tile has one path. Raises Refused(malformed)."""
    match = _PATH.fullmatch(path) if len(path) <= PATH_MAX else None
    if match is None:
        raise malformed("not the path of a tile", "tile")
    kind, groups, width = match.groups()
    index = int(groups.replace("x", "").replace("/", ""))
    tile = TileRef(None if kind == "entries" else int(kind), index, int(width) if width else TILE_WIDTH)
    if tile.path != path:
        raise malformed("a tile has one path: no leading groups of zeros, no partial tile of full width", "tile")
    return tile


def tiles_of(size: int) -> Iterator[TileRef]:
    """All hash tiles of a log of this size, level by level, the partial one last; made as asked for: it may lie."""
    for level in range(TILE_LEVELS):
        yield from _row_of(level, size >> (TILE_HEIGHT * level))


def entry_tiles_of(size: int) -> Iterator[TileRef]:
    """All entry bundles of a log of this size, made as asked for."""
    return _row_of(None, size)


def _row_of(level: int | None, count: int) -> Iterator[TileRef]:
    full, rest = divmod(count, TILE_WIDTH)
    yield from (TileRef(level, index) for index in range(full))
    if rest:
        yield TileRef(level, full, rest)


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """Entries as in a bundle; packed pieces may be joined. Raises Refused(too-large) for one over 65,535 bytes."""
    parts = []
    for entry in entries:
        if len(entry) > LOG_ENTRY_MAX_BYTES:
            raise too_large("log entry", LOG_ENTRY_MAX_BYTES)
        parts += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(parts)


def unpack_entries(data: bytes, width: int) -> list[bytes]:
    """The `width` entries of a bundle, which must hold exactly these. Raises Refused(malformed)."""
    if not 1 <= width <= TILE_WIDTH:
        raise malformed(f"a bundle holds 1 to {TILE_WIDTH} entries", "entries")
    entries = []
    at = 0
    for _ in range(width):
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or at > len(data):
            raise malformed(f"the bundle ends before its {width} entries do", "entries")
        entries.append(data[start:at])
    if at != len(data):
        raise malformed(f"the bundle goes on after its {width} entries", "entries")
    return entries


def split_tile(data: bytes) -> list[bytes]:
    """The hashes of a tile. Raises Refused(malformed) unless there are 1 to 256 whole ones."""
    if not 0 < len(data) <= TILE_BYTES or len(data) % HASH_BYTES:
        raise malformed(f"a tile holds 1 to {TILE_WIDTH} hashes of {HASH_BYTES} bytes", "tile")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


_BLOCK_HEIGHT: Final = 4
_BLOCK_BYTES: Final = HASH_BYTES << _BLOCK_HEIGHT


@lru_cache(maxsize=64)  # about 2 MiB: the right edge and the tiles that fresh receipts keep asking for
def _pyramid(tile: bytes) -> tuple[list[bytes], ...]:
    """All complete subtrees inside a tile: element h holds those over 2^h of its hashes."""
    if len(tile) <= _BLOCK_BYTES:
        return _block(tile)
    blocks = [_block(tile[at : at + _BLOCK_BYTES]) for at in range(0, len(tile), _BLOCK_BYTES)]
    rows = [[node for block in blocks if h < len(block) for node in block[h]] for h in range(_BLOCK_HEIGHT + 1)]
    return (*rows[:-1], *_rows_over(rows[-1]))


@lru_cache(maxsize=1_024)  # half a MiB: a tile that grew by a leaf is the same in all its blocks but the last
def _block(part: bytes) -> tuple[list[bytes], ...]:
    """The same of the 16 hashes, or fewer, of a block."""
    return tuple(_rows_over(split_tile(part)))


def _rows_over(row: list[bytes]) -> list[list[bytes]]:
    """A row of nodes, and all rows of complete subtrees over it."""
    rows = [row]
    while len(rows[-1]) > 1:
        below = rows[-1]
        rows.append(pair_up(below[: len(below) & ~1]))
    return rows


class TileTree:
    """Reads nodes of a log of `size` leaves out of stored tiles, for proofs. `node` fits `merkle.NodeReader`.

    Tiles may be wider than `size` needs (the log has grown since) but never narrower: that raises Corrupt. The
    content is taken as true; only a proof verified against a signed checkpoint says that it is.
    """

    __slots__ = ("_read_tile", "_tiles", "size")

    def __init__(self, size: int, read_tile: TileReader) -> None:
        self.size = size
        self._read_tile = read_tile
        self._tiles: dict[tuple[int, int], bytes] = {}

    def node(self, level: int, index: int) -> bytes:
        """The hash of the complete subtree (level, index). Raises Refused(malformed) if the tree has none there."""
        if level < 0 or index < 0 or (index + 1) << level > self.size:
            raise malformed(f"a tree of {self.size} has no complete subtree ({level}, {index})", "tile")
        tile_level, height = divmod(level, TILE_HEIGHT)
        tile_index, place = divmod(index << height, TILE_WIDTH)
        width = min(TILE_WIDTH, (self.size >> (TILE_HEIGHT * tile_level)) - tile_index * TILE_WIDTH)
        return _pyramid(self._tile(tile_level, tile_index, width))[height][place >> height]

    def _tile(self, level: int, index: int, width: int) -> bytes:
        tile = self._tiles.get((level, index))
        if tile is None:
            tile = self._tiles[level, index] = _stored(self._read_tile, level, index, width)
        return tile


@dataclass(frozen=True, slots=True)
class Growth:
    """What an append changes: the new content of every hash tile (level, index) touched, the size, the root."""

    changed: dict[tuple[int, int], bytes]
    size: int
    root: bytes


def grow(old_size: int, new_leaves: Sequence[bytes], read_tile: TileReader) -> Growth:
    """Append leaf hashes to a log of `old_size` leaves.

    Reads at most one partial tile a level. Raises Corrupt if a stored tile does not fit `old_size`, Refused(malformed)
    if the log would pass 2^63 leaves.
    """
    size = old_size + len(new_leaves)
    if size > TREE_SIZE_MAX:
        raise malformed("no log is so long", "size")
    changed: dict[tuple[int, int], bytes] = {}
    peaks: list[bytes] = []
    row: list[bytes] = list(new_leaves)
    for level in range(TILE_LEVELS):
        first, old_width = divmod(old_size >> (TILE_HEIGHT * level), TILE_WIDTH)
        data = _stored(read_tile, level, first, old_width, exact=True) if old_width else b""
        tiles = _cut(data + b"".join(row))
        if row:
            changed.update({(level, first + at): tile for at, tile in enumerate(tiles)})
        row = [_pyramid(tile)[TILE_HEIGHT][0] for tile in tiles if len(tile) == TILE_BYTES]
        if tiles and len(tiles[-1]) < TILE_BYTES:
            peaks = _edge(tiles[-1]) + peaks
    return Growth(changed, size, fold_peaks(peaks) if peaks else EMPTY_ROOT)


def _cut(data: bytes) -> list[bytes]:
    return [data[at : at + TILE_BYTES] for at in range(0, len(data), TILE_BYTES)]


def _edge(tile: bytes) -> list[bytes]:
    """The peaks of a partial tile, largest first: the last node of each row of the pyramid that is odd in number."""
    return [row[-1] for row in reversed(_pyramid(tile)) if len(row) & 1]


def _stored(read_tile: TileReader, level: int, index: int, width: int, *, exact: bool = False) -> bytes:
    """A tile out of the store, cut to `width` hashes."""
    tile = read_tile(level, index)
    wanted = width * HASH_BYTES
    if len(tile) < wanted or (exact and len(tile) != wanted):
        raise Corrupt(
            f"tile {level}/{index} holds {len(tile)} bytes where the log's size wants {wanted}",
            next_step="Stop the hub, keep its database as it is, and compare it with a backup or an export.",
        )
    return tile[:wanted]
