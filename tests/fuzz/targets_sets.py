"""Lines, the fold, and change sets on the wire (protocol §2, §3, §9)."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from node.deadlines.outages import Outages
from node.deadlines.tables import Deadlines, deadlines_of_tables
from node.hub.folding import fold_batch, open_batch
from node.store.hub_records import LogLeaf
from node.store.projection_records import Cursor, ProjectionStep
from sync_protocol.change_set import (
    MANIFEST_LINE_MAX_BYTES,
    ChangeSet,
    VerifiedLines,
    content_leaf_indices,
    hidden_leaves,
    hide_contents,
    merge_contents,
    parse_change_set,
    split_parts,
    verify_lines,
)
from sync_protocol.change_types import UnknownData
from sync_protocol.compression import compress_frames, compress_part, decode_body, peek_head
from sync_protocol.erasing import erase_contents
from sync_protocol.errors import Refused
from sync_protocol.hidden_lines import is_hidden_line
from sync_protocol.jws import Jws
from sync_protocol.ledger import FoldedLeaf, Ledger
from sync_protocol.limits import (
    CHANGE_LINE_MAX_BYTES,
    CONTENT_LINE_MAX_BYTES,
    SET_MAX_BYTES,
    SET_MAX_LEAVES,
)
from sync_protocol.line import Change, encode_change, parse_change, parse_content
from sync_protocol.line_columns import parse_changes
from sync_protocol.manifest import sign_manifest
from sync_protocol.merkle import tree_root
from sync_protocol.set_pages import PAGE_MAX_BYTES, PagedSet, format_page, parse_page
from sync_protocol.strict_json import format_object, parse_object
from sync_protocol.values import Digest
from tests.fuzz.target import KIB, Target, must
from tests.fuzz.targets_signed import federation
from tests.protocol.federation_samples import PEKALONGAN
from tests.protocol.line_samples import DATA, line_of
from tests.protocol.log_samples import FixedSigner
from tests.protocol.set_samples import (
    change_line,
    content_line,
    hostile_set,
    sample_lines,
    sample_set,
    signed_set,
)

LOOKED_INTO_MAX = 256 * KIB  # beyond it the cost of reading is looked at, not what may be done afterwards


def _written_change(change: Change) -> bytes:
    """The line of a known type; an unknown type's data is kept as text."""
    if change.known:
        return encode_change(change)
    assert isinstance(change.data, UnknownData)
    plain = parse_object(encode_change(change), where="line", depth_max=9)
    return format_object({**plain, "data": parse_object(change.data.text.encode(), where="data")})


def _change(data: bytes) -> Change:
    """One line: alone and as a column of one, it is the same."""
    (in_columns,) = parse_changes([data])
    try:
        change = parse_change(data)
    except Refused:
        must(in_columns is None, "the columns take what the single reader refuses")
        raise
    must(in_columns == change, "the columns read something else")
    return change


def _lines() -> list[bytes]:
    unknown = line_of("noted").replace(b'"noted"', b'"praised"')
    return [*(line_of(name) for name in DATA), change_line(1), unknown]


def _columns(data: bytes) -> list[Change | None]:
    lines = data.split(b"\n", SET_MAX_LEAVES)
    if len(lines) > SET_MAX_LEAVES:
        raise Refused("too-large", "more lines than a set has; whoever calls this reader says so first")
    changes = parse_changes(lines)
    singly = [_or_none(line) for line in lines]
    must(changes == singly, "columns and single lines differ")
    return changes


def _or_none(line: bytes) -> Change | None:
    try:
        return parse_change(line)
    except Refused:
        return None


def _blocks() -> list[bytes]:
    lines = _lines()
    return [b"\n".join(lines), b"\n".join(line_of("received", label=f"c{n}") for n in range(9)), b"\n".join(lines[:3])]


