"""Change sets: drafted, signed, taken apart, and found true or refused (protocol §3, §8 steps 10 and 11)."""

from __future__ import annotations

import gc
import time
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_protocol.change_set import (
    ChangeSet,
    VerifiedLines,
    content_leaf_indices,
    draft_change_set,
    parse_change_set,
    split_parts,
    verify_lines,
)
from sync_protocol.compression import compress_frames, decode_body
from sync_protocol.errors import Refused
from sync_protocol.jws import verify_jws
from sync_protocol.limits import CHANGE_LINE_MAX_BYTES, CONTENT_LINE_MAX_BYTES, SET_MAX_BYTES, SET_MAX_LEAVES
from sync_protocol.merkle import EMPTY_ROOT, leaf_hash
from tests.protocol.log_samples import naive_root
from tests.protocol.set_samples import (
    SIGNER,
    change_line,
    content_line,
    hostile_set,
    sample_lines,
    sample_set,
    signed_set,
)

HIDDEN_FORM = b'{"hidden":"' + b"A" * 43 + b'","leaves":1}'


def take_in(head: bytes, contents: bytes) -> VerifiedLines:
    """Everything that intake does with the bytes of a set: parse, signature, lines."""
    change_set = parse_change_set(head, contents)
    verify_jws(change_set.manifest.jws, SIGNER.public_key)
    return verify_lines(change_set)


def take_in_body(body: bytes, encoding: str) -> VerifiedLines:
    parts = decode_body(body, encoding)
    return take_in(parts.head, parts.contents)


def refusal_of(change_set: ChangeSet) -> Refused:
    with pytest.raises(Refused) as refused:
        verify_lines(parse_change_set(change_set.head, change_set.contents))
    return refused.value


def replaced(change_set: ChangeSet, head: bytes | None = None, contents: bytes | None = None) -> ChangeSet:
    return ChangeSet(
        change_set.manifest,
        change_set.head if head is None else head,
        change_set.contents if contents is None else contents,
    )


def signed_over_literals(changes: list[bytes], contents: list[bytes]) -> ChangeSet:
    """What a hostile signer can do: any lines, rightly signed."""
    text = hostile_set(changes, contents)
    content_bytes = sum(len(line) + 1 for line in contents)
    return parse_change_set(text[: len(text) - content_bytes], text[len(text) - content_bytes :])


def test_a_set_goes_the_whole_way_from_lines_to_lines() -> None:
    changes, contents = sample_lines(5, 3)
    change_set = signed_set(changes, contents)
    body = b"".join(compress_frames(change_set.head, change_set.contents))
    lines = take_in_body(body, "zstd")
    assert (lines.change_lines, lines.content_lines, lines.hidden_leaves) == (changes, contents, 0)
    assert lines.change_leaves == [leaf_hash(line) for line in changes]
    assert lines.content_leaves == [leaf_hash(line) for line in contents]


def test_the_form_is_exactly_manifest_then_changes_then_contents() -> None:
    changes, contents = sample_lines(2, 1)
    change_set = signed_set(changes, contents)
    manifest_line = b'{"manifest":"' + change_set.manifest.jws.text.encode() + b'"}'
    assert change_set.text == b"\n".join([manifest_line, *changes, *contents, b""])
    assert change_set.change_block == b"\n".join([*changes, b""])


