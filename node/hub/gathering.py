"""What a recovering hub is brought, verified and kept (protocol §10.6).

A leaf counts when a receipt by our own log key proves its place; a checkpoint when our own log key signed it; the lines
of a set when they have the root of a manifest whose place was proved. Nothing depends on who brings it, and nothing is
judged anew: it was, before the log was lost. What proves nothing is left aside and undoes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import structlog

from keys.signer import PrivateKey
from node.hub.erasing import without_erased
from node.hub.log import HubLog, checkpoint_in
from node.store.hub_records import KeptErasure, MissingSet, RecoveredLeaf
from sync_protocol.change_set import ChangeSet, format_manifest_line, parse_manifest_line, verify_lines
from sync_protocol.checkpoint import OpenCheckpoint, claimed_size, open_checkpoint
from sync_protocol.compression import compress_part, decode_body
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.jws import parse_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.manifest import CHANGE_SET_TYP, SignedManifest, parse_manifest
from sync_protocol.merkle import leaf_hash
from sync_protocol.note import Note, NoteSignature, VerifierKey, format_note, vkey_for
from sync_protocol.problems import Recovering
from sync_protocol.receipt import parse_receipt, verify_receipt
from sync_protocol.roster import Roster
from sync_protocol.tiles import TILE_WIDTH, TileRef, entry_tiles_of, unpack_entries
from sync_protocol.wire import RecoveryAnswer, RecoveryRequest, SeqRange

MISSING_MAX: Final = 1_000_000  # more sets than a log has that was lost in a day
SETS_MAX: Final = 2_000  # of one request: some two seconds of verifying; nodes send 500

_logger = structlog.get_logger("simpul.hub.recovery")


class Copy(Protocol):
    """A copy of this log: an export, a mirror, a hub's own address (node/audit/source.py)."""

    async def checkpoint(self) -> bytes:
        """Its newest checkpoint note."""
        ...

    async def entry_bundle(self, reference: TileRef) -> bytes | None:
        """The first entries of a C2SP bundle, None where it has none."""
        ...

    async def change_set(self, agency: str, seq: int) -> bytes | None:
        """A set in its two frames, None where it has none."""
        ...


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count while the log's own statements may be lost.

    `own` is the key in the key file. If the roster knows it, the roster says who signed which size. If not (`roster` is
    None), its rotation is among what was lost: then those before it count up to the size that the lock store holds,
    because none of them signed anything larger.
    """

    roster: Roster | None
    own: VerifierKey
    earlier: tuple[VerifierKey, ...]
    locked_size: int

    def open(self, note: bytes) -> OpenCheckpoint:
        """A checkpoint that we signed. Raises Refused."""
        return open_checkpoint(note, self.keys_for(note), self.own.name)

    def keys_for(self, note: bytes) -> Sequence[VerifierKey]:
        """Keys that may have signed a note, by the size that it claims. Raises Refused for what is none."""
        if self.roster is not None:
            return self.roster.log_keys_for(note)
        if claimed_size(note) > self.locked_size:
            return (self.own,)
        return (self.own, *self.earlier)


@dataclass(slots=True)
class _Proved:
    leaves: list[RecoveredLeaf] = field(default_factory=list)
    notes: dict[int, bytes] = field(default_factory=dict)
    aside: int = 0


class Gathering:
    """Belongs to one event loop. `is_fresh`: something was kept since somebody last looked."""

    def __init__(self, log: HubLog, own: Callable[[], Signer], earlier: Callable[[], Sequence[PrivateKey]]) -> None:
        """`own` is the log's key in its key file, `earlier` are those of before that lie beside it."""
        self._log = log
        self._own = own
        self._earlier = earlier
        self.is_fresh = True

    async def trust(self) -> Trust:
        """Whose checkpoints count now. Raises Unavailable where nothing tells what this log is called."""
        log = self._log
        locked, proof = await log.lock.read(), await log.lock.proof()
        if log.size:
            origin = log.roster.origin
        elif locked or proof:
            origin = checkpoint_in(locked or proof or b"").origin
        else:
            raise Unavailable("neither the database nor the lock folder says what this log is called")
        own, known = vkey_for(origin, self._own().public_key), log.roster.vkeys if log.size else ()
        locked_size = 0 if locked is None else checkpoint_in(locked).size
        if own in known:
            return Trust(log.roster, own, known, locked_size)
        before = [vkey_for(origin, key.public_key) for key in self._earlier()]
        return Trust(None, own, tuple(dict.fromkeys((*known, *before))), locked_size)

    async def take_in(self, asked: RecoveryRequest) -> RecoveryAnswer:
        """Keeps what a node's request proves; what is wanted of that node afterwards. Raises Refused."""
        if len(asked.sets or ()) > SETS_MAX:
            raise Refused("too-large", f"at most {SETS_MAX} sets at a time", members={"limit": SETS_MAX})
        trust, size = await self.trust(), self._log.size
        proved = await asyncio.to_thread(_prove, trust, asked, size)
        await self._keep(proved)
        if proved.aside:
            _logger.warning("recovery material proves nothing", agency=asked.agency, count=proved.aside)
        return await self.answer(asked.agency)

    async def answer(self, agency: str) -> RecoveryAnswer:
        """What is wanted of an agency's node."""
        wanted = await self._log.store.wanted_seqs(agency)
        return RecoveryAnswer(
            size=self._log.size, wanted=None if wanted is None else SeqRange(from_seq=wanted[0], to_seq=wanted[1])
        )

    async def check_wanted(self, agency: str, seq: int, submission: SignedManifest) -> RecoveredLeaf:
        """The leaf whose lines these will be. Raises Refused, and Recovering for a set that is not in the lost log."""
        manifest = submission.manifest
        if (manifest.agency, manifest.seq) != (agency, seq):
            raise Refused("wrong-agency", "the set is not the one of this address", where="agency")
        leaf = await self._log.store.recovered_set(agency, seq)
        if leaf is None or leaf.entry != submission.jws.text.encode("ascii"):
            raise Recovering(self._log.recovering or "", size=self._log.size, retry_after_s=60)
        return leaf

    async def take_lines(self, agency: str, seq: int, body: bytes, encoding: str | None) -> None:
        """Keeps the lines of a set whose place was proved. Raises Refused for others, Recovering as `check_wanted`."""
        change_set, frames, hidden = await asyncio.to_thread(read_set, body, encoding)
        leaf = await self.check_wanted(agency, seq, change_set.manifest)
        await self._log.store.keep_lines(leaf.index, *frames, hidden)
        self.is_fresh = True

    async def take_copy(self, copy: Copy) -> int:
        """Everything that a copy of our log holds beyond ours, and lines that ours lacks; its size.

        Raises Refused if it is no copy of our log.
        """
        missing = await self._log.store.missing_sets(MISSING_MAX)
        kept = await self._log.lock.erasures() if missing else []
        for one in missing:
            await self._fill(copy, one, kept)
        trust, size = await self.trust(), self._log.size
        opened = trust.open(await copy.checkpoint())
        tree = opened.checkpoint
        if tree.size <= size:
            return tree.size
        places: list[tuple[int, bytes]] = []
        for reference in entry_tiles_of(tree.size):
            start = reference.index * TILE_WIDTH
            if start + reference.width <= size:
                continue
            bundle = await copy.entry_bundle(reference)
            if bundle is None:
                raise Refused("incomplete-export", f"the copy has no {reference.path}", where=reference.path)
            entries = enumerate(unpack_entries(bundle, reference.width), start)
            places += [(index, entry) for index, entry in entries if index >= size]
        growth = await self._log.tiles.grow(size, [leaf_hash(entry) for _, entry in places])
        if growth.root != tree.root:
            raise Refused("bad-proof", "the copy's entries do not go on from this database to its signed checkpoint")
        await self._keep(_Proved([_leaf(*place) for place in places], {tree.size: ours_alone(opened)}), instead=True)
        seqs = await self._log.store.recovered_seqs(without_lines=True)
        lacking = {(agency, seq) for agency, of_agency in seqs.items() for seq in of_agency}
        for index, entry in places:
            leaf = _leaf(index, entry)
            if (leaf.agency, leaf.seq) in lacking:
                await self._take_set(copy, leaf)
        return tree.size

    async def _fill(self, copy: Copy, missing: MissingSet, kept: Sequence[KeptErasure]) -> None:
        """Lines for a set that stands in our log without any; a copy may be of before an erasure that was kept."""
        body, stored = await copy.change_set(missing.agency, missing.seq), await self._log.store.set_at(missing.index)
        entries = await self._log.store.entries_at([missing.index])
        if body is None or stored is None:
            return
        try:
            frames, hidden = await asyncio.to_thread(read_lines_of, entries[missing.index], body, "zstd")
        except Refused as error:
            _logger.warning("a set of the copy does not fit", agency=missing.agency, seq=missing.seq, reason=str(error))
            return
        await self._log.store.fill_missing(*await without_erased(kept, replace(stored, hidden=hidden), frames))

    async def _take_set(self, copy: Copy, leaf: RecoveredLeaf) -> None:
        """A set's lines, where the copy has them and they are right; what is hidden there a node may complete."""
        if leaf.agency is None or leaf.seq is None or leaf.changes_frame is not None:
            return
        body = await copy.change_set(leaf.agency, leaf.seq)
        if body is None:
            return
        try:
            await self.take_lines(leaf.agency, leaf.seq, body, "zstd")
        except (Refused, Recovering) as error:
            _logger.warning("a set of the copy does not fit", agency=leaf.agency, seq=leaf.seq, reason=str(error))

    async def _keep(self, proved: _Proved, *, instead: bool = False) -> None:
        store = self._log.store
        await store.keep_checkpoints(proved.notes)
        await store.keep_leaves(proved.leaves, instead=instead)
        self.is_fresh = True


