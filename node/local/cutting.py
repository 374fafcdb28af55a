"""Cutting a set: unsent changes become signed bytes, in one transaction (protocol §10.1).

Hashing and compressing of many changes happen before the transaction, so that the intake stays quick; signing happens
inside it, once it is certain that nobody else has cut at this place: no second manifest for one (epoch, seq)
ever exists, not even in memory of a process that lost a race.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.local.ports import LocalStore
from node.store.local_records import Cuttable, Outgoing, SignedSet, UnsentLine
from sync_protocol.backoff import Schedule
from sync_protocol.change_set import ChangeSet, Draft, build_change_set, draft_change_set
from sync_protocol.compression import compress_part
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.limits import SET_MAX_LEAVES
from sync_protocol.values import AgencyId

TARGET_CHANGES: Final = 1_000  # where bytes a change have stopped to fall, and a repeat is still cheap

#: Lines of one set, in bytes before compression, unless a single change has more. A thousand long letters would be 32
#: MiB; this much is ten minutes on the slowest line if it does not compress at all, and what a break costs at most.
TARGET_BYTES: Final = 2 * 1024 * 1024


#: So few unsent changes are drafted within the transaction: that is shorter than reading them in one of their own.
AT_ONCE_CHANGES: Final = 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where a set is signed for."""

    agency: AgencyId
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class _Drafted:
    """Lines checked, hashed and compressed as far as possible without a signature; the last change they are of."""

    draft: Draft
    contents_frame: bytes
    last_no: int


async def cut_set(
    store: LocalStore,
    signer: Signer,
    place: Place,
    now_ms: int,
    *,
    unsent: int,
    target_changes: int = TARGET_CHANGES,
    attempt: Schedule | None = None,
) -> Outgoing | None:
    """Cuts at most `target_changes` of some `unsent` changes; with `target_changes` 0 a heartbeat.

    `attempt` is recorded with it. None, with nothing signed, if another process has moved the chain on. Raises Corrupt
    if the database holds a line that no set may hold.
    """
    limit = min(AT_ONCE_CHANGES, target_changes)
    drafted = None
    if min(unsent, target_changes) > limit:
        cuttable = await store.cuttable(target_changes)
        drafted, limit = await _drafted_beside(cuttable), 0

    def sign(held: Cuttable) -> tuple[SignedSet, int] | None:
        if (held.epoch, held.end.seq + 1) != (place.epoch, place.seq) or (drafted and held.end != cuttable.end):
            return None
        ready = drafted or _drafted(held)
        return _sign(ready, signer, place, held, now_ms), ready.last_no

    return await store.cut(sign, limit, attempt, few=drafted is None)


async def _drafted_beside(cuttable: Cuttable) -> _Drafted:
    """Off the event loop, in two threads: compressing lets go of the interpreter, hashing does not."""
    lines, contents, last_no = _set_of(cuttable)
    frame, draft = await asyncio.gather(
        asyncio.to_thread(_compress_contents, contents), asyncio.to_thread(_draft, lines, contents)
    )
    return _Drafted(draft, frame, last_no)


def _drafted(cuttable: Cuttable) -> _Drafted:
    lines, contents, last_no = _set_of(cuttable)
    return _Drafted(_draft(lines, contents), _compress_contents(contents), last_no)


def _set_of(cuttable: Cuttable) -> tuple[list[bytes], list[bytes], int]:
    """Change lines and content lines of the next set, and the last change in it."""
    lines = cuttable.lines[: fitting(cuttable.lines)]
    contents = [said for _, _, said in lines if said is not None]
    return [line for _, line, _ in lines], contents, lines[-1][0] if lines else cuttable.end.last_no


def fitting(lines: Sequence[UnsentLine]) -> int:
    """How many of the lines make one set (protocol §10.4, §11): one at least."""
    leaves = size = 0
    for count, (_, line, content) in enumerate(lines):
        leaves += 1 if content is None else 2
        size += len(line) + 1 + (0 if content is None else len(content) + 1)
        if count and (leaves > SET_MAX_LEAVES or size > TARGET_BYTES):
            return count
    return len(lines)


def signed_set(change_set: ChangeSet, head_frame: bytes, contents_frame: bytes) -> SignedSet:
    """A set as it is stored."""
    manifest = change_set.manifest.manifest
    return SignedSet(
        epoch=manifest.epoch,
        seq=manifest.seq,
        digest=change_set.manifest.digest,
        kid=change_set.manifest.jws.kid,
        changes=manifest.changes,
        size=manifest.size,
        at_ms=manifest.at,
        manifest=change_set.manifest.jws.text,
        head_frame=head_frame,
        contents_frame=contents_frame,
    )


def _draft(lines: Sequence[bytes], contents: Sequence[bytes]) -> Draft:
    try:
        return draft_change_set(lines, contents)
    except Refused as refused:
        raise Corrupt(f"a recorded change cannot be sent: {refused}") from None


def _compress_contents(contents: Sequence[bytes]) -> bytes:
    return compress_part(b"\n".join([*contents, b""])) if contents else b""


def _sign(drafted: _Drafted, signer: Signer, place: Place, cuttable: Cuttable, now_ms: int) -> SignedSet:
    """Within the store's transaction."""
    end, seen = cuttable.end, cuttable.seen
    change_set = build_change_set(
        drafted.draft,
        signer,
        agency=place.agency,
        epoch=place.epoch,
        seq=place.seq,
        prev=end.digest,
        at=now_ms,
        seen_size=seen.size,
        seen_root=seen.root,
        seen_sig=seen.signature,
    )
    return signed_set(change_set, compress_part(change_set.head), drafted.contents_frame)
