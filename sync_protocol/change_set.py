"""Change sets: drafted and signed by a node, parsed and verified by everybody else (protocol §3, §8 steps 10 and 11).

A set lies in two parts, *head* (manifest line and change lines) and *contents* (content lines), each line with its
LF. Both are kept as they came; nothing here decodes a line. Parsing reads the manifest alone and is cheap;
`verify_lines` is what makes lines true.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.hidden_lines import (
    count_hidden_leaves,
    fill_in,
    has_hidden_line,
    hide_where,
    read_pieces,
    root_of,
    write_pieces,
)
from sync_protocol.limits import JWS_MAX_BYTES, SET_MAX_BYTES, SET_MAX_LEAVES
from sync_protocol.line_blocks import check_change_block, check_content_block, split_block
from sync_protocol.manifest import Manifest, SignedManifest, parse_manifest, sign_manifest
from sync_protocol.merkle import leaf_hashes, tree_root
from sync_protocol.values import AgencyId, Digest

MANIFEST_PREFIX: Final = b'{"manifest":"'
MANIFEST_SUFFIX: Final = b'"}\n'
# The longest JWS and what stands around it on the line.
MANIFEST_LINE_MAX_BYTES: Final = len(MANIFEST_PREFIX) + JWS_MAX_BYTES + len(MANIFEST_SUFFIX)
# Canonical change lines name their members in one order: these bytes stand in exactly the lines that announce content.
HAS_CONTENT: Final = b',"content":1,"data":'


@dataclass(frozen=True, slots=True)
class Draft:
    """Lines checked and hashed, ready to be signed. Leaf hashes are parallel to the lines, `size` counts both kinds."""

    changes: int
    size: int
    root: Digest
    change_block: bytes = field(repr=False)
    content_block: bytes = field(repr=False)
    change_leaves: list[bytes] = field(repr=False)
    content_leaves: list[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A set as it came. Only its manifest is parsed: neither signature nor lines are verified yet."""

    manifest: SignedManifest
    head: bytes = field(repr=False)
    contents: bytes = field(repr=False)

    @property
    def change_block(self) -> bytes:
        """The change lines, each with its LF."""
        return self.head[self.head.index(b"\n") + 1 :]

    @property
    def text(self) -> bytes:
        """The whole set as one document."""
        return self.head + self.contents


@dataclass(frozen=True, slots=True)
class VerifiedLines:
    """The lines, without LF, of a set whose root they were found to have.

    `content_lines` holds hidden lines as they stand; `content_leaves` is parallel to it, with the root of the subtree
    for a hidden line. `hidden_leaves` counts leaves, not lines.
    """

    change_lines: list[bytes] = field(repr=False)
    change_leaves: list[bytes] = field(repr=False)
    content_lines: list[bytes] = field(repr=False)
    content_leaves: list[bytes] = field(repr=False)
    hidden_leaves: int


def draft_change_set(change_lines: Sequence[bytes], content_lines: Sequence[bytes]) -> Draft:
    """Check and hash lines (without LF) that are to be signed as one set.

    Raises Refused: malformed for bytes that no set may hold and for a line in the form of a hidden line, too-large
    over a limit.
    """
    size = len(change_lines) + len(content_lines)
    if size > SET_MAX_LEAVES:
        raise too_large("size", SET_MAX_LEAVES, "leaves")
    if len(content_lines) > len(change_lines):
        raise malformed("more content lines than changes", "size")
    change_block = b"\n".join([*change_lines, b""])
    content_block = b"\n".join([*content_lines, b""])
    if MANIFEST_LINE_MAX_BYTES + len(change_block) + len(content_block) > SET_MAX_BYTES:
        raise too_large("change set", SET_MAX_BYTES)
    checked_changes = check_change_block(change_block, len(change_lines))
    checked_contents = check_content_block(content_block, len(content_lines))
    if has_hidden_line(content_block):
        raise malformed("a line to be signed has the form of a hidden line", "content lines")
    change_leaves = leaf_hashes(checked_changes)
    content_leaves = leaf_hashes(checked_contents)
    root = Digest(tree_root(change_leaves + content_leaves))
    return Draft(len(change_lines), size, root, change_block, content_block, change_leaves, content_leaves)


def build_change_set(
    draft: Draft,
    signer: Signer,
    *,
    agency: AgencyId,
    epoch: int,
    seq: int,
    prev: Digest,
    at: int,
    seen_size: int,
    seen_root: Digest,
    seen_sig: bytes,
) -> ChangeSet:
    """Sign a draft. `at` is in milliseconds since 1970; an empty draft makes a heartbeat. Raises Refused."""
    manifest = Manifest(
        agency=agency,
        epoch=epoch,
        seq=seq,
        prev=prev,
        root=draft.root,
        changes=draft.changes,
        size=draft.size,
        at=at,
        seen_size=seen_size,
        seen_root=seen_root,
        seen_sig=seen_sig,
    )
    signed = sign_manifest(manifest, signer)
    line = format_manifest_line(signed.jws.text.encode("ascii"))
    return ChangeSet(signed, line + draft.change_block, draft.content_block)


