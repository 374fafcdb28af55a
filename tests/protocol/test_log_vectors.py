"""The vectors of tests/vectors, run as an implementation in another language would run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sync_protocol import ed25519
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.errors import Refused
from sync_protocol.merkle import leaf_hashes, tree_root, verify_consistency, verify_inclusion
from sync_protocol.note import VerifierKey, verify_note
from sync_protocol.receipt import parse_receipt, verify_receipt
from sync_protocol.tiles import entry_tiles_of, grow, parse_tile_path, tiles_of, unpack_entries
from tests.vectors.make_log import SUBJECTS, all_vectors
from tests.vectors.vector_files import Vector, load

Members = Mapping[str, Any]
VECTORS = load(*SUBJECTS)


def _bytes(given: Members, name: str) -> bytes:
    raw = given.get(f"{name}_hex")
    return bytes.fromhex(raw) if raw is not None else given[name].encode()


def _hashes(given: Members, name: str) -> list[bytes]:
    return [bytes.fromhex(text) for text in given[name]]


def _vkeys(given: Members) -> list[VerifierKey]:
    return [VerifierKey.parse(text) for text in given["vkeys"]]


def _check_key(given: Members) -> Members:
    key = _bytes(given, "public_key")
    ed25519.check_public_key(key)
    return {"kid": ed25519.kid_of(key)}


def _verify_signature(given: Members) -> Members:
    ed25519.verify(_bytes(given, "public_key"), _bytes(given, "signature"), _bytes(given, "message"))
    return {}


def _parse_vkey(given: Members) -> Members:
    vkey = VerifierKey.parse(given["vkey"])
    return {"name": vkey.name, "key_id_hex": vkey.key_id.hex(), "public_key_hex": vkey.public_key.hex()}


def _open_note(given: Members) -> Members:
    opened = verify_note(_bytes(given, "note"), _vkeys(given))
    return {"text": opened.text, "signed_by": [vkey.format() for vkey, _ in opened.good]}


def _open_checkpoint(given: Members) -> Members:
    opened = open_checkpoint(_bytes(given, "note"), _vkeys(given), given["origin"])
    tree = opened.checkpoint
    return {"size": tree.size, "root_hex": tree.root.hex(), "signature_hex": opened.signature.hex()}


def _verify_receipt(given: Members) -> Members:
    receipt = parse_receipt(_bytes(given, "receipt"))
    tree = verify_receipt(receipt, _bytes(given, "entry"), _vkeys(given), given["origin"]).checkpoint
    return {"index": receipt.index, "size": tree.size, "root_hex": tree.root.hex()}


def _tree_root(given: Members) -> Members:
    return {"root_hex": tree_root(leaf_hashes(_hashes(given, "leaves_hex"))).hex()}


def _verify_inclusion(given: Members) -> Members:
    leaf, root = _bytes(given, "leaf_hash"), _bytes(given, "root")
    verify_inclusion(leaf, given["index"], given["size"], _hashes(given, "hashes_hex"), root)
    return {}


def _verify_consistency(given: Members) -> Members:
    old_root, new_root = _bytes(given, "old_root"), _bytes(given, "new_root")
    verify_consistency(given["old_size"], old_root, given["new_size"], new_root, _hashes(given, "hashes_hex"))
    return {}


def _parse_tile_path(given: Members) -> Members:
    tile = parse_tile_path(given["path"])
    return {"level": tile.level, "index": tile.index, "width": tile.width}


def _tiles_of(given: Members) -> Members:
    size = given["size"]
    return {"tiles": [tile.path for tile in tiles_of(size)], "entries": [tile.path for tile in entry_tiles_of(size)]}


def _tile_bytes(given: Members) -> Members:
    growth = grow(0, _hashes(given, "leaf_hashes_hex"), lambda _level, _index: b"")
    tile = parse_tile_path(given["path"])
    assert tile.level is not None
    return {"tile_hex": growth.changed[tile.level, tile.index].hex()}


def _unpack_entries(given: Members) -> Members:
    return {"entries_hex": [entry.hex() for entry in unpack_entries(_bytes(given, "bundle"), given["width"])]}


OPERATIONS: dict[str, Callable[[Members], Members]] = {
    "check-key": _check_key,
    "verify-signature": _verify_signature,
    "parse-vkey": _parse_vkey,
    "open-note": _open_note,
    "open-checkpoint": _open_checkpoint,
    "verify-receipt": _verify_receipt,
    "tree-root": _tree_root,
    "verify-inclusion": _verify_inclusion,
    "verify-consistency": _verify_consistency,
    "parse-tile-path": _parse_tile_path,
    "tiles-of": _tiles_of,
    "tile-bytes": _tile_bytes,
    "unpack-entries": _unpack_entries,
}


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{vector.subject}/{vector.name}" for vector in VECTORS])
def test_a_vector_ends_as_it_says(vector: Vector) -> None:
    operation = OPERATIONS[vector.operation]
    if "refuse" in vector.expect:
        with pytest.raises(Refused) as caught:
            operation(vector.given)
        assert caught.value.kind == vector.expect["refuse"]
    else:
        assert operation(vector.given) == vector.expect["accept"]


def test_the_vectors_are_what_their_maker_writes() -> None:
    assert {vector.path: vector.text() for vector in VECTORS} == {
        vector.path: vector.text() for vector in all_vectors()
    }
    for vector in VECTORS:
        assert vector.path.read_text("utf-8") == vector.text()


def test_every_defect_has_a_file_of_its_own() -> None:
    made = [vector.path for vector in all_vectors()]
    assert len(made) == len(set(made))
    assert sum("refuse" in vector.expect for vector in VECTORS) >= 100
