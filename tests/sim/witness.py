"""Who sees everything and believes nothing: the guarantees G1 to G7, checked at every commit, reply and receipt.

It keeps a log, a tree, a fold and a register of signatures of its own, made from the bytes that were committed or went
over a line, never from what hub or nodes say of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from node.audit.deadlines import DutyBook
from node.hub.folding import unpack_state
from node.store.complaint_keys import complaint_key
from node.store.local_records import HeldSet, SetStatus
from sync_protocol.change_set import MANIFEST_LINE_MAX_BYTES, content_leaf_indices, parse_manifest_line
from sync_protocol.change_types import Erased
from sync_protocol.checkpoint import Checkpoint, parse_checkpoint_text
from sync_protocol.complaint import ComplaintState
from sync_protocol.compression import decompress_part, peek_head
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.jws import parse_jws
from sync_protocol.ledger import FoldedLeaf, Ledger
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.line import parse_change
from sync_protocol.manifest import CHANGE_SET_TYP, SignedManifest, parse_manifest
from sync_protocol.merkle import CompactRange, leaf_hash, tree_root
from sync_protocol.note import parse_note
from sync_protocol.receipt import parse_receipt, verify_receipt
from sync_protocol.roster import Roster
from sync_protocol.statement import Fork
from sync_protocol.transitions import Verdict
from sync_protocol.values import Digest, b64u_decode
from tests.sim.door import Reply, Request
from tests.sim.hub_state import HubState
from tests.sim.local_state import LocalState
from tests.sim.memory_locks import LockState
from tests.sim.memory_projection import ProjectionState
from tests.sim.parts import tables
from tests.sim.process import Process


@dataclass(frozen=True, slots=True)
class End:
    """The newest set of a chain, as the log has it."""

    epoch: int
    seq: int
    digest: Digest


@dataclass
class Witness:
    """`hostile` are agencies that may lie; `tell` keeps the trace."""

    origin: str
    tell: Callable[[str], None]
    hostile: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    roots: dict[int, bytes] = field(default_factory=dict)
    hashes: dict[int, bytes] = field(default_factory=dict)
    ends: dict[str, End] = field(default_factory=dict)
    where: dict[str, list[tuple[int, Verdict]]] = field(default_factory=dict)  # change id -> places in the log
    signed: dict[tuple[str, int, int], Digest] = field(default_factory=dict)
    erased: set[bytes] = field(default_factory=set)  # leaf hashes of content lines
    published: int = 0

    def __post_init__(self) -> None:
        self.roster = Roster()
        self.ledger = Ledger(self.roster, {})
        self.duties = DutyBook(tables(), self.roster)
        self.tree = CompactRange()

    def violated(self, what: str) -> None:
        """A guarantee does not hold."""
        self.tell(f"VIOLATION {what}")
        self.violations.append(what)

    # --- the hub's log ---

    def log_committed(self, what: str, before: HubState, after: HubState) -> None:
        """Nothing is rewritten, every root is the tree's, every set follows its chain and is signed by its agency."""
        if after.entries[: len(self.entries)] != self.entries:
            self.violated(
                f"the log was rewritten or cut: {len(self.entries)} leaves were there, now {len(after.entries)}"
            )
            return
        for index in range(len(self.entries), len(after.entries)):
            try:
                self._take_leaf(index, after.entries[index], after.changes.get(index))
            except (Refused, Corrupt) as error:
                self.violated(f"the leaf at {index} cannot be folded: {error}")
                return
        size = len(self.entries)
        newest = after.checkpoints.get(size)
        if size and (newest is None or newest.root != self.roots[size]):
            self.violated(f"the checkpoint of size {size} has another root than its leaves")

    def _take_leaf(self, index: int, entry: bytes, changes_frame: bytes | None) -> None:
        self.entries.append(entry)
        self.tree.append(leaf_hash(entry))
        self.roots[index + 1] = self.tree.root()
        jws = parse_jws(entry, max_bytes=FORK_JWS_MAX_BYTES)
        lines: list[bytes] | None = None
        if jws.typ == CHANGE_SET_TYP:
            lines = decompress_part(changes_frame or b"").split(b"\n")[1:-1]
            signed = parse_manifest(entry)
            self._check_chain(index, signed)
            self._check_pairs(index, signed, lines)
        leaves = None if lines is None else [leaf_hash(line) for line in lines]
        folded = self.ledger.apply(index, jws, lines, leaves)
        self.duties.note(folded)
        self.hashes[index + 1] = folded.state_hash
        if folded.problem is not None:
            self.violated(f"the log holds a void statement at {index}: {folded.problem}")
        self._note_changes(folded)
        if jws.typ == Fork.TYP and folded.agency not in self.hostile:
            self.violated(f"{folded.agency} signed two sets for one place")

    def _note_changes(self, folded: FoldedLeaf) -> None:
        for verdict, change in zip(folded.verdicts, folded.changes, strict=True):
            if change is not None and isinstance(change.data, Erased) and verdict is Verdict.APPLIED:
                self.erased |= {b64u_decode(leaf, 32, "leaves") for leaf in change.data.leaves}
            if change is not None and folded.agency not in self.hostile:
                self.where.setdefault(change.id, []).append((folded.index, verdict))

    def _check_chain(self, index: int, signed: SignedManifest) -> None:
        manifest = signed.manifest
        agency = str(manifest.agency)
        try:
            self.roster.verify_change_set_key(signed.jws, manifest.agency, index)
        except Refused as refused:
            self.violated(f"the log took a set that {agency} did not sign: {refused}")
        record, end = self.roster.agency(agency), self.ends.get(agency)
        if end is None and record is not None:
            end = End(1, 0, record.enrolment)
        if end is None or (manifest.seq, manifest.prev) != (end.seq + 1, end.digest) or manifest.epoch < end.epoch:
            self.violated(f"set {manifest.epoch}/{manifest.seq} of {agency} does not follow {end}")
        if self.roots.get(manifest.seen_size, manifest.seen_root) != manifest.seen_root:
            self.violated(f"{agency} saw another root for size {manifest.seen_size}")
        self.ends[agency] = End(manifest.epoch, manifest.seq, signed.digest)
        self.note_signed(agency, signed)

    def _check_pairs(self, index: int, signed: SignedManifest, lines: list[bytes]) -> None:
        """An honest set has a content line for each change that announces one."""
        if signed.manifest.agency not in self.hostile:
            try:
                content_leaf_indices(lines, signed.manifest.size)
            except Refused:
                self.violated(f"the set at {index} announces other content lines than it has")

    def lock_swapped(self, what: str, before: LockState, after: LockState) -> None:
        """What is published was committed, and only grows."""
        if after.proof is not None:
            self.violated("the hub believes that it lost something, and nobody took anything from it")
        if after.note is not None and after.note != before.note:
            self._check_shown(after.note, "published", is_publishing=True)

    def _check_shown(self, note: bytes, how: str, *, is_publishing: bool = False) -> Checkpoint:
        shown = parse_checkpoint_text(parse_note(note).text)
        if is_publishing:
            if shown.size < self.published:
                self.violated(f"checkpoint {shown.size} was published after {self.published}")
            self.published = max(self.published, shown.size)
        if shown.size > min(self.published, len(self.entries)):
            self.violated(f"checkpoint {shown.size} was {how}, {len(self.entries)} leaves are committed")
        elif shown.size and self.roots[shown.size] != shown.root:
            self.violated(f"two roots for size {shown.size}: another was {how}")
        return shown

    def projected(self, what: str, before: ProjectionState, after: ProjectionState) -> None:
        """The projection's state hash is that of the fold, at the same size."""
        cursor = after.cursor
        if cursor.size and self.hashes.get(cursor.size) != cursor.state_hash:
            self.violated(f"the projection at {cursor.size} has another state hash than the fold")

    # --- the lines ---

    def sent(self, process: Process, request: Request) -> None:
        """What an honest node sends is signed once for its place."""
        if request.method == "PUT":
            try:
                signed = parse_manifest_line(peek_head(request.body, "zstd", MANIFEST_LINE_MAX_BYTES))
            except Refused:
                return
            self.note_signed(str(signed.manifest.agency), signed)

    def note_signed(self, agency: str, signed: SignedManifest) -> None:
        """A signature that was made for a place in a chain."""
        if agency in self.hostile:
            return
        place = (agency, signed.manifest.epoch, signed.manifest.seq)
        if self.signed.setdefault(place, signed.digest) != signed.digest:
            self.violated(f"{agency} signed two sets for epoch {place[1]}, seq {place[2]}")

    def answered(self, request: Request, reply: Reply) -> None:
        """No checkpoint is shown that is not published, and no other root for a size."""
        if reply.status >= 500 and b"about:blank" in reply.body:
            self.violated(f"{request.method} {request.url}: {reply.body!r}")
        if reply.status < 300 and b'"checkpoint":' in reply.body:
            shown: dict[str, Any] = msgspec.json.decode(reply.body)
            self._check_shown(shown["checkpoint"].encode(), "shown")

    # --- the nodes ---

    def node_committed(self, machine: str, agency: str, before: LocalState, after: LocalState) -> None:
        """What is acknowledged is in the log, there, with these bytes; what is signed is signed once."""
        for number, held in after.sets.items():
            known = before.sets.get(number)
            if known is held:
                continue
            if known is None:
                self.note_signed(agency, parse_manifest(held.manifest))
            if held.status is SetStatus.ACKNOWLEDGED and (known is None or known.status is not held.status):
                self._check_receipt(machine, held, after.receipts[number])
        if after.node is not None and (before.node is None or before.node.seen is not after.node.seen):
            seen = after.node.seen
            if self.roots.get(seen.size) != seen.root:
                self.violated(f"{machine} believes in another root for size {seen.size}")

    def _check_receipt(self, machine: str, held: HeldSet, receipt: bytes) -> None:
        place = f"{machine}: set {held.epoch}/{held.seq}"
        entry = held.manifest.encode("ascii")
        if held.index is None or held.index >= len(self.entries) or self.entries[held.index] != entry:
            self.violated(f"{place} is acknowledged at index {held.index}, where the log holds something else")
            return
        try:
            parsed = parse_receipt(receipt)
            opened = verify_receipt(parsed, entry, self.roster.log_keys_for(parsed.note), self.origin)
        except Refused as refused:
            self.violated(f"{place} keeps a receipt that does not hold: {refused}")
            return
        if parsed.index != held.index or self.roots.get(opened.checkpoint.size) != opened.checkpoint.root:
            self.violated(f"{place} keeps a receipt of another log")

    # --- at the end ---

    def check_log(self) -> None:
        """From scratch: the tree, and that no change of an honest node stands twice in the log."""
        if tree_root([leaf_hash(entry) for entry in self.entries]) != self.tree.root():
            self.violated("the tree does not hold")
        for change, places in self.where.items():
            if len(places) > 1:
                self.violated(f"change {change} is in the log at {places}")

    def check_sources(self, copied: Collection[str]) -> None:
        """No complaint was recorded twice, however often its reporter asked. A copied directory may have forgotten."""
        seen: dict[tuple[str, str], str] = {}
        for name, held in sorted(self.ledger.complaints.items()):
            if held.source is not None and held.minted_by not in copied:
                other = seen.setdefault((held.source.system, held.source.id), name)
                if other != name:
                    self.violated(f"{other} and {name} are one complaint of {held.source.id}")

    def check_erased(self, where: str, contents: Iterable[bytes]) -> None:
        """What the log says is erased is nowhere any more."""
        for line in contents:
            if leaf_hash(line) in self.erased:
                self.violated(f"{where} keeps a content line that was erased")

    def check_projection(self, state: ProjectionState) -> None:
        """Every complaint and figure as an independent fold has them."""
        if state.cursor.size != len(self.entries):
            self.violated(f"the projection ends at {state.cursor.size} of {len(self.entries)}")
            return
        wanted = {complaint_key(name): _facts(held) for name, held in self.ledger.complaints.items()}
        found = {key: _facts(unpack_state(row.state)) for key, row in state.complaints.items()}
        if wanted != found:
            self.violated("the projection's complaints are not those of the fold")
        totals = {name: count for name, count in state.totals.items() if count}
        duties = self.duties.named(self.ledger.complaints)
        if totals != self.ledger.figures.named() | duties:
            self.violated("the projection's figures are not those of the fold")
        if state.heard != self.ledger.last_heard:
            self.violated("the projection heard of others than the fold")

    def check_changes(self, machine: str, lines: Iterable[bytes]) -> None:
        """Every change that a drained node holds is in the log, once."""
        for line in lines:
            change = parse_change(line).id
            if len(self.where.get(change, ())) != 1:
                self.violated(f"{machine}: change {change} is in the log at {self.where.get(change, [])}")

    def digest(self) -> str:
        """All that came out, in a few letters."""
        folded = b"".join((self.tree.root(), self.ledger.state_hash, repr(sorted(self.signed)).encode()))
        return sha256(folded).hexdigest()


def _facts(state: ComplaintState) -> tuple[object, ...]:
    return msgspec.structs.astuple(state)[: len(ComplaintState.__struct_fields__)]
