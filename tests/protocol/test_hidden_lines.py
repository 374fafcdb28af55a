"""Hidden lines and excerpts: less is shown, the same root is signed (protocol §3.2)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_protocol.change_set import (
    ChangeSet,
    hidden_leaves,
    hide_contents,
    merge_contents,
    parse_change_set,
    verify_lines,
)
from sync_protocol.errors import Refused
from sync_protocol.excerpt import OpenSet, hide_in_excerpt, parse_excerpt
from sync_protocol.hidden_lines import (
    SubtreeRoots,
    count_hidden_leaves,
    fill_in,
    format_hidden_line,
    hide_where,
    is_hidden_line,
    read_pieces,
    root_of,
    write_pieces,
)
from sync_protocol.limits import SET_MAX_BYTES
from sync_protocol.merkle import leaf_hash, leaf_hashes, tree_root
from sync_protocol.values import b64u_encode
from tests.protocol.set_samples import hostile_set, sample_lines, sample_set, signed_set

COUNTS = [(1, 0), (1, 1), (2, 1), (3, 2), (3, 3), (4, 4), (5, 3), (7, 6), (8, 8), (13, 11), (33, 31)]


def with_contents(change_set: ChangeSet, contents: bytes) -> ChangeSet:
    return parse_change_set(change_set.head, contents)


def fewest_possible(start: int, end: int) -> list[tuple[int, int]]:
    """(start, leaves) of the largest aligned subtrees that cover the range, found by trying."""
    cover = []
    while start < end:
        leaves = max(1 << j for j in range(20) if start % (1 << j) == 0 and start + (1 << j) <= end)
        cover.append((start, leaves))
        start += leaves
    return cover


def hidden_places(lines: list[bytes], start: int = 0) -> list[tuple[int, int]]:
    """(start, leaves) of the hidden lines among the lines."""
    places = []
    for line in lines:
        leaves = int(line.rpartition(b":")[2][:-1]) if is_hidden_line(line) else 1
        if is_hidden_line(line):
            places.append((start, leaves))
        start += leaves
    return places


@pytest.mark.parametrize(("changes", "contents"), COUNTS)
def test_contents_are_hidden_in_the_fewest_lines_and_keep_the_root(changes: int, contents: int) -> None:
    whole = sample_set(changes, contents)
    hidden = hide_contents(whole)
    lines = verify_lines(with_contents(whole, hidden))
    assert lines.hidden_leaves == contents == hidden_leaves(with_contents(whole, hidden))
    assert lines.change_lines == verify_lines(whole).change_lines
    assert hidden_places(lines.content_lines, changes) == fewest_possible(changes, changes + contents)
    assert hide_contents(with_contents(whole, hidden)) == hidden


@pytest.mark.parametrize(("changes", "contents"), COUNTS)
def test_every_single_content_line_can_be_erased_by_itself(changes: int, contents: int) -> None:
    whole = sample_set(changes, contents)
    before = verify_lines(whole)
    for leaf in before.content_leaves:
        after = verify_lines(with_contents(whole, hide_contents(whole, [leaf])))
        assert after.hidden_leaves == 1
        assert after.content_leaves == before.content_leaves
        assert len(after.content_lines) == contents


def test_two_erased_halves_of_a_subtree_become_one_hidden_line() -> None:
    whole = sample_set(4, 4)
    leaves = verify_lines(whole).content_leaves
    assert len(hide_contents(whole, leaves[:2]).splitlines()) == 3
    assert len(hide_contents(whole, leaves[1:3]).splitlines()) == 4
    assert len(hide_contents(whole, leaves).splitlines()) == 1


def test_what_was_hidden_is_filled_in_by_a_copy_that_shows_it() -> None:
    whole = sample_set(13, 11)
    hidden = with_contents(whole, hide_contents(whole))
    assert merge_contents(hidden, whole) == whole.contents
    assert merge_contents(whole, hidden) == whole.contents
    assert merge_contents(hidden, hidden) == hidden.contents


def test_an_erased_line_never_comes_back() -> None:
    whole = sample_set(13, 11)
    leaves = verify_lines(whole).content_leaves
    erased = {leaves[2], leaves[7]}
    held = with_contents(whole, hide_contents(whole))
    merged = with_contents(whole, merge_contents(held, whole, erased))
    lines = verify_lines(merged)
    assert lines.hidden_leaves == 2
    assert [leaf_hash(line) in erased or is_hidden_line(line) for line in lines.content_lines].count(True) == 2
    assert merge_contents(merged, whole, erased) == merged.contents


def test_two_copies_that_hide_different_lines_make_one_whole() -> None:
    whole = sample_set(8, 8)
    leaves = verify_lines(whole).content_leaves
    one = with_contents(whole, hide_contents(whole, leaves[:5]))
    other = with_contents(whole, hide_contents(whole, leaves[5:]))
    assert merge_contents(one, other) == whole.contents


def test_copies_of_two_different_sets_are_not_merged() -> None:
    one, other = sample_set(4, 4), signed_set(*reversed_contents(4))
    for held, shown in ((one, other), (with_contents(one, hide_contents(one)), other)):
        with pytest.raises(Refused) as refused:
            merge_contents(held, shown)
        assert refused.value.kind == "root-mismatch"


def reversed_contents(count: int) -> tuple[list[bytes], list[bytes]]:
    changes, contents = sample_lines(count, count)
    return changes, contents[::-1]


def hidden_line(leaves: int, root: bytes = b"\0" * 32) -> bytes:
    return format_hidden_line(root, leaves) + b"\n"


@pytest.mark.parametrize(
    ("contents", "kind"),
    [
        (hidden_line(4), "root-mismatch"),
        (hidden_line(2) + hidden_line(2), "root-mismatch"),
        (hidden_line(3) + hidden_line(1), "malformed"),
        (hidden_line(1) + hidden_line(2) + hidden_line(1), "malformed"),
        (hidden_line(2), "malformed"),
        (hidden_line(8), "malformed"),
        (hidden_line(4) + hidden_line(4), "malformed"),
        (hidden_line(16_384), "malformed"),
        (hidden_line(99_999), "malformed"),
        (hidden_line(4)[:-1], "malformed"),
    ],
    ids=[
        "wrong root",
        "wrong roots",
        "three leaves",
        "not aligned",
        "too few",
        "too many",
        "twice too many",
        "far too many",
        "absurdly many",
        "no LF",
    ],
)
def test_hidden_lines_that_do_not_fit_are_refused(contents: bytes, kind: str) -> None:
    with pytest.raises(Refused) as refused:
        verify_lines(with_contents(sample_set(4, 4), contents))
    assert refused.value.kind == kind


def test_a_hidden_line_counts_exactly_the_leaves_that_it_names() -> None:
    """Two leaves from 6 on are a subtree; called three, they are refused although 6 is divisible by three."""
    whole = sample_set(6, 2)
    pair = tree_root(verify_lines(whole).content_leaves)
    verify_lines(with_contents(whole, hidden_line(2, pair)))
    with pytest.raises(Refused) as refused:
        verify_lines(with_contents(whole, hidden_line(3, pair)))
    assert refused.value.kind == "malformed"


@pytest.mark.parametrize(
    ("changes", "contents"),
    [([b"two words"], []), ([b""], []), ([b"a"], [b"x\r"]), ([b"a"], [b"\xff"]), ([b"a"], [b""])],
)
def test_an_excerpt_shows_no_line_that_intake_would_not_take(changes: list[bytes], contents: list[bytes]) -> None:
    with pytest.raises(Refused) as refused:
        parse_excerpt(hostile_set(changes, contents))
    assert refused.value.kind == "malformed"


def test_a_hidden_change_line_is_never_taken_in() -> None:
    whole = sample_set(4, 4)
    lines = whole.head.splitlines(keepends=True)
    leaves = verify_lines(whole).change_leaves
    one = b"".join([*lines[:2], hidden_line(1, leaves[1]), *lines[3:]])
    all_four = lines[0] + hidden_line(4, tree_root(leaves))
    for head in (one, all_four):
        with pytest.raises(Refused) as refused:
            verify_lines(parse_change_set(head, whole.contents))
        assert refused.value.kind == "malformed"


def test_every_bit_flip_of_a_set_with_hidden_contents_is_refused() -> None:
    whole = sample_set(3, 3)
    leaf = verify_lines(whole).content_leaves[1]
    contents = hide_contents(whole, [leaf])
    for position in range(len(contents)):
        for bit in range(8):
            flipped = bytearray(contents)
            flipped[position] ^= 1 << bit
            with pytest.raises(Refused):
                verify_lines(with_contents(whole, bytes(flipped)))


def test_the_form_of_a_hidden_line() -> None:
    root = bytes(range(32))
    assert format_hidden_line(root, 16) == b'{"hidden":"%s","leaves":16}' % b64u_encode(root).encode()
    good = format_hidden_line(root, 1)
    assert is_hidden_line(good)
    for other in (
        good[:-1],
        good + b" ",
        b" " + good,
        good + b"\n",
        good.replace(b":1}", b":0}"),
        good.replace(b":1}", b":-1}"),
        good.replace(b":1}", b":1.0}"),
        good.replace(b":1}", b":100000}"),
        good.replace(b'"leaves"', b' "leaves"'),
        good.replace(b"hidden", b"Hidden"),
        re.sub(rb"8\"", b'9"', good),
        b'{"leaves":1,"hidden":"%s"}' % b64u_encode(root).encode(),
    ):
        assert not is_hidden_line(other), other


def test_hidden_leaves_are_counted_in_a_block() -> None:
    assert count_hidden_leaves(b"") == 0
    assert count_hidden_leaves(b"literal\n") == 0
    assert count_hidden_leaves(b'text about {"hidden":"x"} lines\n' + hidden_line(4) + b"a\n" + hidden_line(1)) == 5


@pytest.mark.parametrize(("changes", "contents"), COUNTS)
def test_an_excerpt_of_every_single_line_has_the_signed_root(changes: int, contents: int) -> None:
    whole = sample_set(changes, contents)
    lines = [*verify_lines(whole).change_lines, *verify_lines(whole).content_lines]
    for index, line in enumerate(lines):
        data = OpenSet(whole).excerpt([index])
        excerpt = parse_excerpt(data)
        assert excerpt.lines == {index: line}
        assert excerpt.manifest == whole.manifest
        places = hidden_places(data.splitlines()[1:])
        assert places == fewest_possible(0, index) + fewest_possible(index + 1, len(lines))


@settings(max_examples=80)
@given(st.data(), st.sampled_from(COUNTS))
def test_every_choice_of_lines_makes_an_excerpt_with_the_signed_root(
    data: st.DataObject, counts: tuple[int, int]
) -> None:
    whole = sample_set(*counts)
    lines = [*verify_lines(whole).change_lines, *verify_lines(whole).content_lines]
    keep = data.draw(st.sets(st.sampled_from(range(len(lines)))))
    excerpt = parse_excerpt(OpenSet(whole).excerpt(keep))
    assert excerpt.lines == {index: lines[index] for index in keep}


def test_the_whole_set_is_an_excerpt_of_itself() -> None:
    whole = sample_set(5, 3)
    assert OpenSet(whole).excerpt(range(8)) == whole.text
    assert len(parse_excerpt(whole.text).lines) == 8
    heartbeat = signed_set([], [])
    assert parse_excerpt(OpenSet(heartbeat).excerpt([])).lines == {}


def test_an_excerpt_cannot_show_what_its_set_hides_or_lacks() -> None:
    whole = sample_set(5, 3)
    hidden = with_contents(whole, hide_contents(whole))
    for change_set, index in ((hidden, 6), (whole, 8), (whole, -1)):
        with pytest.raises(Refused) as refused:
            OpenSet(change_set).excerpt([index])
        assert refused.value.kind == "not-found"
    assert parse_excerpt(OpenSet(hidden).excerpt([0])).lines.keys() == {0}


def test_every_bit_flip_and_truncation_of_an_excerpt_is_refused() -> None:
    data = OpenSet(sample_set(5, 3)).excerpt([1, 6])
    start = data.index(b"\n") + 1  # the manifest's signature is another test's
    for position in range(start, len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            with pytest.raises(Refused):
                parse_excerpt(bytes(flipped))
    for length in range(len(data)):
        with pytest.raises(Refused):
            parse_excerpt(data[:length])


def test_of_an_excerpt_without_words_every_change_stays_and_the_root() -> None:
    whole = sample_set(5, 3)
    for data in (whole.text, OpenSet(whole).excerpt([1, 6]), OpenSet(whole).excerpt([6])):
        bare, before = parse_excerpt(hide_in_excerpt(data, None)), parse_excerpt(data)
        assert bare.manifest == before.manifest
        assert bare.lines == {place: line for place, line in before.lines.items() if place < 5}
        assert hide_in_excerpt(data, set()) == data


def test_an_excerpt_over_the_limit_is_too_large() -> None:
    with pytest.raises(Refused) as refused:
        parse_excerpt(b"\n" * (SET_MAX_BYTES + 1))
    assert refused.value.kind == "too-large"


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_manifest_are_no_excerpt(rest: bytes) -> None:
    head = sample_set(3, 3).head
    with pytest.raises(Refused):
        parse_excerpt(head[: head.index(b"\n") + 1] + rest)


@settings(max_examples=150)
@given(st.integers(1, 40), st.integers(0, 40), st.data())
def test_hiding_and_filling_in_keep_the_root_of_any_range(before: int, count: int, data: st.DataObject) -> None:
    lines = [b"line %d" % number for number in range(count)]
    first = [leaf_hash(b"change %d" % number) for number in range(before)]
    root = tree_root(first + leaf_hashes(lines))
    whole = read_pieces(lines, before, before + count)
    choices = st.sets(st.integers(before, before + count))
    hidden_here, hidden_there = data.draw(choices), data.draw(choices)
    here = hide_where(whole, lambda piece: piece.start in hidden_here)
    there = hide_where(whole, lambda piece: piece.start in hidden_there)
    for pieces in (here, there):
        again = read_pieces(write_pieces(pieces).splitlines(), before, before + count)
        assert again == pieces
        assert root_of(first, again) == root
    both = hide_where(fill_in(here, there), lambda piece: False)
    assert both == hide_where(fill_in(there, here), lambda piece: False)
    assert both == hide_where(whole, lambda piece: piece.start in hidden_here & hidden_there)


@settings(max_examples=150)
@given(st.integers(1, 70), st.data())
def test_what_is_around_some_leaves_is_hidden_as_if_each_other_line_had_been(count: int, data: st.DataObject) -> None:
    """Also where some lines were hidden before."""
    whole = read_pieces([b"line %d" % number for number in range(count)], 0, count)
    places = st.sets(st.integers(0, count - 1))
    gone = data.draw(places)
    pieces = hide_where(whole, lambda piece: piece.start in gone)
    keep = data.draw(places) - gone
    kept = {piece.start: piece.line for piece in pieces if piece.line is not None and piece.start in keep}
    assert SubtreeRoots(pieces, count).around(kept) == hide_where(pieces, lambda piece: piece.start not in keep)
