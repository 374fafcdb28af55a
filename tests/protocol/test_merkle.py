"""Merkle trees against RFC 6962 written down word for word, and against forged proofs (protocol §6.1)."""

from __future__ import annotations

import random
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_protocol.errors import Refused
from sync_protocol.limits import PROOF_HASHES_MAX
from sync_protocol.merkle import (
    EMPTY_ROOT,
    TREE_SIZE_MAX,
    CompactRange,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    leaf_hashes,
    node_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from tests.protocol.log_samples import NaiveNodes, leaves, naive_path, naive_root, naive_subproof

SMALL = 300
AROUND_65536 = (65_535, 65_536, 65_537)

# RFC 6962's own test data, as published with its reference implementation: roots after each of eight leaves.
RFC_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
RFC_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@lru_cache(maxsize=1)
def roots(size: int) -> list[bytes]:
    """The roots of all sizes up to `size`, naively."""
    return [naive_root(leaves(size)[:n]) for n in range(size + 1)]


def test_roots_are_those_published_with_rfc_6962() -> None:
    hashes = leaf_hashes(RFC_LEAVES)
    assert hashes == [leaf_hash(leaf) for leaf in RFC_LEAVES]
    assert [tree_root(hashes[:n]).hex() for n in range(1, 9)] == RFC_ROOTS
    assert tree_root([]) == EMPTY_ROOT


def test_leaf_and_node_hashes_cannot_be_mistaken_for_each_other() -> None:
    left, right = leaves(2)
    assert node_hash(left, right) != leaf_hash(left + right)


def test_every_root_up_to_300_equals_the_naive_one() -> None:
    naive = roots(SMALL)
    growing = CompactRange()
    for size in range(SMALL + 1):
        assert tree_root(leaves(SMALL)[:size]) == naive[size] == growing.root()
        if size < SMALL:
            growing.append(leaves(SMALL)[size])


def test_every_inclusion_proof_up_to_300_verifies() -> None:
    hashes, naive = leaves(SMALL), roots(SMALL)
    node = NaiveNodes(hashes)
    for size in range(1, SMALL + 1):
        for index in range(size):
            verify_inclusion(hashes[index], index, size, inclusion_proof(index, size, node), naive[size])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 64, 129, 255, 256, 257, 300])
def test_an_inclusion_proof_equals_the_naive_one(size: int) -> None:
    hashes = leaves(SMALL)[:size]
    for index in range(size):
        assert inclusion_proof(index, size, NaiveNodes(hashes)) == naive_path(index, hashes)


def test_every_consistency_proof_up_to_300_verifies() -> None:
    naive = roots(SMALL)
    node = NaiveNodes(leaves(SMALL))
    for new in range(SMALL + 1):
        for old in range(new + 1):
            verify_consistency(old, naive[old], new, naive[new], consistency_proof(old, new, node))


@given(st.integers(1, SMALL).flatmap(lambda new: st.tuples(st.integers(1, new), st.just(new))))
def test_a_consistency_proof_equals_the_naive_one(sizes: tuple[int, int]) -> None:
    old, new = sizes
    hashes = leaves(SMALL)[:new]
    assert consistency_proof(old, new, NaiveNodes(hashes)) == naive_subproof(old, hashes)


@pytest.mark.parametrize("size", AROUND_65536)
def test_proofs_around_65536_equal_the_naive_ones(size: int) -> None:
    hashes = leaves(AROUND_65536[-1])[:size]
    root = naive_root(hashes)
    node = NaiveNodes(hashes)
    assert tree_root(hashes) == root
    for index in (0, 1, 32_767, 32_768, 65_533, size - 1):
        proof = inclusion_proof(index, size, node)
        verify_inclusion(hashes[index], index, size, proof, root)
    assert inclusion_proof(65_534, size, node) == naive_path(65_534, hashes)
    for old in (1, 255, 32_768, 32_769, 65_534, size):
        verify_consistency(old, tree_root(hashes[:old]), size, root, consistency_proof(old, size, node))
    assert consistency_proof(65_534, size, node) == naive_subproof(65_534, hashes)


@given(st.lists(st.integers(0, 90), max_size=8))
def test_a_compact_range_does_not_care_how_leaves_arrive(steps: list[int]) -> None:
    growing = CompactRange()
    hashes = leaves(SMALL * 3)
    for step in steps:
        growing.extend(hashes[growing.size : growing.size + step])
    assert growing.size == sum(steps)
    assert growing.root() == tree_root(hashes[: growing.size])
    assert [level for level, _ in growing.peaks] == [b for b in range(20, -1, -1) if growing.size >> b & 1]


@given(st.integers(0, 255), st.integers(1, 255))
def test_subtrees_appended_whole_give_the_same_root(start: int, end: int) -> None:
    start, end = sorted((start, start + end))
    hashes = leaves(SMALL * 3)[:end]
    node = NaiveNodes(hashes)
    growing = CompactRange()
    growing.extend(hashes[:start])
    while growing.size < end:
        room = (end - growing.size).bit_length() - 1
        alignment = (growing.size & -growing.size).bit_length() - 1 if growing.size else room
        level = min(room, alignment)
        growing.append_subtree(level, node(level, growing.size >> level))
    assert growing.root() == tree_root(hashes)


def test_a_subtree_that_is_not_aligned_is_refused() -> None:
    growing = CompactRange()
    growing.append(leaf_hash(b""))
    for level in (1, 5, -1, 64, 10_000):
        with pytest.raises(Refused):
            growing.append_subtree(level, EMPTY_ROOT)
    assert growing.size == 1