def parse_change_set(head: bytes, contents: bytes) -> ChangeSet:
    """The set in two parts; reads the manifest only. Raises Refused (too-large, malformed, unsupported-version)."""
    if len(head) + len(contents) > SET_MAX_BYTES:
        raise too_large("change set", SET_MAX_BYTES)
    return ChangeSet(parse_manifest_line(head), head, contents)


def split_parts(text: bytes) -> tuple[bytes, bytes]:
    """Head and contents of a set that came as one document. Raises Refused as `parse_change_set` does."""
    if len(text) > SET_MAX_BYTES:
        raise too_large("change set", SET_MAX_BYTES)
    changes = parse_manifest_line(text).manifest.changes
    lines = text.split(b"\n", changes + 1)
    if len(lines) < changes + 2:
        raise malformed("fewer change lines than the manifest says", "change lines")
    end = len(text) - len(lines[-1])
    return text[:end], text[end:]


def verify_lines(change_set: ChangeSet) -> VerifiedLines:
    """That the lines are the ones that the manifest was signed over (protocol §8, steps 10 and 11).

    Costs about two hashes a line and no decoding. Raises Refused: malformed, too-large, root-mismatch.
    """
    manifest = change_set.manifest.manifest
    change_lines = check_change_block(change_set.change_block, manifest.changes)
    content_lines = check_content_block(change_set.contents, manifest.size - manifest.changes)
    change_leaves = leaf_hashes(change_lines)
    if has_hidden_line(change_set.contents):
        pieces = read_pieces(content_lines, manifest.changes, manifest.size)
        content_leaves = [piece.root for piece in pieces]
        hidden_leaves = sum(piece.leaves for piece in pieces if piece.line is None)
        root = root_of(change_leaves, pieces)
    else:
        if len(content_lines) != manifest.size - manifest.changes:
            raise malformed("fewer content lines than the manifest says", "content lines")
        content_leaves = leaf_hashes(content_lines)
        hidden_leaves = 0
        root = tree_root(change_leaves + content_leaves)
    if root != manifest.root:
        raise Refused("root-mismatch", "the lines are not the ones that were signed", where="root")
    return VerifiedLines(change_lines, change_leaves, content_lines, content_leaves, hidden_leaves)


def hide_contents(change_set: ChangeSet, leaves: Collection[bytes] | None = None) -> bytes:
    """The contents part of a verified set with the given content leaves

    hashes; None: all) hidden, in the fewest lines.
    """
    manifest = change_set.manifest.manifest
    pieces = read_pieces(split_block(change_set.contents), manifest.changes, manifest.size)
    return write_pieces(hide_where(pieces, lambda piece: leaves is None or piece.root in leaves))


def merge_contents(held: ChangeSet, shown: ChangeSet, erased: Collection[bytes] = ()) -> bytes:
    """The contents part of a verified set, filled in with what another verified copy of it shows (protocol §7.2).

    Lines whose leaf hash is in `erased` stay, or become, hidden. Raises Refused(root-mismatch) if the two are not one
    set.
    """
    manifest = held.manifest.manifest
    bounds = manifest.changes, manifest.size
    pieces = fill_in(
        read_pieces(split_block(held.contents), *bounds), read_pieces(split_block(shown.contents), *bounds)
    )
    merged = write_pieces(hide_where(pieces, lambda piece: piece.root in erased))
    verify_lines(ChangeSet(held.manifest, held.head, merged))
    return merged


def hidden_leaves(change_set: ChangeSet) -> int:
    """How many leaves of a verified set are hidden in this copy."""
    return count_hidden_leaves(change_set.contents)


def content_leaf_indices(change_lines: Sequence[bytes], size: int) -> list[int | None]:
    """For each change line the leaf index of its content line, or None.

    Raises Refused(malformed) if the set does not have one content line for each change that announces one.
    """
    following = iter(range(len(change_lines), size))
    indices = [next(following, size) if HAS_CONTENT in line else None for line in change_lines]
    if size in indices or next(following, None) is not None:
        raise malformed("content lines and the changes that announce them differ in number", "content lines")
    return indices


def format_manifest_line(entry: bytes) -> bytes:
    """The first line of a set, with its LF, of the manifest's JWS: what the log's entry is."""
    return MANIFEST_PREFIX + entry + MANIFEST_SUFFIX


def parse_manifest_line(head: bytes) -> SignedManifest:
    """The manifest in the first line of a set or an excerpt.

    Raises Refused (malformed, too-large, unsupported-version).
    """
    end = head.find(b"\n", 0, MANIFEST_LINE_MAX_BYTES)
    line = head[: end + 1]
    if not line.startswith(MANIFEST_PREFIX) or not line.endswith(MANIFEST_SUFFIX):
        raise malformed("does not begin with a manifest line", "manifest")
    return parse_manifest(line[len(MANIFEST_PREFIX) : -len(MANIFEST_SUFFIX)])
