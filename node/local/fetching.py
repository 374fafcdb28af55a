"""Sets of our own, as the hub hands them back: fetched page by page, each verified before anybody uses it (§10.3).

While one page is verified and stored the next one is on its way. What comes out is bounded: so much of lines at a time,
whatever a page holds when it is decompressed. Raises Contradiction for what does not prove itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from node.local.cutting import signed_set
from node.local.hub_evidence import Contradiction, Evidence
from node.local.hub_session import HubSession
from node.local.ports import LocalStore
from node.local.rebasing import AdoptedChange
from node.store.complaint_keys import complaint_key
from node.store.local_records import SignedSet
from sync_protocol.change_set import content_leaf_indices, parse_change_set, verify_lines
from sync_protocol.checkpoint import OpenCheckpoint
from sync_protocol.compression import decode_body
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.hidden_lines import is_hidden_line
from sync_protocol.line import Change
from sync_protocol.line_columns import parse_changes
from sync_protocol.manifest import Manifest
from sync_protocol.set_pages import PagedSet
from sync_protocol.strict_json import parse_object
from sync_protocol.values import AgencyId

LINES_MAX_BYTES: Final = 16 * 1024 * 1024  # of lines, verified and stored at one time; one set more may come on top


@dataclass(frozen=True, slots=True)
class FetchedSet:
    """A set of ours that the hub holds: verified, with its receipt."""

    signed: SignedSet
    prev: bytes
    receipt: bytes
    index: int
    changes: Sequence[AdoptedChange]


@dataclass(frozen=True, slots=True)
class _Verified:
    sets: list[FetchedSet]
    checkpoints: list[OpenCheckpoint]


class Fetching:
    """The sets `from_seq` … `to_seq`, in order. `stop` it, however it ends."""

    def __init__(self, store: LocalStore, hub: HubSession, agency: AgencyId, from_seq: int, to_seq: int) -> None:
        self._store = store
        self._hub = hub
        self._agency = agency
        self._seq = from_seq  # of the next that comes out
        self._to_seq = to_seq
        self._waiting: Sequence[PagedSet] = ()
        self._coming: asyncio.Task[list[PagedSet]] | None = None

    @property
    def is_over(self) -> bool:
        """Whether all of them came out."""
        return self._seq > self._to_seq

    async def some(self) -> list[FetchedSet]:
        """The next ones, at least one."""
        if not self._waiting:
            self._waiting = await self._page()
        verified = await self._hub.proved(self._verify)
        await self._believe(verified.checkpoints)
        self._waiting = self._waiting[len(verified.sets) :]
        self._seq += len(verified.sets)
        return verified.sets

    async def stop(self) -> None:
        """Nothing is on its way any more."""
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    async def _page(self) -> Sequence[PagedSet]:
        coming, self._coming = self._coming, None
        page = await (coming or self._hub.link.fetch_sets(self._seq))
        if not page:
            raise Unavailable(f"the hub does not hand out set {self._seq}, which it says it holds")
        page = page[: self._to_seq - self._seq + 1]
        following = self._seq + len(page)
        if following <= self._to_seq:
            self._coming = asyncio.create_task(self._hub.link.fetch_sets(following))
        return page

    async def _verify(self, evidence: Evidence) -> _Verified:
        return await asyncio.to_thread(_verify, evidence, self._agency, self._seq, self._waiting)

    async def _believe(self, checkpoints: Sequence[OpenCheckpoint]) -> None:
        """That the log which the receipts are of is the one that we have seen before."""
        for opened in checkpoints:
            newer = await (await self._hub.evidence()).advance(await self._store.seen(), opened)
            if newer is not None:
                await self._store.move_seen(newer)


@dataclass(frozen=True, slots=True)
class _Lines:
    """A verified set before its change lines are parsed."""

    signed: SignedSet
    prev: bytes
    index: int
    changes: list[bytes]
    contents: list[bytes | None]

    @property
    def bytes(self) -> int:
        return sum(map(len, self.changes)) + sum(len(content) for content in self.contents if content)


def _verify(evidence: Evidence, agency: AgencyId, seq: int, page: Sequence[PagedSet]) -> _Verified:
    """As many sets as are verified at one time. Runs in a thread."""
    known: dict[bytes, OpenCheckpoint] = {}
    verified: list[_Lines] = []
    size = 0
    for number, paged in enumerate(page, seq):
        verified.append(_verify_one(evidence, agency, number, paged, known))
        size += verified[-1].bytes
        if size >= LINES_MAX_BYTES:
            break
    # All at once: a thousand sets of one change would cost several times as much.
    parsed = iter(parse_changes([line for one in verified for line in one.changes]))
    sets = [
        FetchedSet(one.signed, one.prev, paged.receipt, one.index, _adopted(one, parsed))
        for one, paged in zip(verified, page, strict=False)
    ]
    return _Verified(sets, list(known.values()))


def _verify_one(
    evidence: Evidence, agency: AgencyId, seq: int, paged: PagedSet, known: dict[bytes, OpenCheckpoint]
) -> _Lines:
    try:
        parts = decode_body(paged.body, "zstd")
        change_set = parse_change_set(parts.head, parts.contents)
        manifest = change_set.manifest.manifest
        _check_place(manifest, agency, seq)
        evidence.verify_own(change_set.manifest, agency)
        lines = verify_lines(change_set)
        contents = _contents(lines.change_lines, lines.content_lines, manifest.size)
    except Refused as refused:
        raise Contradiction(refused) from None
    index, _ = evidence.receipt(paged.receipt, change_set.manifest.jws.text.encode("ascii"), known)
    signed = signed_set(change_set, parts.head_frame or b"", parts.contents_frame or b"")
    return _Lines(signed, bytes(manifest.prev), index, lines.change_lines, contents)


def _check_place(manifest: Manifest, agency: AgencyId, seq: int) -> None:
    if (manifest.agency, manifest.seq) != (agency, seq):
        raise Refused("malformed", f"the hub gave another set for seq {seq}", where="manifest")


def _contents(change_lines: Sequence[bytes], content_lines: Sequence[bytes], size: int) -> list[bytes | None]:
    """The content line of each change, None where it has none or the hub does not show it. Raises Refused.

    In a set that announces more or fewer content lines than it has, nobody can tell: it is in the log, so it is kept.
    """
    try:
        leaves = content_leaf_indices(change_lines, size)
    except Refused:
        return [None] * len(change_lines)
    shown: dict[int, bytes] = {}
    leaf = len(change_lines)
    for line in content_lines:
        if is_hidden_line(line):
            leaf += int(parse_object(line, where="hidden line")["leaves"])
        else:
            shown[leaf] = line
            leaf += 1
    return [None if place is None else shown.get(place) for place in leaves]


def _adopted(lines: _Lines, parsed: Iterator[Change | None]) -> list[AdoptedChange]:
    """What cannot be read is of a newer program, perhaps; it is in the log, so it is kept."""
    adopted: list[AdoptedChange] = []
    for line, content in zip(lines.changes, lines.contents, strict=True):
        change = next(parsed)
        key = None if change is None else complaint_key(change.complaint)
        adopted.append(AdoptedChange(key, change, line, content))
    return adopted