def _signed_leaf(data: bytes) -> tuple[Jws, VerifiedLines, bytes]:
    """These change lines as the next set of an agency, well signed whatever they say; and its head."""
    at = federation()
    head = hostile_set(data.split(b"\n"), [])
    lines = verify_lines(parse_change_set(*split_parts(head)))
    count, root = len(lines.change_lines), Digest(tree_root(lines.change_leaves))
    manifest = replace(at.manifest(PEKALONGAN).manifest, root=root, changes=count, size=count)
    return sign_manifest(manifest, FixedSigner(PEKALONGAN)).jws, lines, head


def _folded(data: bytes) -> FoldedLeaf:
    """Whatever a well signed set says, the fold ends with a verdict for each line."""
    at = federation()
    jws, lines, _ = _signed_leaf(data)
    folded = Ledger(at.roster, {}, size=at.size).apply(at.size, jws, lines.change_lines, lines.change_leaves)
    must(len(folded.verdicts) == len(lines.change_lines), "a line without a verdict")
    return folded


@lru_cache(maxsize=1)
def _deadlines() -> Deadlines:
    return deadlines_of_tables()


def _projected(data: bytes) -> ProjectionStep:
    """The same through the hub's own folding, deadlines and rows included: both come to one state hash."""
    at = federation()
    jws, _, head = _signed_leaf(data)
    batch = open_batch([LogLeaf(at.size, jws.text.encode(), compress_part(head))])
    step = fold_batch(batch, {}, at.roster, Cursor(at.size), {}, 0, _deadlines(), Outages())
    must(step.cursor.state_hash == _folded(data).state_hash, "two folds of one set differ")
    return step


def _set(change_set: ChangeSet) -> ChangeSet:
    """A set whose lines are true; what is done with it afterwards keeps its root."""
    lines = verify_lines(change_set)
    if len(change_set.text) > LOOKED_INTO_MAX:
        return change_set
    held = ChangeSet(change_set.manifest, change_set.head, hide_contents(change_set))
    must(verify_lines(held).hidden_leaves >= lines.hidden_leaves, "hiding shows more")
    must(merge_contents(held, change_set) == change_set.contents, "what was hidden is not filled in")
    contents = change_set.manifest.manifest.size - change_set.manifest.manifest.changes
    shown = sum(not is_hidden_line(line) for line in lines.content_lines)
    must(shown + hidden_leaves(change_set) == contents, "leaves are lost")
    _erase(change_set, lines)
    return change_set


def _erase(change_set: ChangeSet, lines: VerifiedLines) -> None:
    try:
        content_leaf_indices(lines.change_lines, change_set.manifest.manifest.size)
    except Refused:
        return
    erased = erase_contents(change_set, [(range(len(lines.change_lines)), lines.content_leaves)])
    verify_lines(ChangeSet(change_set.manifest, change_set.head, erased.contents))


def _text_of_a_set(data: bytes) -> ChangeSet:
    return _set(parse_change_set(*split_parts(data)))


def _sets() -> list[bytes]:
    whole = sample_set(5, 3)
    return [whole.text, whole.head + hide_contents(whole), sample_set(1, 0).text, signed_set([], []).text]


def _contents(data: bytes) -> ChangeSet:
    """Content lines that a hostile key signed, whatever they hold."""
    head, _, contents = data.partition(b"\n\n")
    text = hostile_set(head.split(b"\n"), contents.split(b"\n"))
    return _set(parse_change_set(*split_parts(text)))


def _body(encoding: str) -> Callable[[bytes], ChangeSet]:
    def read(data: bytes) -> ChangeSet:
        parts = decode_body(data, encoding)
        return _set(parse_change_set(parts.head, parts.contents))

    return read


def _zstd_bodies() -> list[bytes]:
    return [b"".join(compress_frames(*split_parts(text))) for text in _sets()]


def _gzip_bodies() -> list[bytes]:
    return [gzip.compress(text, mtime=0) for text in _sets()]