def read_set(body: bytes, encoding: str | None) -> tuple[ChangeSet, tuple[bytes, bytes], int]:
    """A set whose lines have the root that was signed, its two frames, how many leaves are hidden. Raises Refused."""
    parts = decode_body(body, encoding)
    change_set = ChangeSet(parse_manifest_line(parts.head), parts.head, parts.contents)
    hidden = verify_lines(change_set).hidden_leaves
    contents_frame = parts.contents_frame or (compress_part(parts.contents) if parts.contents else b"")
    return change_set, (parts.head_frame or compress_part(parts.head), contents_frame), hidden


def read_lines_of(entry: bytes, body: bytes, encoding: str | None) -> tuple[tuple[bytes, bytes], int]:
    """The two frames of the set whose manifest `entry` is, and how many leaves are hidden. Raises Refused for others.

    What was sent may bear another spelling of the signature; what is kept is the log's.
    """
    change_set, frames, hidden = read_set(body, encoding)
    held = parse_manifest(entry)
    if change_set.manifest.digest != held.digest:
        raise Refused("root-mismatch", "the lines are those of another set", where="manifest")
    if change_set.manifest.jws.text != held.jws.text:
        head = format_manifest_line(entry) + change_set.change_block
        frames = (compress_part(head), frames[1])
    return frames, hidden


