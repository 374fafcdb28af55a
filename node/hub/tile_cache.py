"""Hash tiles for proofs and growth: those of the right edge always at hand, others as they are asked for.

The rules of sync_protocol read tiles through a plain function. Here a tile that is not at hand interrupts the
computation, is fetched, and the computation starts again: proofs need a handful of tiles, and their work is small.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from node.hub.ports import HubStore
from sync_protocol.errors import Corrupt
from sync_protocol.merkle import HASH_BYTES
from sync_protocol.tiles import TILE_HEIGHT, TILE_LEVELS, TILE_WIDTH, Growth, TileReader, grow

TILES_KEPT_MAX: Final = 256  # 2 MiB: the edges of recent logs and what late repeats ask for
ROUNDS_MAX: Final = 64  # a proof touches fewer tiles than that

Result = TypeVar("Result")


class _Absent(Exception):
    """A tile that is not at hand."""

    def __init__(self, place: tuple[int, int]) -> None:
        super().__init__(place)
        self.place = place


class TileCache:
    """Tiles of one published log, by (level, number). Belongs to one event loop."""

    def __init__(self, store: HubStore) -> None:
        self._store = store
        self._tiles: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    async def compute(self, work: Callable[[TileReader], Result]) -> Result:
        """What `work` makes of the tiles it reads; it may run several times. Raises what it raises, or Corrupt."""
        for _ in range(ROUNDS_MAX):
            try:
                return work(self._read)
            except _Absent as absent:
                await self._fetch(absent.place)
        raise Corrupt("a proof asked for more tiles than a log can have")

    async def grow(self, size: int, leaf_hashes: Sequence[bytes]) -> Growth:
        """What `leaf_hashes` make of a log of `size` leaves; nothing here changes. Raises Corrupt."""

        def of_that_size(read: TileReader) -> TileReader:
            # The database may hold more: what another process appended and nobody published yet, or published since.
            return lambda level, number: read(level, number)[: _width(size, level, number) * HASH_BYTES]

        return await self.compute(lambda read: grow(size, leaf_hashes, of_that_size(read)))

    async def load_edge(self, size: int) -> None:
        """The partial tile of each level, which the next append goes on from."""
        self._tiles.clear()
        edge = [(level, (size >> (TILE_HEIGHT * level)) // TILE_WIDTH) for level in range(TILE_LEVELS)]
        self._tiles.update(await self._store.tiles(edge))

    def put(self, changed: dict[tuple[int, int], bytes]) -> None:
        """What an append made of them, once it is published."""
        for place, tile in changed.items():
            self._keep(place, tile)

    def _read(self, level: int, number: int) -> bytes:
        tile = self._tiles.get((level, number))
        if tile is None:
            raise _Absent((level, number))
        self._tiles.move_to_end((level, number))
        return tile

    async def _fetch(self, place: tuple[int, int]) -> None:
        found = await self._store.tiles([place])
        if place not in found:
            level, number = place
            raise Corrupt(
                f"hash tile {level}/{number} is missing in the database",
                next_step="Stop the hub, keep its database as it is, and compare it with a backup or an export.",
            )
        if place not in self._tiles:  # an append may have put a wider one there meanwhile
            self._keep(place, found[place])

    def _keep(self, place: tuple[int, int], tile: bytes) -> None:
        self._tiles[place] = tile
        self._tiles.move_to_end(place)
        while len(self._tiles) > TILES_KEPT_MAX:
            self._tiles.popitem(last=False)


def _width(size: int, level: int, number: int) -> int:
    """How many hashes of a tile a log of `size` leaves has."""
    return min(TILE_WIDTH, max(0, (size >> (TILE_HEIGHT * level)) - number * TILE_WIDTH))
