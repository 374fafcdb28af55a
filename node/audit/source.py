"""Where an audit reads from: a folder that the hub exported, or a live hub. Bytes only; nothing is believed here.

Layout of an export: `hub.json` and `deadlines.json` (what the hub says of itself), `checkpoint`,
`tile/…` (C2SP: hash tiles, entry bundles),
`sets/<agency>/<seq, nine digits>.jsonl.zst` (two frames, protocol §3.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeGuard

from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.limits import NOTE_MAX_BYTES, WIRE_MAX_BYTES
from sync_protocol.strict_json import parse_object
from sync_protocol.tiles import TILE_WIDTH, TileRef

DESCRIPTION_MAX_BYTES: Final = 4 * 1024 * 1024  # totals by agency, state and class of the whole country
ENTRY_BUNDLE_MAX_BYTES: Final = 256 * 65_537  # 256 entries of at most 65,535 bytes with their length
MALFORMED_FIGURES: Final = "malformed-figures"
FIGURES: Final = frozenset({"projected_to", "state_hash", "totals"})  # of hub.json: there or absent together
HASH_TILE_BYTES: Final = TILE_WIDTH * 32


@dataclass(frozen=True)
class ClaimedFigures:
    """What the hub says its own projection came to; compared, never used."""

    size: int
    state_hash: str
    totals: Mapping[str, Any]


class AuditSource(Protocol):
    """Read-only access to one hub's log. Raises Refused for what has not the form asked for, Unavailable when away."""

    name: str
    holds_every_set: bool
    """Whether a set that cannot be had is wrong: not on a URL without token, which is the public part alone."""
    holds_every_tile: bool
    """Whether a hash tile that cannot be had is wrong: not on a URL, whose log may grow while it is read."""
    may_grow: bool
    """Whether the hub's figures may be of a longer log than its checkpoint was, when that was read: on a URL."""

    async def described(self) -> Mapping[str, Any] | None:
        """What an export says that it is (`origin`, `vkey`, `size` and more); None where nothing comes with the log."""
        ...

    async def checkpoint(self) -> bytes:
        """The newest checkpoint note."""
        ...

    async def entry_bundle(self, reference: TileRef) -> bytes | None:
        """The first `reference.width` entries of a C2SP bundle and no more, or None where the source has none."""
        ...

    async def hash_tile(self, reference: TileRef) -> bytes | None:
        """The first `reference.width` hashes of a tile as published, or None where the source has none."""
        ...

    async def change_set(self, agency: str, seq: int) -> bytes | None:
        """A set in its two zstd frames, or None where it cannot be had."""
        ...

    async def claimed_figures(self) -> ClaimedFigures | None:
        """The hub's own figures, or None where it tells none. Raises Refused(malformed-figures) for a part of them."""
        ...

    async def claimed_deadlines(self) -> Mapping[str, Any] | None:
        """The hub's own figures of deadlines (`size`, `tick`, `tables`, `hub`, `agencies`), or None where it has none.

        Raises Refused(malformed-figures).
        """
        ...

    async def close(self) -> None:
        """Ends connections."""
        ...


def set_path(agency: str, seq: int) -> str:
    """Where a set lies in an export."""
    return f"sets/{agency}/{seq:09d}.jsonl.zst"


def claimed_from(document: Mapping[str, Any], size: object) -> ClaimedFigures:
    """The hub's figures out of a JSON document. Raises Refused(malformed-figures) where one of them has not its form:
    to count as not told at all, that would be too easy a way out.
    """
    state_hash, totals = document.get("state_hash"), document.get("totals")
    if not isinstance(state_hash, str) or not isinstance(totals, dict) or not _is_count(size):
        raise _malformed("the size of the log, the state hash or the totals are not there, or not of their form")
    if not all(_is_count(count) for count in totals.values()):
        raise _malformed("a total is no count")
    return ClaimedFigures(size, state_hash, totals)


def claimed_deadlines_from(data: bytes, where: str) -> dict[str, Any]:
    """The hub's figures of deadlines out of a JSON document. Raises Refused(malformed-figures)."""
    document = claims_document(data, where)
    as_of = document.get("as_of")
    size = as_of.get("size") if isinstance(as_of, dict) else None
    maps = [document.get(name) for name in ("tables", "hub", "agencies")]
    words = [document.get(name, 0) for name in ("tick", "next")]
    if not _is_count(size) or not all(isinstance(one, dict) for one in maps):
        raise _malformed(f"{where}: the size of the log, tables, hub or agencies are not there, or not of their form")
    if not all(one is None or isinstance(one, str) for one in words):
        raise _malformed(f"{where}: tick or next are not there, or not of their form")
    told = {name: document[name] for name in ("tick", "tables", "hub", "agencies", "next")}
    return told | {"size": size}


def claims_document(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object of a hub's figures. Raises Refused(malformed-figures)."""
    try:
        return parse_object(data, where=where, depth_max=8)
    except Refused as refused:
        raise _malformed(str(refused)) from None


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0  # true and false are none


def _malformed(detail: str) -> Refused:
    return Refused(MALFORMED_FIGURES, f"the hub's own figures: {detail}")


class DirectorySource:
    """An export, as `simpul hub export` writes it."""

    holds_every_set = True
    holds_every_tile = True
    may_grow = False

    def __init__(self, root: Path) -> None:
        self.name = str(root)
        self._root = root

    async def described(self) -> Mapping[str, Any]:
        return parse_object(self._read("hub.json", DESCRIPTION_MAX_BYTES), where="hub.json", depth_max=8)

    async def checkpoint(self) -> bytes:
        return self._read("checkpoint", NOTE_MAX_BYTES)

    async def entry_bundle(self, reference: TileRef) -> bytes | None:
        return self._find(reference.path, ENTRY_BUNDLE_MAX_BYTES)

    async def hash_tile(self, reference: TileRef) -> bytes | None:
        return self._find(reference.path, HASH_TILE_BYTES)

    async def change_set(self, agency: str, seq: int) -> bytes | None:
        return self._find(set_path(agency, seq), WIRE_MAX_BYTES)

    async def claimed_figures(self) -> ClaimedFigures | None:
        document = await self.described()
        if not document.keys() & FIGURES:
            return None
        return claimed_from(document, document.get("projected_to"))

    async def claimed_deadlines(self) -> Mapping[str, Any] | None:
        data = self._find("deadlines.json", DESCRIPTION_MAX_BYTES)
        return None if data is None else claimed_deadlines_from(data, "deadlines.json")

    async def close(self) -> None:
        """Nothing to end."""

    def _read(self, name: str, limit: int) -> bytes:
        data = self._find(name, limit)
        if data is None:
            raise Refused("incomplete-export", f"{name} is missing", where=name)
        return data

    def _find(self, name: str, limit: int) -> bytes | None:
        path = self._root / name
        if not path.is_file():
            return None
        if path.stat().st_size > limit:
            raise too_large(name, limit)
        return path.read_bytes()


def open_directory(root: Path) -> DirectorySource:
    """Raises Refused where `root` is no export."""
    if not root.is_dir():
        raise Refused("configuration", f"{root} is neither a folder nor an http(s) address", where=str(root))
    if not (root / "hub.json").is_file():
        raise malformed(f"{root} holds no hub.json: it is not what `simpul hub export` writes", str(root))
    return DirectorySource(root)
