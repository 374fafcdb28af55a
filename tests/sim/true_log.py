"""The log as the witness has it: entries, tree, roster and fold, made from the bytes that were committed and from
nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from node.audit.deadlines import DutyBook
from sync_protocol.change_set import ChangeSet, content_leaf_indices, verify_lines
from sync_protocol.change_types import Erased
from sync_protocol.compression import decompress_part
from sync_protocol.errors import Refused
from sync_protocol.jws import parse_jws
from sync_protocol.ledger import FoldedLeaf, Ledger
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.manifest import CHANGE_SET_TYP, SignedManifest, parse_manifest
from sync_protocol.merkle import CompactRange, leaf_hash
from sync_protocol.roster import Roster
from sync_protocol.statement import Fork
from sync_protocol.transitions import Verdict
from sync_protocol.values import Digest, b64u_decode
from tests.sim.parts import tables

Frames = tuple[bytes, bytes]
"""A set's two parts as they were committed first: changes, contents."""


@dataclass(frozen=True, slots=True)
class End:
    """The newest set of a chain, as the log has it."""

    epoch: int
    seq: int
    digest: Digest


class TrueLog:
    """See the module. `hostile` are agencies that may lie; `violated` is told what does not hold."""

    def __init__(
        self,
        hostile: set[str],
        violated: Callable[[str], None],
        note_signed: Callable[[str, SignedManifest], None],
    ) -> None:
        self._hostile = hostile
        self._violated = violated
        self._note_signed = note_signed
        self._begin()

    def _begin(self) -> None:
        self.entries: list[bytes] = []
        self.frames: list[Frames | None] = []
        self.places: dict[tuple[str, int], int] = {}  # agency and seq
        self.roots: dict[int, bytes] = {}
        self.hashes: dict[int, bytes] = {}
        self.ends: dict[str, End] = {}
        self.where: dict[str, list[tuple[int, Verdict]]] = {}  # change id -> places in the log
        self.erased: set[bytes] = set()  # leaf hashes of content lines
        self.roster = Roster()
        self.ledger = Ledger(self.roster, {})
        self.duties = DutyBook(tables(), self.roster)
        self.tree = CompactRange()

    def cut(self, size: int) -> None:
        """What was committed beyond `size` was never shown to anybody, and is gone."""
        entries, frames = self.entries[:size], self.frames[:size]
        if len(self.entries) > size:
            self._begin()
            for entry, lines in zip(entries, frames, strict=True):
                self.take(entry, lines)

    def take(self, entry: bytes, frames: Frames | None) -> None:
        """The next leaf. Raises Refused or Corrupt for what stops a fold."""
        index = len(self.entries)
        self.entries.append(entry)
        self.frames.append(frames)
        self.tree.append(leaf_hash(entry))
        self.roots[index + 1] = self.tree.root()
        jws = parse_jws(entry, max_bytes=FORK_JWS_MAX_BYTES)
        lines: list[bytes] | None = None
        if jws.typ == CHANGE_SET_TYP:
            head = decompress_part(b"" if frames is None else frames[0])
            lines = head.split(b"\n")[1:-1]
            signed = parse_manifest(entry)
            self._check_chain(index, signed)
            self._check_pairs(index, signed, lines)
            self.check_lines(index, frames or (b"", b""))
        leaves = None if lines is None else [leaf_hash(line) for line in lines]
        folded = self.ledger.apply(index, jws, lines, leaves)
        self.duties.note(folded)
        self.hashes[index + 1] = folded.state_hash
        if folded.problem is not None:
            self._violated(f"the log holds a void statement at {index}: {folded.problem}")
        self._note_changes(folded)
        if jws.typ == Fork.TYP and folded.agency not in self._hostile:
            self._violated(f"{folded.agency} signed two sets for one place")

    def check_lines(self, index: int, frames: Frames) -> None:
        """Lines of the set at `index` that a hub keeps: as they came first, and with the root that was signed."""
        first = self.frames[index]
        head = decompress_part(frames[0])
        if first is None or (frames[0] != first[0] and head != decompress_part(first[0])):
            self._violated(f"the set at {index} has other changes than it had")
            return
        contents = decompress_part(frames[1]) if frames[1] else b""
        try:
            verify_lines(ChangeSet(parse_manifest(self.entries[index]), head, contents))
        except Refused as refused:
            self._violated(f"the lines of the set at {index} are not those that were signed: {refused}")

    def _note_changes(self, folded: FoldedLeaf) -> None:
        for verdict, change in zip(folded.verdicts, folded.changes, strict=True):
            if change is not None and isinstance(change.data, Erased) and verdict is Verdict.APPLIED:
                self.erased |= {b64u_decode(leaf, 32, "leaves") for leaf in change.data.leaves}
            if change is not None and folded.agency not in self._hostile:
                self.where.setdefault(change.id, []).append((folded.index, verdict))

    def _check_chain(self, index: int, signed: SignedManifest) -> None:
        manifest = signed.manifest
        agency = str(manifest.agency)
        try:
            self.roster.verify_change_set_key(signed.jws, manifest.agency, index)
        except Refused as refused:
            self._violated(f"the log took a set that {agency} did not sign: {refused}")
        record, end = self.roster.agency(agency), self.ends.get(agency)
        if end is None and record is not None:
            end = End(1, 0, record.enrolment)
        if end is None or (manifest.seq, manifest.prev) != (end.seq + 1, end.digest) or manifest.epoch < end.epoch:
            self._violated(f"set {manifest.epoch}/{manifest.seq} of {agency} does not follow {end}")
        if self.roots.get(manifest.seen_size, manifest.seen_root) != manifest.seen_root:
            self._violated(f"{agency} saw another root for size {manifest.seen_size}")
        self.ends[agency] = End(manifest.epoch, manifest.seq, signed.digest)
        self.places[agency, manifest.seq] = index
        self._note_signed(agency, signed)

    def _check_pairs(self, index: int, signed: SignedManifest, lines: list[bytes]) -> None:
        """An honest set has a content line for each change that announces one."""
        if signed.manifest.agency not in self._hostile:
            try:
                content_leaf_indices(lines, signed.manifest.size)
            except Refused:
                self._violated(f"the set at {index} announces other content lines than it has")
