"""Cases of trees, proofs and tiles (docs/protocol.md §6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sync_protocol.merkle import consistency_proof, inclusion_proof
from sync_protocol.tiles import entry_tiles_of, pack_entries, tiles_of
from tests.protocol.log_samples import NaiveNodes, entry, leaves, naive_root
from tests.vectors.vector_files import Vector

Members = dict[str, Any]


def tree_vectors() -> Iterator[Vector]:
    """Every case of this module."""
    yield from _roots()
    yield from _inclusion()
    yield from _consistency()
    yield from _paths()
    yield from _tile_bytes()
    yield from _bundles()


def _case(subject: str, name: str, what: str, operation: str, given: Members, **expect: Any) -> Vector:
    spec = "protocol §6.1, RFC 9162 §2.1" if subject == "proofs" else "protocol §6.2, C2SP tlog-tiles"
    return Vector(subject, name, what, spec, operation, given, expect)


def _roots() -> Iterator[Vector]:
    for size in (0, 1, 2, 3, 7, 8):
        given = {"leaves_hex": [entry(index).hex() for index in range(size)]}
        what = f"The root over {size} entries."
        yield _case(
            "proofs", f"root-of-{size}", what, "tree-root", given, accept={"root_hex": naive_root(leaves(size)).hex()}
        )


def _included(index: int, size: int, **changed: Any) -> Members:
    hashes = leaves(size)
    proof = inclusion_proof(index, size, NaiveNodes(hashes))
    return {
        "leaf_hash_hex": hashes[index].hex(),
        "index": index,
        "size": size,
        "hashes_hex": [part.hex() for part in proof],
        "root_hex": naive_root(hashes).hex(),
    } | changed


def _inclusion() -> Iterator[Vector]:
    for index, size in ((0, 1), (0, 8), (6, 7), (150, 300), (299, 300)):
        what = f"Entry {index} of {size} stands there."
        name = f"inclusion-{index}-of-{size}"
        yield _case("proofs", name, what, "verify-inclusion", _included(index, size), accept={})
    good = _included(4, 7)
    hashes = good["hashes_hex"]
    defects: list[tuple[str, str, Members]] = [
        ("wrong-index", "The proof of entry 4 is offered for entry 5.", good | {"index": 5}),
        ("wrong-leaf", "The proof is offered for another leaf.", good | {"leaf_hash_hex": leaves(7)[5].hex()}),
        ("wrong-root", "The proof leads to another root.", good | {"root_hex": naive_root(leaves(6)).hex()}),
        ("wrong-size", "The proof in a tree of 7 is offered for 5.", good | {"size": 5}),
        ("too-short", "The last hash is missing.", good | {"hashes_hex": hashes[:-1]}),
        ("too-long", "A hash follows the last one.", good | {"hashes_hex": [*hashes, hashes[0]]}),
        ("swapped-hashes", "Two hashes of the path change places.", good | {"hashes_hex": hashes[::-1]}),
        ("short-hash", "A hash has 31 bytes.", good | {"hashes_hex": [hashes[0][:-2], *hashes[1:]]}),
        ("index-beyond-size", "There is no such entry.", good | {"index": 7}),
        ("empty-tree", "Nothing is in a tree of size 0.", good | {"index": 0, "size": 0, "hashes_hex": []}),
        ("size-beyond-63-bits", "No log is so long.", good | {"size": 2**63}),
        ("endless", "65 hashes: no tree is so high.", good | {"size": 2**63 - 1, "hashes_hex": hashes[:1] * 65}),
    ]
    for name, what, given in defects:
        yield _case("proofs", f"inclusion-{name}", what, "verify-inclusion", given, refuse="bad-proof")


def _consistent(old: int, new: int) -> Members:
    hashes = leaves(new)
    proof = consistency_proof(old, new, NaiveNodes(hashes))
    return {
        "old_size": old,
        "old_root_hex": naive_root(hashes[:old]).hex(),
        "new_size": new,
        "new_root_hex": naive_root(hashes).hex(),
        "hashes_hex": [part.hex() for part in proof],
    }


def _consistency() -> Iterator[Vector]:
    for old, new in ((0, 0), (0, 5), (1, 1), (1, 8), (6, 7), (4, 8), (255, 300), (256, 300)):
        what = f"The log of {new} continues the log of {old}."
        name = f"consistency-{old}-to-{new}"
        yield _case("proofs", name, what, "verify-consistency", _consistent(old, new), accept={})
    good = _consistent(6, 7)
    hashes = good["hashes_hex"]
    other = naive_root(leaves(5)).hex()
    defects: list[tuple[str, str, Members]] = [
        ("rewritten-history", "The old root is not of this history.", good | {"old_root_hex": other}),
        ("wrong-new-root", "The new root is another.", good | {"new_root_hex": other}),
        ("too-short", "The last hash is missing.", good | {"hashes_hex": hashes[:-1]}),
        ("too-long", "A hash follows the last one.", good | {"hashes_hex": [*hashes, hashes[0]]}),
        ("empty-proof", "No hashes, though the sizes differ.", good | {"hashes_hex": []}),
        ("shrinking-log", "The new log is smaller.", good | {"old_size": 7, "new_size": 6}),
        ("fork-at-one-size", "Two roots for one size.", good | {"old_size": 7, "hashes_hex": []}),
        ("hashes-for-equal-sizes", "Equal trees need no proof.", _consistent(7, 7) | {"hashes_hex": [other]}),
        ("hashes-from-empty", "From size 0 there is nothing to prove.", _consistent(0, 7) | {"hashes_hex": [other]}),
        ("empty-log-with-a-root", "Size 0 has one root.", _consistent(0, 7) | {"old_root_hex": other}),
        ("size-beyond-63-bits", "No log is so long.", good | {"new_size": 2**63}),
    ]
    for name, what, given in defects:
        yield _case("proofs", f"consistency-{name}", what, "verify-consistency", given, refuse="bad-proof")


def _paths() -> Iterator[Vector]:
    for name, path, level, index, width in (
        ("full", "tile/0/x001/x234/067", 0, 1_234_067, 256),
        ("partial", "tile/1/001.p/17", 1, 1, 17),
        ("entries", "tile/entries/000.p/255", None, 0, 255),
    ):
        accept = {"level": level, "index": index, "width": width}
        yield _case("tiles", f"path-{name}", "A tile's path.", "parse-tile-path", {"path": path}, accept=accept)
    for name, path in (
        ("leading-slash", "/tile/0/000"),
        ("level-with-leading-zero", "tile/00/000"),
        ("level-too-high", "tile/8/000"),
        ("short-group", "tile/0/67"),
        ("leading-zero-group", "tile/0/x000/067"),
        ("group-without-x", "tile/0/001/067"),
        ("last-group-with-x", "tile/0/x001"),
        ("width-zero", "tile/0/000.p/0"),
        ("width-with-leading-zero", "tile/0/000.p/05"),
        ("partial-of-full-width", "tile/0/000.p/256"),
        ("dot-dot", "tile/0/../000"),
        ("other-digits", "tile/0/٠٠٠"),
        ("index-beyond-63-bits", "tile/7/x999/999"),
    ):
        what = "A tile has one path; this is none."
        yield _case("tiles", f"path-{name}", what, "parse-tile-path", {"path": path}, refuse="malformed")
    for size in (0, 1, 256, 257, 1_000):
        tiles = {
            "tiles": [tile.path for tile in tiles_of(size)],
            "entries": [tile.path for tile in entry_tiles_of(size)],
        }
        what = f"The tiles of a log of {size}."
        yield _case("tiles", f"tiles-of-{size}", what, "tiles-of", {"size": size}, accept=tiles)


def _tile_bytes() -> Iterator[Vector]:
    hashes = leaves(513)
    given = {"leaf_hashes_hex": [leaf.hex() for leaf in hashes], "path": "tile/1/000.p/2"}
    upper = naive_root(hashes[:256]) + naive_root(hashes[256:512])
    what = "A tile of level 1 holds the roots of whole tiles of level 0; leaf 512 is in none yet."
    yield _case("tiles", "bytes-of-level-1", what, "tile-bytes", given, accept={"tile_hex": upper.hex()})
    given = {"leaf_hashes_hex": [leaf.hex() for leaf in hashes[:3]], "path": "tile/0/000.p/3"}
    accept = {"tile_hex": b"".join(hashes[:3]).hex()}
    yield _case("tiles", "bytes-of-level-0", "A tile of level 0 holds leaf hashes.", "tile-bytes", given, accept=accept)


def _bundles() -> Iterator[Vector]:
    entries = [b"", b"ab", b"c" * 258]
    data = pack_entries(entries)
    accept = {"entries_hex": [part.hex() for part in entries]}
    what = "Entries after their lengths, big-endian."
    given: Members = {"bundle_hex": data.hex(), "width": 3}
    yield _case("tiles", "bundle-valid", what, "unpack-entries", given, accept=accept)
    for name, what, bundle, width in (
        ("cut-in-an-entry", "The last entry is not whole.", data[:-1], 3),
        ("cut-in-a-length", "The last length is not whole.", data[:3], 2),
        ("byte-after-the-end", "A byte follows the last entry.", data + b"\0", 3),
        ("too-few-entries", "A fourth entry is missing.", data, 4),
        ("too-many-entries", "There are more than two entries.", data, 2),
        ("width-zero", "Empty bundles are not served.", b"", 0),
        ("width-beyond-256", "A bundle holds 256 at most.", data, 257),
    ):
        given = {"bundle_hex": bundle.hex(), "width": width}
        yield _case("tiles", f"bundle-{name}", what, "unpack-entries", given, refuse="malformed")
