"""Excerpts: some lines of a signed set, and proof that they stand in it (protocol §3.2).

What a citizen or another authority is handed: the manifest, the lines that concern them, and the fewest hashes that
make the signed root out of these. Change lines may be hidden here, so nobody folds or judges over an excerpt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sync_protocol.change_set import (
    ChangeSet,
    content_leaf_indices,
    parse_manifest_line,
    verify_lines,
)
from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.hidden_lines import (
    HIDDEN_PREFIX,
    Piece,
    SubtreeRoots,
    hide_where,
    is_hidden_line,
    read_pieces,
    root_of,
    write_pieces,
)
from sync_protocol.limits import SET_MAX_BYTES
from sync_protocol.line import parse_content
from sync_protocol.line_blocks import check_change_block, check_content_block
from sync_protocol.manifest import Manifest, SignedManifest


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines (without LF) by leaf index; those below `manifest.manifest.changes` are change lines.

    The root was checked, the signature was not.
    """

    manifest: SignedManifest
    lines: Mapping[int, bytes]

    def said(self) -> dict[str, tuple[dict[str, Any], bytes]]:
        """What the shown content lines say, and the lines, by the mark of their change (protocol §2.3, `of`).

        One that is not as §2.3 says nothing of any change: whoever signed it may have written anything there.
        """
        found: dict[str, tuple[dict[str, Any], bytes]] = {}
        for place, line in self.lines.items():
            if place >= self.manifest.manifest.changes:
                with suppress(Refused):
                    content = parse_content(line)
                    found[str(content.get("of"))] = content, line
        return found


class OpenSet:
    """A set of which several excerpts are made: the second one costs next to nothing.

    Raises Refused as `verify_lines` does.
    """

    def __init__(self, change_set: ChangeSet) -> None:
        self._manifest = change_set.manifest.manifest
        self._beginning = change_set.head[: change_set.head.index(b"\n") + 1]
        self._change_lines = (verified := verify_lines(change_set)).change_lines
        pieces = read_pieces(verified.change_lines + verified.content_lines, 0, self._manifest.size)
        self._shown = _shown(pieces)
        self._tree = SubtreeRoots(pieces, self._manifest.size)

    def excerpt(self, keep: Collection[int]) -> bytes:
        """The set with every leaf hidden but those at the indices in `keep`.

        Raises Refused(not-found) for a leaf that the set does not have or hides itself.
        """
        missing = set(keep).difference(self._shown)
        if missing:
            raise Refused("not-found", f"line {min(missing)} is not shown in this set")
        return self._beginning + write_pieces(self._tree.around({index: self._shown[index] for index in keep}))

    def changes(self, positions: Collection[int], *, with_content: bool) -> bytes:
        """The set with only these changes shown, and what was said with them where that is wanted and the set shows it.

        In a set whose content lines are not as many as its changes announce nobody can tell whose they are: none is
        shown. Raises Refused as `excerpt`.
        """
        keep = set(positions)
        if with_content:
            with suppress(Refused):
                contents = content_leaf_indices(self._change_lines, self._manifest.size)
                keep |= self._shown.keys() & {contents[position] for position in positions}
        return self.excerpt(keep)


def excerpt_changes(change_set: ChangeSet, positions: Collection[int], *, with_content: bool) -> bytes:
    """See OpenSet.changes. Raises Refused as that and as `verify_lines`."""
    return OpenSet(change_set).changes(positions, with_content=with_content)


def parse_excerpt(data: bytes) -> Excerpt:
    """The shown lines, found to belong to the manifest's root. A full set is an excerpt too.

    Raises Refused: malformed, too-large, root-mismatch, unsupported-version. Verify the manifest's signature apart.
    """
    signed, pieces = _open(data)
    return Excerpt(signed, _shown(pieces))


def count_shown(data: bytes) -> int:
    """How many lines an excerpt that was verified before shows."""
    lines = data.count(b"\n") - 1
    return lines if HIDDEN_PREFIX not in data else lines - sum(map(is_hidden_line, data.split(b"\n")))


def hide_in_excerpt(data: bytes, leaves: Collection[bytes] | None) -> bytes:
    """The excerpt without the content lines of these leaf hashes, or without any of them (None); what was done is never
    hidden by anybody's wish.

    Raises Refused as `parse_excerpt`.
    """
    signed, pieces = _open(data)
    changes = signed.manifest.changes
    hidden = hide_where(pieces, lambda piece: piece.start >= changes and (leaves is None or piece.root in leaves))
    return data[: data.index(b"\n") + 1] + write_pieces(hidden)


def _open(data: bytes) -> tuple[SignedManifest, list[Piece]]:
    """As `parse_excerpt`."""
    if len(data) > SET_MAX_BYTES:
        raise too_large("excerpt", SET_MAX_BYTES)
    signed = parse_manifest_line(data)
    manifest = signed.manifest
    lines = data.split(b"\n", manifest.size + 1)[1:]
    if lines.pop():
        raise malformed("more lines than the manifest says, or the last one has no LF", "excerpt")
    pieces = read_pieces(lines, 0, manifest.size)
    if root_of((), pieces) != manifest.root:
        raise Refused("root-mismatch", "the lines are not the ones that were signed", where="root")
    _check_bytes(_shown(pieces), manifest)
    return signed, pieces


def _shown(pieces: Iterable[Piece]) -> dict[int, bytes]:
    return {piece.start: piece.line for piece in pieces if piece.line is not None}


def _check_bytes(shown: Mapping[int, bytes], manifest: Manifest) -> None:
    """A shown line obeys the rules of its kind, as it had to where the set was taken in."""
    changes = [line for index, line in shown.items() if index < manifest.changes]
    contents = [line for index, line in shown.items() if index >= manifest.changes]
    check_change_block(_block(changes), len(changes))
    check_content_block(_block(contents), len(contents))


def _block(lines: Collection[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
