"""Which file a change means, and which bytes of it a body holds (protocol §13), by the vectors and beyond them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sync_protocol.attachment import ContentRange, announcements, is_attached, named_file
from sync_protocol.change_set import ChangeSet, hide_contents, parse_change_set, split_parts
from sync_protocol.errors import Refused
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import Digest
from tests.protocol.set_samples import change_line, content_line, hostile_set, sample_set, signed_set
from tests.vectors.make_files import FILE, SUBJECTS, all_vectors, attached_line, file_line
from tests.vectors.vector_files import Vector, load

Members = Mapping[str, Any]
VECTORS = load(*SUBJECTS)


def _parse_range(given: Members) -> Members:
    found = ContentRange.parse(given["text"])
    assert found.format() == given["text"]
    return found._asdict()


def _announcements(given: Members) -> Members:
    change_set = parse_change_set(*split_parts(given["set"].encode()))
    found = [
        {"complaint": one.complaint, "position": one.position, "bytes": one.size, "media_type": one.media_type}
        for one in announcements(change_set, Digest.parse(given["file"]))
    ]
    return {"found": found}


OPERATIONS: dict[str, Callable[[Members], Members]] = {
    "parse-content-range": _parse_range,
    "announcements": _announcements,
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vector(vector: Vector) -> None:
    try:
        outcome: Members = {"accept": OPERATIONS[vector.operation](vector.given)}
    except Refused as refused:
        outcome = {"refuse": refused.kind}
    assert outcome == vector.expect


def test_the_vectors_are_the_ones_that_are_made() -> None:
    made = all_vectors()
    assert {vector.path: vector.text() for vector in made} == {
        vector.path: vector.path.read_text() for vector in VECTORS
    }
    assert len(made) > 12


def test_a_line_that_is_hidden_announces_nothing() -> None:
    shown = signed_set([change_line(0), attached_line(1)], [content_line(0), file_line(1)])
    (found,) = announcements(shown, FILE)
    assert found.leaf == leaf_hash(file_line(1))
    hidden = ChangeSet(shown.manifest, shown.head, hide_contents(shown, {found.leaf}))
    assert list(announcements(hidden, FILE)) == []
    others = ChangeSet(shown.manifest, shown.head, hide_contents(shown, {leaf_hash(content_line(0))}))
    assert list(announcements(others, FILE)) == [found]


def test_where_order_pairs_nothing_a_line_belongs_to_the_change_that_it_names() -> None:
    def parsed(changes: list[bytes], contents: list[bytes]) -> ChangeSet:
        return parse_change_set(*split_parts(hostile_set(changes, contents)))

    more = parsed([attached_line(0, size=1), attached_line(1)], [file_line(1)])  # one line is missing
    (found,) = announcements(more, FILE)
    assert (found.position, found.size) == (1, 12)
    assert list(announcements(parsed([attached_line(0), attached_line(2)], [file_line(1)]), FILE)) == []
    assert list(announcements(parsed([attached_line(1), attached_line(1)], [file_line(1)]), FILE)) == []


@pytest.mark.parametrize(
    "line", [b"", b"{}", b'{"file":1}', b'{"file":"' + b"A" * 43 + b'"}', b"\xff", file_line(1)[:-1]]
)
def test_a_content_line_that_cannot_be_read_names_no_file(line: bytes) -> None:
    assert named_file(line) is None
    contents = [line] if line else [b"x"]
    hostile = parse_change_set(*split_parts(hostile_set([attached_line(1)], contents)))
    assert list(announcements(hostile, FILE)) == []


def test_what_names_a_file_is_told_by_the_end_of_its_line() -> None:
    assert is_attached(attached_line(1))
    assert not is_attached(change_line(1))
    assert not is_attached(attached_line(1, type_="noted"))
    assert list(announcements(sample_set(), FILE)) == []