@lru_cache(maxsize=1)
def _largest() -> tuple[bytes, ...]:
    """Sets at their limits, well signed: many short lines, few long ones, and letters of four bytes in each."""
    room = SET_MAX_BYTES - MANIFEST_LINE_MAX_BYTES
    short = [b"x" * (room // 20_000 - 1)] * 10_000
    letters = "\U0001f600".encode() * (CONTENT_LINE_MAX_BYTES // 4 - 1)
    long = [letters] * (room // (len(letters) + 3))
    return hostile_set(short, short), hostile_set([b"x"] * len(long), long), hostile_set([b"x"] * 20_000, [])


def _largest_in_zstd() -> list[bytes]:
    return [*_bombs(), *(b"".join(compress_frames(*split_parts(text))) for text in _largest())]


def _largest_in_gzip() -> list[bytes]:
    return [*_gzip_bombs(), *(gzip.compress(text, 1, mtime=0) for text in _largest())]


def _bombs() -> list[bytes]:
    """What a few bytes on the wire may become, and the largest legal set."""
    zeros = bytes(SET_MAX_BYTES + 1)
    head = sample_set().head
    return [
        compress_part(zeros), compress_part(head + zeros), compress_part(head) + compress_part(zeros),
        compress_part(head + b"\n" * (SET_MAX_BYTES - len(head))), b"\x28\xb5\x2f\xfd" * 100_000,
    ]  # fmt: skip


def _gzip_bombs() -> list[bytes]:
    return [
        gzip.compress(sample_set().head + bytes(SET_MAX_BYTES), mtime=0),
        gzip.compress(b"\n" * SET_MAX_BYTES, mtime=0),
    ]


def _peek(encoding: str) -> Callable[[bytes], bytes]:
    def read(data: bytes) -> bytes:
        shown = peek_head(data, encoding, MANIFEST_LINE_MAX_BYTES)
        must(len(shown) <= MANIFEST_LINE_MAX_BYTES, "it shows more than was asked for")
        return shown

    return read


def _pages() -> Sequence[bytes]:
    """Of no set, of one, of two."""
    sets = [PagedSet(b"receipt %d" % number, body) for number, body in enumerate(_zstd_bodies()[:2])]
    return [format_page(sets[:count]) for count in range(len(sets) + 1)]


def targets() -> Sequence[Target]:
    """All of this module."""
    return (
        Target("change-line", _change, _lines, _written_change, CHANGE_LINE_MAX_BYTES),
        # 20,000 lines are as many documents, each refused with its reason; the fold runs beside everything, in steps.
        Target("columns", _columns, _blocks, None, 64 * KIB, costs=8),
        Target("fold", _folded, _blocks, None, 64 * KIB, costs=4),
        Target("projection", _projected, _blocks, None, 64 * KIB, costs=8),
        Target("content-line", parse_content, lambda: [content_line(1), content_line(2)], None, CONTENT_LINE_MAX_BYTES),
        Target("change-set", _text_of_a_set, _sets, lambda v: v.text, SET_MAX_BYTES),
        Target(
            "signed-lines",
            _contents,
            lambda: [b"\n".join(sample_lines(2, 2)[0]) + b"\n\n" + b"\n".join(sample_lines(2, 2)[1])],
            None,
            64 * KIB,
        ),
        Target("body-zstd", _body("zstd"), _zstd_bodies, None, SET_MAX_BYTES, _largest_in_zstd),
        Target("set-page", parse_page, _pages, format_page, PAGE_MAX_BYTES),
        Target("body-gzip", _body("gzip"), _gzip_bodies, None, SET_MAX_BYTES, _largest_in_gzip),
        Target("body-identity", _body("identity"), _sets, lambda v: v.text, SET_MAX_BYTES, _largest),
        Target("peek-zstd", _peek("zstd"), _zstd_bodies, None, SET_MAX_BYTES, _bombs),
        Target("peek-gzip", _peek("gzip"), _gzip_bodies, None, SET_MAX_BYTES, _gzip_bombs),
    )