@pytest.mark.parametrize("changes", [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 33, 100])
def test_the_root_is_that_of_rfc_6962_over_changes_then_contents(changes: int) -> None:
    for contents in sorted({0, changes // 2, changes}):
        lines = sample_lines(changes, contents)
        draft = draft_change_set(*lines)
        assert draft.root == naive_root([leaf_hash(line) for line in lines[0] + lines[1]])
        assert (draft.changes, draft.size) == (changes, changes + contents)
        take_in(*split_parts(signed_set(*lines).text))


def test_a_heartbeat_has_no_lines_and_the_root_of_the_empty_tree() -> None:
    heartbeat = signed_set([], [])
    assert heartbeat.manifest.manifest.is_heartbeat
    assert heartbeat.manifest.manifest.root == EMPTY_ROOT
    assert take_in(heartbeat.head, heartbeat.contents).change_lines == []


def test_drafting_and_signing_are_deterministic() -> None:
    assert signed_set(*sample_lines(3, 2)).text == signed_set(*sample_lines(3, 2)).text


def test_parsing_reads_the_manifest_alone() -> None:
    parsed = parse_change_set(sample_set().head + b"anything at all", b"\xff")
    assert parsed.manifest == sample_set().manifest


@pytest.mark.parametrize(
    ("changes", "contents"),
    [
        ([b""], []),
        ([b"with blank "], []),
        ([b"a\nb"], []),
        ([b"a\r"], []),
        ([b"tab\t"], []),
        ([b"\x00"], []),
        ([b"\x7f"], []),
        (["é".encode()], []),
        ([HIDDEN_FORM], []),
        ([b"a"], [HIDDEN_FORM]),
        ([b"a"], [b""]),
        ([b"a"], [b"x\ny"]),
        ([b"a"], [b"x\r"]),
        ([b"a"], [b"\xff"]),
        ([b"a"], [b"\xed\xa0\x80"]),
        ([], [b"content without change"]),
        ([b"a"], [b"b", b"c"]),
    ],
)
def test_a_builder_refuses_to_sign_lines_that_no_set_may_hold(changes: list[bytes], contents: list[bytes]) -> None:
    with pytest.raises(Refused) as refused:
        draft_change_set(changes, contents)
    assert refused.value.kind == "malformed"


@pytest.mark.parametrize(
    ("changes", "contents"),
    [
        ([b"a" * (CHANGE_LINE_MAX_BYTES + 1)], []),
        ([b"a"], [b"a" * (CONTENT_LINE_MAX_BYTES + 1)]),
        ([b"a"] * (SET_MAX_LEAVES + 1), []),
        ([b"a"] * 600, [b"a" * CONTENT_LINE_MAX_BYTES] * 600),
    ],
    ids=["change line", "content line", "leaves", "bytes"],
)
def test_a_builder_refuses_to_sign_more_than_the_limits(changes: list[bytes], contents: list[bytes]) -> None:
    with pytest.raises(Refused) as refused:
        draft_change_set(changes, contents)
    assert refused.value.kind == "too-large"


def test_lines_of_exactly_the_limits_go_in() -> None:
    change_set = signed_set([b"a" * CHANGE_LINE_MAX_BYTES] * 20, [b"\xc3\xa9" * (CONTENT_LINE_MAX_BYTES // 2)] * 20)
    assert take_in(change_set.head, change_set.contents).hidden_leaves == 0


def test_a_full_set_of_20000_leaves_goes_in() -> None:
    change_set = signed_set([b"a"] * 10_000, [b"b"] * 10_000)
    assert len(take_in(*split_parts(change_set.text)).content_lines) == 10_000


def test_what_is_no_json_at_all_goes_in_because_meaning_is_not_judged_here() -> None:
    change_set = signed_set([b"poison", b"{{{{", b'{"type":"launch"}'], [b"poison too \x00 \x7f"])
    assert take_in(change_set.head, change_set.contents).change_lines[0] == b"poison"


def test_a_line_that_only_begins_like_a_hidden_one_is_literal() -> None:
    nearly = [
        HIDDEN_FORM[:-1] + b" }",
        HIDDEN_FORM.replace(b'"leaves":1', b'"leaves":01'),
        HIDDEN_FORM.replace(b'"leaves":1', b'"leaves":123456'),
        HIDDEN_FORM.replace(b"A" * 43, b"A" * 42 + b"B"),
        HIDDEN_FORM.replace(b"A" * 43, b"A" * 42),
        b'{"hidden":"yes","salt":"x"}',
    ]
    change_set = signed_set([change_line(number) for number in range(len(nearly))], nearly)
    lines = take_in(change_set.head, change_set.contents)
    assert (lines.content_lines, lines.hidden_leaves) == (nearly, 0)


def test_a_hostile_signer_cannot_bring_in_a_literal_line_of_hidden_form() -> None:
    for changes, contents in (([b"a", HIDDEN_FORM], []), ([HIDDEN_FORM], [b"b"])):
        with pytest.raises(Refused) as refused:
            verify_lines(signed_over_literals(changes, contents))
        assert refused.value.kind == "malformed"
    with pytest.raises(Refused) as refused:
        verify_lines(signed_over_literals([b"a"], [HIDDEN_FORM]))
    assert refused.value.kind == "root-mismatch"


@pytest.mark.parametrize("bad", [b"", b"two words", b"\x7f", b"\xc3\xa9", b"\x00", b"x\r", b"\ttab"])
def test_a_hostile_signer_cannot_bring_in_other_bytes_in_a_change_line(bad: bytes) -> None:
    with pytest.raises(Refused) as refused:
        verify_lines(signed_over_literals([b"good", bad], []))
    assert refused.value.kind == "malformed"


@pytest.mark.parametrize("bad", [b"", b"x\r", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_a_hostile_signer_cannot_bring_in_a_content_line_with_cr_or_without_utf_8(bad: bytes) -> None:
    with pytest.raises(Refused) as refused:
        verify_lines(signed_over_literals([b"a", b"b"], [bad, b"\xbf"]))
    assert refused.value.kind == "malformed"


def test_a_hostile_signer_cannot_bring_in_longer_lines() -> None:
    for changes, contents in (
        ([b"a" * (CHANGE_LINE_MAX_BYTES + 1)], []),
        ([b"a"], [b"b" * (CONTENT_LINE_MAX_BYTES + 1)]),
    ):
        with pytest.raises(Refused) as refused:
            verify_lines(signed_over_literals(changes, contents))
        assert refused.value.kind == "too-large"


def structural_damage() -> dict[str, ChangeSet]:
    """One set for each way of damaging the form; none of them needs the key."""
    whole = sample_set(4, 3)
    head, contents = whole.head, whole.contents
    first_change = head.index(b"\n") + 1
    lines = head.splitlines(keepends=True)
    content_lines = contents.splitlines(keepends=True)
    return {
        "no final LF after the changes": replaced(whole, head[:-1]),
        "no final LF after the contents": replaced(whole, contents=contents[:-1]),
        "a change missing": replaced(whole, b"".join(lines[:-1])),
        "a change twice": replaced(whole, head + lines[-1]),
        "no changes": replaced(whole, head[:first_change]),
        "an empty line among the changes": replaced(whole, head + b"\n"),
        "a content missing": replaced(whole, contents=b"".join(content_lines[:-1])),
        "a content twice": replaced(whole, contents=contents + content_lines[0]),
        "no contents": replaced(whole, contents=b""),
        "an empty line among the contents": replaced(whole, contents=contents + b"\n"),
        "CR LF among the changes": replaced(whole, head.replace(b"\n", b"\r\n").replace(b"\r\n", b"\n", 1)),
        "CR LF among the contents": replaced(whole, contents=contents.replace(b"\n", b"\r\n")),
        "a content among the changes": replaced(whole, head + content_lines[0], b"".join(content_lines[1:])),
        "a change among the contents": replaced(whole, b"".join(lines[:-1]), lines[-1] + contents),
    }


@pytest.mark.parametrize("name", structural_damage())
def test_a_set_damaged_in_form_is_malformed(name: str) -> None:
    assert refusal_of(structural_damage()[name]).kind == "malformed"


def test_lines_in_another_order_have_another_root() -> None:
    whole = sample_set(4, 3)
    manifest_line, *changes = whole.head.splitlines(keepends=True)
    contents = whole.contents.splitlines(keepends=True)
    swapped_changes = manifest_line + b"".join([changes[1], changes[0], *changes[2:]])
    assert refusal_of(replaced(whole, swapped_changes)).kind == "root-mismatch"
    assert refusal_of(replaced(whole, contents=b"".join(reversed(contents)))).kind == "root-mismatch"


def test_lines_of_another_signed_set_have_another_root() -> None:
    one, other = signed_set([b"a"], [b"x"]), signed_set([b"a"], [b"y"])
    assert refusal_of(replaced(one, contents=other.contents)).kind == "root-mismatch"


@pytest.mark.parametrize(
    "first_line",
    [
        b"",
        b"\n",
        b"{}\n",
        b'{"manifest":""}\n',
        b'{"manifest": "x"}\n',
        b'{"manifest":"x","more":1}\n',
        b'{"manifest":"' + b"A" * 5000 + b'"}\n',
    ],
)
def test_without_a_manifest_line_it_is_no_set(first_line: bytes) -> None:
    with pytest.raises(Refused) as refused:
        parse_change_set(first_line + sample_set().change_block, b"")
    assert refused.value.kind == "malformed"
    with pytest.raises(Refused):
        split_parts(first_line + sample_set().change_block)


@pytest.mark.parametrize(
    "changed", [b'{ "manifest":"', b'{"Manifest":"', b'{"manifest" :"', b'\xef\xbb\xbf{"manifest":"']
)
def test_the_manifest_line_has_one_spelling(changed: bytes) -> None:
    head = sample_set().head.replace(b'{"manifest":"', changed)
    with pytest.raises(Refused):
        parse_change_set(head, sample_set().contents)


def test_more_bytes_than_a_set_may_have_are_too_large_before_anything_is_read() -> None:
    for attempt in (
        lambda: parse_change_set(b"\n" * SET_MAX_BYTES, b"\n"),
        lambda: split_parts(b"\n" * (SET_MAX_BYTES + 1)),
    ):
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.kind == "too-large"


def test_millions_of_empty_lines_are_refused_without_splitting_them() -> None:
    whole = sample_set()
    flood = b"\n" * (SET_MAX_BYTES - len(whole.text))
    for attempt in (replaced(whole, whole.head + flood), replaced(whole, contents=flood)):
        began = time.process_time()
        assert refusal_of(attempt).kind == "malformed"
        assert time.process_time() - began < 1


def outcome(body: bytes, encoding: str) -> VerifiedLines | None:
    """The lines that intake would take from the body, or None if it refuses. Any other error fails the test."""
    try:
        return take_in_body(body, encoding)
    except Refused:
        return None


def test_every_single_bit_flip_of_an_uncompressed_set_is_refused() -> None:
    text = sample_set().text
    for position in range(len(text)):
        for bit in range(8):
            flipped = bytearray(text)
            flipped[position] ^= 1 << bit
            assert outcome(bytes(flipped), "identity") is None, (position, bit)


def test_every_truncation_of_an_uncompressed_set_is_refused() -> None:
    text = sample_set().text
    for length in range(len(text)):
        assert outcome(text[:length], "identity") is None, length


def test_every_single_bit_flip_on_the_wire_is_refused_or_changes_nothing() -> None:
    whole = sample_set()
    sound = take_in(whole.head, whole.contents)
    body = b"".join(compress_frames(whole.head, whole.contents))
    for position in range(len(body)):
        for bit in range(8):
            flipped = bytearray(body)
            flipped[position] ^= 1 << bit
            assert outcome(bytes(flipped), "zstd") in (None, sound), (position, bit)


def test_every_truncation_on_the_wire_is_refused() -> None:
    body = b"".join(compress_frames(sample_set().head, sample_set().contents))
    for length in range(len(body)):
        assert outcome(body[:length], "zstd") is None, length


def test_every_line_left_out_is_refused() -> None:
    lines = sample_set(5, 4).text.splitlines(keepends=True)
    for number in range(len(lines)):
        assert outcome(b"".join(lines[:number] + lines[number + 1 :]), "identity") is None, number


LINE = st.binary(min_size=1, max_size=40).map(lambda raw: bytes(0x21 + byte % 0x5E for byte in raw))
TEXT_LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(max_examples=60)
@given(st.lists(LINE, max_size=20), st.lists(TEXT_LINE.map(str.encode), max_size=20))
def test_any_legal_lines_come_back_as_they_were(changes: list[bytes], contents: list[bytes]) -> None:
    contents = contents[: len(changes)]
    change_set = signed_set(changes, contents)
    lines = take_in_body(b"".join(compress_frames(change_set.head, change_set.contents)), "zstd")
    assert (lines.change_lines, lines.content_lines) == (changes, contents)


@settings(max_examples=200)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_behind_a_true_manifest_are_refused_by_our_own_error(head: bytes, contents: bytes) -> None:
    whole = sample_set()
    first_line = whole.head[: whole.head.index(b"\n") + 1]
    for attempt in ((first_line + head, contents), (whole.head, contents), (first_line + head, whole.contents)):
        with pytest.raises(Refused):
            take_in(*attempt)


def test_each_content_line_belongs_to_the_next_change_that_announces_one() -> None:
    changes = [change_line(0, content=False), change_line(1), change_line(2, content=False), change_line(3)]
    assert content_leaf_indices(changes, 6) == [None, 4, None, 5]
    assert content_leaf_indices([], 0) == []
    for size in (4, 5, 7):
        with pytest.raises(Refused):
            content_leaf_indices(changes, size)


def test_a_thousand_changes_cost_a_small_multiple_of_hashing_them() -> None:
    """A ratio of processor time, as machines are shared: two leaves and two nodes a change are at least four hashes."""
    change_set = signed_set(
        [change_line(number) for number in range(1000)], [content_line(number) for number in range(1000)]
    )
    lines = verify_lines(change_set).change_lines * 4
    ratios = []
    gc.disable()
    for _ in range(7):
        began = time.process_time()
        for line in lines:
            sha256(line).digest()
        hashed = time.process_time()
        verify_lines(change_set)
        ratios.append((time.process_time() - hashed) / (hashed - began))
    gc.enable()
    assert min(ratios) < 3