def _prove(trust: Trust, asked: RecoveryRequest, size: int) -> _Proved:
    proved = _Proved()
    opened = trust.open(asked.checkpoint.encode("utf-8"))
    if opened.checkpoint.size > size:
        proved.notes[opened.checkpoint.size] = ours_alone(opened)
    shown = [(line.manifest, line.receipt) for line in asked.sets or ()]
    shown += [(line.statement, line.receipt) for line in asked.statements if line.receipt is not None]
    for text, receipt in shown:
        try:
            _prove_one(trust, proved, text.encode("utf-8"), receipt.encode("utf-8"), asked.agency, size)
        except Refused:
            proved.aside += 1
    return proved


def _prove_one(trust: Trust, proved: _Proved, entry: bytes, text: bytes, agency: str, size: int) -> None:
    receipt = parse_receipt(text)
    if receipt.index < size:
        return
    opened = verify_receipt(receipt, entry, trust.keys_for(receipt.note), trust.own.name)
    leaf = _leaf(receipt.index, entry)
    if leaf.agency is not None and leaf.agency != agency:
        raise Refused("wrong-agency", "a node hands over sets of its own")
    proved.leaves.append(leaf)
    proved.notes[opened.checkpoint.size] = ours_alone(opened)


def _leaf(index: int, entry: bytes) -> RecoveredLeaf:
    """What stands in an entry. A set without lines is whole with its manifest. Raises Refused."""
    jws = parse_jws(entry, max_bytes=FORK_JWS_MAX_BYTES)
    leaf = RecoveredLeaf(index, entry)
    if jws.typ != CHANGE_SET_TYP:
        return leaf
    manifest = parse_manifest(jws).manifest
    leaf = replace(leaf, agency=str(manifest.agency), seq=manifest.seq, hidden=manifest.size)
    if manifest.size:
        return leaf
    return replace(leaf, changes_frame=compress_part(format_manifest_line(entry)), contents_frame=b"")


def ours_alone(opened: OpenCheckpoint) -> bytes:
    """The note without the signatures of others: those may be long, and prove nothing here."""
    vkey = opened.vkey
    line = NoteSignature(vkey.name, vkey.key_id, opened.signature)
    return format_note(Note(opened.checkpoint.text().decode("utf-8"), (line,)))
