"""Tiles: their names, their bytes, and that proofs and roots read from them are the tree's own (protocol §6.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_protocol.errors import Corrupt, Refused
from sync_protocol.merkle import (
    EMPTY_ROOT,
    TREE_SIZE_MAX,
    consistency_proof,
    inclusion_proof,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from sync_protocol.tiles import (
    Growth,
    TileRef,
    TileTree,
    entries_path,
    entry_tiles_of,
    grow,
    pack_entries,
    parse_tile_path,
    split_tile,
    tile_path,
    tiles_of,
    unpack_entries,
)
from tests.protocol.log_samples import NaiveNodes, leaves

BIG = 70_000


class Shelf:
    """Tiles in memory, as a hub's table would hold them, and how many were read."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.size = 0
        self.reads = 0

    def read(self, level: int, index: int) -> bytes:
        self.reads += 1
        return self.tiles[level, index]

    def append(self, count: int) -> Growth:
        growth = grow(self.size, leaves(BIG)[self.size : self.size + count], self.read)
        self.tiles.update(growth.changed)
        self.size = growth.size
        return growth


def shelf_of(size: int) -> Shelf:
    shelf = Shelf()
    shelf.append(size)
    return shelf


def test_paths_are_those_of_the_specification() -> None:
    assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert tile_path(0, 273, 112) == "tile/0/273.p/112"
    assert tile_path(2, 0, 1) == "tile/2/000.p/1"
    assert entries_path(1_067, 5) == "tile/entries/x001/067.p/5"


@given(st.one_of(st.none(), st.integers(0, 7)), st.integers(0, 2**70), st.integers(1, 256))
def test_a_tile_has_one_path_that_reads_back(level: int | None, index: int, width: int) -> None:
    try:
        tile = TileRef(level, index, width)
    except Refused:
        assert (index + 1) * 256 << 8 * (level or 0) > TREE_SIZE_MAX
        return
    assert parse_tile_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/000/",
        "/tile/0/000",
        "tile/00/000",
        "tile/8/000",
        "tile/-1/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/x067",
        "tile/0/001/067",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/05",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/000\n",
        "tile/0/٠٠٠",
        "tile/entries/../checkpoint",
        "tile/7/x999/999",
        "tile/0/" + "x999/" * 6 + "999",
        "tile/0/" + "x999/" * 10_000 + "999",
    ],
)
def test_every_other_path_is_refused(path: str) -> None:
    with pytest.raises(Refused):
        parse_tile_path(path)


@given(st.text(alphabet="tile/nrs0123x.p", max_size=24) | st.binary(max_size=24).map(lambda raw: raw.decode("latin-1")))
def test_arbitrary_text_is_the_one_path_of_a_tile_or_refused(text: str) -> None:
    try:
        tile = parse_tile_path("tile/" + text)
    except Refused:
        return
    assert tile.path == "tile/" + text


