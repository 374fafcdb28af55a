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

from node.hub.folding import unpack_state
from node.store.complaint_keys import complaint_key
from node.store.local_records import HeldSet, SetStatus
from sync_protocol.change_set import MANIFEST_LINE_MAX_BYTES, parse_manifest_line
from sync_protocol.checkpoint import Checkpoint, parse_checkpoint_text
from sync_protocol.complaint import ComplaintState
from sync_protocol.compression import peek_head
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.line import parse_change
from sync_protocol.manifest import SignedManifest, parse_manifest
from sync_protocol.merkle import leaf_hash, tree_root
from sync_protocol.note import parse_note
from sync_protocol.receipt import parse_receipt, verify_receipt
from sync_protocol.values import Digest
from tests.sim.door import Reply, Request
from tests.sim.hub_state import HubState
from tests.sim.local_state import LocalState
from tests.sim.memory_locks import LockState
from tests.sim.memory_projection import ProjectionState
from tests.sim.process import Process
from tests.sim.true_log import TrueLog


@dataclass
class Witness:
    """`hostile` are agencies that may lie; `tell` keeps the trace.

    `held` leaves are in the hub's database, `published` of them the lock store speaks of: fewer are held than published
    while a database that was put back is behind.
    """

    origin: str
    tell: Callable[[str], None]
    hostile: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    signed: dict[tuple[str, int, int], Digest] = field(default_factory=dict)
    notes: dict[int, bytes] = field(default_factory=dict)  # the checkpoint that the hub signed, by size
    held: int = 0
    published: int = 0

    def __post_init__(self) -> None:
        self.log = TrueLog(self.hostile, self.violated, self.note_signed)

    def violated(self, what: str) -> None:
        """A guarantee does not hold."""
        self.tell(f"VIOLATION {what}")
        self.violations.append(what)

    # --- the hub's log ---

    def fits(self, state: HubState) -> bool:
        """Whether a copy of the hub's database leads to everything that was published since."""
        return state.entries == self.log.entries[: len(state.entries)]

    def hub_put_back(self, state: HubState) -> None:
        """The hub's database is an older one now. What nobody was ever shown may be gone for good."""
        size = max(self.published, len(state.entries))
        self.log.cut(size)
        self.notes = {one: note for one, note in self.notes.items() if one <= size}
        self.held = len(state.entries)

    def log_committed(self, what: str, before: HubState, after: HubState) -> None:
        """Nothing is rewritten, every root is the tree's, every set follows its chain and is signed by its agency.

        What was there before a database was put back comes back as it was, under checkpoints that were signed then.
        """
        log, size = self.log, len(after.entries)
        known = log.entries[:size]
        if len(before.entries) != self.held or size < self.held or after.entries[: len(known)] != known:
            self.violated(f"the log was rewritten or cut: {self.held} leaves were there, now {size}")
            return
        for index in range(len(known), size):
            frames = (after.changes[index], after.contents[index]) if index in after.changes else None
            try:
                log.take(after.entries[index], frames)
            except (Refused, Corrupt) as error:
                self.violated(f"the leaf at {index} cannot be folded: {error}")
                return
        self.held = size
        self._check_checkpoint(before, after)
        self._check_lines(before, after)

    def _check_checkpoint(self, before: HubState, after: HubState) -> None:
        size = len(after.entries)
        newest = after.checkpoints.get(size)
        if newest is None or size == len(before.entries):
            if size and newest is None:
                self.violated(f"there is no checkpoint of size {size}")
            return
        if newest.root != self.log.roots[size]:
            self.violated(f"the checkpoint of size {size} has another root than its leaves")
        is_back = size in self.notes or size < len(self.log.entries)
        if is_back and self.notes.get(size) != newest.note:
            self.violated(f"a hub that was put back signed size {size}, and not as it had before")
        self.notes[size] = newest.note

    def _check_lines(self, before: HubState, after: HubState) -> None:
        """Lines that come back, or are completed, are those that were signed."""
        if after.changes.keys() == before.changes.keys() and after.contents == before.contents:
            return
        for index, changes in after.changes.items():
            frames, first = (changes, after.contents[index]), self.log.frames[index]
            is_new = before.changes.get(index) is not changes or before.contents.get(index) is not frames[1]
            if is_new and (first is None or first[0] is not changes or first[1] is not frames[1]):
                self.log.check_lines(index, frames)

    def lock_swapped(self, what: str, before: LockState, after: LockState) -> None:
        """What is published was committed, and only grows."""
        if after.proof is not None and after.proof != before.proof:
            if self.held >= self.published:
                self.violated("the hub believes that it lost something, and nobody took anything from it")
            self._check_shown(after.proof, "kept as a proof")
        if after.note is not None and after.note != before.note:
            self._check_shown(after.note, "published", is_publishing=True)

    def _check_shown(self, note: bytes, how: str, *, is_publishing: bool = False) -> Checkpoint:
        shown = parse_checkpoint_text(parse_note(note).text)
        if is_publishing:
            if shown.size < self.published:
                self.violated(f"checkpoint {shown.size} was published after {self.published}")
            self.published = max(self.published, shown.size)
        if shown.size > min(self.published, len(self.log.entries)):
            self.violated(f"checkpoint {shown.size} was {how}, {len(self.log.entries)} leaves are committed")
        elif shown.size and self.log.roots[shown.size] != shown.root:
            self.violated(f"two roots for size {shown.size}: another was {how}")
        return shown

    def projected(self, what: str, before: ProjectionState, after: ProjectionState) -> None:
        """The projection's state hash is that of the fold, at the same size."""
        cursor = after.cursor
        if cursor.size and self.log.hashes.get(cursor.size) != cursor.state_hash:
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

    def answered(self, request: Request, reply: Reply, *, may_fail: bool) -> None:
        """No checkpoint is shown that is not published, and no other root for a size.

        `may_fail`: a disk failed meanwhile, and a hub that says so has no defect.
        """
        if reply.status >= 500 and b"about:blank" in reply.body and not may_fail:
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
            if self.log.roots.get(seen.size) != seen.root:
                self.violated(f"{machine} believes in another root for size {seen.size}")

    def _check_receipt(self, machine: str, held: HeldSet, receipt: bytes) -> None:
        place = f"{machine}: set {held.epoch}/{held.seq}"
        entry = held.manifest.encode("ascii")
        if held.index is None or held.index >= len(self.log.entries) or self.log.entries[held.index] != entry:
            self.violated(f"{place} is acknowledged at index {held.index}, where the log holds something else")
            return
        try:
            parsed = parse_receipt(receipt)
            opened = verify_receipt(parsed, entry, self.log.roster.log_keys_for(parsed.note), self.origin)
        except Refused as refused:
            self.violated(f"{place} keeps a receipt that does not hold: {refused}")
            return
        if parsed.index != held.index or self.log.roots.get(opened.checkpoint.size) != opened.checkpoint.root:
            self.violated(f"{place} keeps a receipt of another log")

    # --- at the end ---

    def check_log(self) -> None:
        """From scratch: the tree, and that no change of an honest node stands twice in the log."""
        if tree_root([leaf_hash(entry) for entry in self.log.entries]) != self.log.tree.root():
            self.violated("the tree does not hold")
        for change, places in self.log.where.items():
            if len(places) > 1:
                self.violated(f"change {change} is in the log at {places}")

    def check_sources(self, copied: Collection[str]) -> None:
        """No complaint was recorded twice, however often its reporter asked. A copied directory may have forgotten."""
        seen: dict[tuple[str, str], str] = {}
        for name, held in sorted(self.log.ledger.complaints.items()):
            if held.source is not None and held.minted_by not in copied:
                other = seen.setdefault((held.source.system, held.source.id), name)
                if other != name:
                    self.violated(f"{other} and {name} are one complaint of {held.source.id}")

    def check_erased(self, where: str, contents: Iterable[bytes]) -> None:
        """What the log says is erased is nowhere any more."""
        for line in contents:
            if leaf_hash(line) in self.log.erased:
                self.violated(f"{where} keeps a content line that was erased")

    def check_projection(self, state: ProjectionState) -> None:
        """Every complaint and figure as an independent fold has them."""
        if state.cursor.size != len(self.log.entries):
            self.violated(f"the projection ends at {state.cursor.size} of {len(self.log.entries)}")
            return
        wanted = {complaint_key(name): _facts(held) for name, held in self.log.ledger.complaints.items()}
        found = {key: _facts(unpack_state(row.state)) for key, row in state.complaints.items()}
        if wanted != found:
            self.violated("the projection's complaints are not those of the fold")
        totals = {name: count for name, count in state.totals.items() if count}
        duties = self.log.duties.named(self.log.ledger.complaints)
        if totals != self.log.ledger.figures.named() | duties:
            self.violated("the projection's figures are not those of the fold")
        if state.heard != self.log.ledger.last_heard:
            self.violated("the projection heard of others than the fold")

    def check_changes(self, machine: str, lines: Iterable[bytes]) -> None:
        """Every change that a drained node holds is in the log, once."""
        for line in lines:
            change = parse_change(line).id
            if len(self.log.where.get(change, ())) != 1:
                self.violated(f"{machine}: change {change} is in the log at {self.log.where.get(change, [])}")

    def digest(self) -> str:
        """All that came out, in a few letters."""
        folded = b"".join((self.log.tree.root(), self.log.ledger.state_hash, repr(sorted(self.signed)).encode()))
        return sha256(folded).hexdigest()


def _facts(state: ComplaintState) -> tuple[object, ...]:
    return msgspec.structs.astuple(state)[: len(ComplaintState.__struct_fields__)]