def test_a_compact_range_refuses_to_pass_the_largest_tree() -> None:
    growing = CompactRange()
    for level in range(62, -1, -1):
        growing.append_subtree(level, EMPTY_ROOT)
    assert growing.size == TREE_SIZE_MAX
    with pytest.raises(Refused):
        growing.append(EMPTY_ROOT)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 1), (5, 4), (0, TREE_SIZE_MAX + 1)])
def test_no_inclusion_proof_is_made_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(Refused):
        inclusion_proof(index, size, NaiveNodes([]))


@pytest.mark.parametrize(("old", "new"), [(2, 1), (-1, 1), (0, TREE_SIZE_MAX + 1)])
def test_no_consistency_proof_is_made_backwards(old: int, new: int) -> None:
    with pytest.raises(Refused):
        consistency_proof(old, new, NaiveNodes([]))


@settings(max_examples=100)
@given(st.data())
def test_a_proof_holds_for_its_own_leaf_place_size_and_root_alone(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, SMALL))
    index = data.draw(st.integers(0, size - 1))
    hashes = list(leaves(SMALL)[:size])
    root, proof = tree_root(hashes), inclusion_proof(index, size, NaiveNodes(hashes))
    other = data.draw(st.integers(0, size + 2).filter(lambda value: value != index))
    broken = data.draw(st.integers(0, len(proof) - 1))
    flipped = bytes([proof[broken][0] ^ 1]) + proof[broken][1:]
    for leaf, place, parts, top in (
        (hashes[index], other, proof, root),
        (leaf_hash(b"forged"), index, proof, root),
        (hashes[index], index, proof, leaf_hash(b"forged")),
        (hashes[index], index, proof[:-1], root),
        (hashes[index], index, [*proof, root], root),
        (hashes[index], index, [*proof[:broken], flipped, *proof[broken + 1 :]], root),
        (hashes[index], index, [*proof[:-1], proof[-1][:31]], root),
    ):
        with pytest.raises(Refused) as caught:
            verify_inclusion(leaf, place, size, parts, top)
        assert caught.value.kind == "bad-proof"


@settings(max_examples=100)
@given(st.data())
def test_a_rewritten_history_has_no_consistency_proof(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, SMALL))
    old = data.draw(st.integers(1, new - 1))
    hashes = list(leaves(SMALL)[:new])
    victim = data.draw(st.integers(0, old - 1))
    rewritten = [*hashes[:victim], leaf_hash(b"rewritten"), *hashes[victim + 1 :]]
    old_root = tree_root(hashes[:old])
    honest = consistency_proof(old, new, NaiveNodes(hashes))
    forged = consistency_proof(old, new, NaiveNodes(rewritten))
    for proof in (honest, forged, [], honest[:-1], [*honest, old_root]):
        with pytest.raises(Refused) as caught:
            verify_consistency(old, old_root, new, tree_root(rewritten), proof)
        assert caught.value.kind == "bad-proof"


def test_equal_sizes_with_different_roots_are_refused() -> None:
    with pytest.raises(Refused):
        verify_consistency(4, leaf_hash(b"a"), 4, leaf_hash(b"b"), [])
    with pytest.raises(Refused):
        verify_consistency(4, leaf_hash(b"a"), 4, leaf_hash(b"a"), [leaf_hash(b"a")])


def test_the_empty_tree_is_consistent_with_every_tree_and_has_one_root() -> None:
    root = naive_root(leaves(5))
    verify_consistency(0, EMPTY_ROOT, 5, root, [])
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    for old, old_root, new, new_root, proof in (
        (0, root, 5, root, []),
        (0, EMPTY_ROOT, 5, root, [root]),
        (0, root, 0, root, []),
        (5, root, 0, EMPTY_ROOT, []),
    ):
        with pytest.raises(Refused):
            verify_consistency(old, old_root, new, new_root, proof)


@pytest.mark.parametrize("size", [-1, 0, 2**63, 2**64, 2**4000])
def test_hostile_sizes_are_refused_without_work(size: int) -> None:
    leaf = leaf_hash(b"")
    with pytest.raises(Refused):
        verify_inclusion(leaf, 0, size, [leaf], leaf)
    with pytest.raises(Refused):
        verify_consistency(1, leaf, size, leaf, [leaf])
    with pytest.raises(Refused):
        verify_consistency(size, leaf, size, leaf, [leaf])


def test_proofs_that_are_too_long_are_refused_without_work() -> None:
    leaf = leaf_hash(b"")
    endless = [leaf] * (PROOF_HASHES_MAX + 1)
    with pytest.raises(Refused):
        verify_inclusion(leaf, 0, TREE_SIZE_MAX, endless, leaf)
    with pytest.raises(Refused):
        verify_consistency(1, leaf, TREE_SIZE_MAX, leaf, endless)


def test_random_proofs_of_any_length_are_refused() -> None:
    seed = 6962
    chance = random.Random(seed)
    for _ in range(500):
        old, new = sorted(chance.choice([chance.randrange(1, 40), chance.randrange(1, TREE_SIZE_MAX)]) for _ in "ab")
        proof = [chance.randbytes(32) for _ in range(chance.randrange(PROOF_HASHES_MAX + 1))]
        root, leaf = chance.randbytes(32), chance.randbytes(32)
        with pytest.raises(Refused):
            verify_inclusion(leaf, old - 1, new, proof, root)
        with pytest.raises(Refused):
            verify_consistency(old, leaf, new, root, proof)