def test_the_tiles_of_a_log_are_those_of_the_specification() -> None:
    tiles = list(tiles_of(BIG))
    assert sum(tile.level == 0 and tile.width == 256 for tile in tiles) == 273
    assert [tile.path for tile in tiles if tile.width < 256] == [
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]
    assert [tile.path for tile in tiles_of(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert [tile.path for tile in entry_tiles_of(257)] == ["tile/entries/000", "tile/entries/001.p/1"]
    assert list(tiles_of(0)) == list(entry_tiles_of(0)) == []


def test_a_size_that_nobody_can_store_costs_nothing_to_begin_with() -> None:
    """A checkpoint may claim any size; the first tile is there at once, and the reader stops where one is missing."""
    assert next(entry_tiles_of(TREE_SIZE_MAX)).path == "tile/entries/000"
    assert next(tiles_of(TREE_SIZE_MAX)).path == "tile/0/000"


@given(st.lists(st.sampled_from([0, 1, 2, 100, 255, 256, 257, 700]), max_size=12))
def test_a_log_grown_in_steps_has_the_tiles_and_root_of_one_grown_at_once(steps: list[int]) -> None:
    shelf = Shelf()
    for step in steps:
        growth = shelf.append(step)
        assert growth.root == tree_root(leaves(BIG)[: shelf.size])
    assert shelf.size == sum(steps)
    assert shelf.tiles == shelf_of(shelf.size).tiles
    wanted = {(tile.level, tile.index): tile.width * 32 for tile in tiles_of(shelf.size)}
    assert {place: len(tile) for place, tile in shelf.tiles.items()} == wanted


def test_an_append_reads_one_partial_tile_a_level_and_changes_only_the_edge() -> None:
    shelf = shelf_of(65_536 + 255)
    shelf.reads = 0
    growth = shelf.append(2)
    assert shelf.reads == 2  # level 0 and level 2; level 1 begins a new tile
    assert set(growth.changed) == {(0, 256), (0, 257), (1, 1)}
    assert growth.root == tree_root(leaves(BIG)[:65_793])


def test_an_append_of_nothing_changes_nothing_and_tells_the_root() -> None:
    assert grow(0, [], Shelf().read) == Growth({}, 0, EMPTY_ROOT)
    shelf = shelf_of(BIG)
    assert shelf.append(0) == Growth({}, BIG, tree_root(leaves(BIG)))


@pytest.mark.parametrize("size", [1, 255, 256, 257, 300, 65_535, 65_536, 65_537, BIG])
def test_proofs_out_of_tiles_are_the_trees_own(size: int) -> None:
    shelf = shelf_of(min(size + 300, BIG))  # the log has grown since: stored tiles are wider than this size
    tree = TileTree(size, shelf.read)
    hashes = leaves(BIG)[:size]
    root, naive = tree_root(hashes), NaiveNodes(hashes)
    for index in {0, size // 3, size // 2, size - 1}:
        proof = inclusion_proof(index, size, tree.node)
        assert proof == inclusion_proof(index, size, naive)
        verify_inclusion(hashes[index], index, size, proof, root)
    for old in {0, 1, size // 3, size - 1, size}:
        proof = consistency_proof(old, size, tree.node)
        verify_consistency(old, tree_root(hashes[:old]), size, root, proof)


def test_a_tile_is_read_once_for_any_number_of_proofs() -> None:
    shelf = shelf_of(1_000)
    shelf.reads = 0
    tree = TileTree(1_000, shelf.read)
    for index in range(1_000):
        inclusion_proof(index, 1_000, tree.node)
    assert shelf.reads == 5


@pytest.mark.parametrize(("level", "index"), [(0, 10), (1, 5), (3, 1), (4, 0), (-1, 0), (0, -1), (63, 0)])
def test_a_node_that_is_not_complete_at_this_size_is_refused(level: int, index: int) -> None:
    with pytest.raises(Refused):
        TileTree(10, shelf_of(300).read).node(level, index)


def test_a_stored_tile_that_is_too_short_is_corrupt() -> None:
    shelf = shelf_of(300)
    shelf.tiles[0, 1] = shelf.tiles[0, 1][:-1]
    with pytest.raises(Corrupt):
        TileTree(300, shelf.read).node(0, 299)
    with pytest.raises(Corrupt):
        shelf.append(1)


def test_a_log_does_not_grow_over_a_tile_from_the_future() -> None:
    shelf = shelf_of(300)
    shelf.size = 299
    with pytest.raises(Corrupt):
        shelf.append(1)


def test_a_log_does_not_grow_past_the_largest_tree() -> None:
    with pytest.raises(Refused):
        grow(TREE_SIZE_MAX, [EMPTY_ROOT], Shelf().read)


@pytest.mark.parametrize("length", [0, 31, 33, 8_191, 8_193, 8_224])
def test_a_tile_of_odd_length_is_refused(length: int) -> None:
    with pytest.raises(Refused):
        split_tile(bytes(length))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=256))
def test_entry_bundles_read_back(entries: list[bytes]) -> None:
    data = pack_entries(entries)
    assert unpack_entries(data, len(entries)) == entries
    assert data == pack_entries(entries[:1]) + pack_entries(entries[1:])


def test_a_bundle_is_a_big_endian_length_before_each_entry() -> None:
    assert pack_entries([b"", b"ab", b"c" * 258]) == b"\x00\x00\x00\x02ab\x01\x02" + b"c" * 258


def test_an_entry_over_65535_bytes_has_no_place_in_a_bundle() -> None:
    assert unpack_entries(pack_entries([bytes(65_535)]), 1) == [bytes(65_535)]
    with pytest.raises(Refused) as caught:
        pack_entries([bytes(65_536)])
    assert caught.value.kind == "too-large"


def test_every_truncation_extension_and_wrong_count_of_a_bundle_is_refused() -> None:
    data = pack_entries([b"one", b"", b"three"])
    for length in range(len(data)):
        with pytest.raises(Refused):
            unpack_entries(data[:length], 3)
    for wrong, width in ((data + b"\x00", 3), (data, 2), (data, 4), (data, 0), (data, 257), (data, -1)):
        with pytest.raises(Refused):
            unpack_entries(wrong, width)


@given(st.binary(max_size=600), st.integers(1, 256))
def test_arbitrary_bytes_are_a_bundle_or_refused(data: bytes, width: int) -> None:
    try:
        entries = unpack_entries(data, width)
    except Refused:
        return
    assert pack_entries(entries) == data
