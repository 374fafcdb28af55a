"""The audit: everything that can be proved about a log from its bytes alone (protocol §5, §6, §8, §9).

Feed it every log entry in order, and each change set's lines where they can be had; it keeps what it proved, each
proven wrong as a Finding, and what it could not prove. It shares the protocol's rules with the hub and none of its
bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sync_protocol.audit_tree import AuditTree
from sync_protocol.change_set import ChangeSet, parse_change_set, verify_lines
from sync_protocol.checkpoint import OpenCheckpoint, open_checkpoint, verify_seen
from sync_protocol.errors import Refused
from sync_protocol.findings import AuditTotals, ChainEnd, Finding
from sync_protocol.jws import Jws, parse_jws
from sync_protocol.ledger import FoldedLeaf, Ledger, format_state_hash
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.manifest import CHANGE_SET_TYP, SignedManifest, parse_manifest
from sync_protocol.note import VerifierKey
from sync_protocol.roster import Roster
from sync_protocol.statement import Fork, Revocation
from sync_protocol.transitions import State

FINDINGS_MAX: Final = 10_000  # a log that is wrong in every line is wrong enough; keeps memory bounded


@dataclass(slots=True)
class LogAudit:
    """One pass over a log. `roster` and `ledger` are its own, built from the entries alone.

    `on_folded` is handed every leaf that was folded, in order.
    """

    roster: Roster = field(default_factory=Roster)
    findings: list[Finding] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    complete: bool = True
    change_sets: int = 0
    changes: int = 0
    hidden_leaves: int = 0
    _tree: AuditTree = field(default_factory=AuditTree)
    _chains: dict[str, ChainEnd] = field(default_factory=dict)
    _is_cut: bool = False
    _pending: tuple[int, SignedManifest, bool] | None = None
    ledger: Ledger = field(init=False)
    on_folded: Callable[[FoldedLeaf], None] | None = None

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.roster, {})

    def read_entry(self, entry: bytes) -> SignedManifest | None:
        """Take in the next log entry; a manifest comes back where the lines of its set are wanted (`read_lines`)."""
        index = self._tree.append(entry)
        try:
            jws = parse_jws(entry, max_bytes=FORK_JWS_MAX_BYTES)
            signed = parse_manifest(jws) if jws.typ == CHANGE_SET_TYP else None
        except Refused as refused:
            self._find("unreadable-entry", str(refused), index=index)
            self._stop(f"log entry {index} cannot be read")
            return None
        if signed is None:
            self._read_statement(index, jws)
            return None
        authentic = self._check_key(index, signed)
        self._check_place(index, signed)
        self._check_seen(index, signed)
        self.change_sets += 1
        self.changes += signed.manifest.changes
        self._pending = (index, signed, authentic)
        return signed

    def read_lines(self, parts: tuple[bytes, bytes] | None, problem: str = "its lines were not handed over") -> None:
        """The two parts (head, contents) of the set whose manifest was read last; None if they cannot be had."""
        index, signed, authentic = self._take_pending()
        name = f"{signed.manifest.agency} seq {signed.manifest.seq}"
        if parts is None:
            self._stop(f"{name}: {problem}")
            return
        try:
            self._fold(index, signed, parse_change_set(*parts), authentic)
        except Refused as refused:
            self._find(refused.kind, f"lines as handed over: {refused}", signed=signed, index=index)
            self._stop(f"{name}: its lines are not the ones that were signed")

    def note_missing_lines(self) -> None:
        """A source that has to hold every set does not hold the one whose manifest was read last."""
        index, signed, _ = self._take_pending()
        self._find("missing-set", "its manifest is in the log, its lines are not there", signed=signed, index=index)
        self._stop(f"{signed.manifest.agency} seq {signed.manifest.seq}: its lines are not there")

    def note_unreadable_lines(self, problem: Refused) -> None:
        """The lines of the set whose manifest was read last came in no readable form."""
        index, signed, _ = self._take_pending()
        self._find(problem.kind, f"lines as handed over: {problem}", signed=signed, index=index)
        self._stop(f"{signed.manifest.agency} seq {signed.manifest.seq}: its lines cannot be read")

    def close(self, note: bytes, trusted: VerifierKey | None) -> OpenCheckpoint | None:
        """Hold the log against its checkpoint and the key that the auditor trusts (None: the log's own word)."""
        if trusted is None:
            self.unproven.append(
                "that the log's key is the right one: no --vkey was given, its own genesis was believed"
            )
        if self._is_cut:
            self.unproven.append("the checkpoint: the entries that it speaks of are not all there")
            return None
        if not self.roster.has_genesis:
            self._find("no-genesis", "the log does not begin with a genesis", index=0)
            return None
        known = self.roster.vkeys
        if trusted is not None and trusted not in known:
            self._find("wrong-log-key", f"the log's keys are not {trusted.format()}")
        try:
            opened = open_checkpoint(note, self.roster.log_keys_for(note), self.roster.origin)
        except Refused as refused:
            self._find("bad-checkpoint", f"the log's key for this size did not sign it (protocol §5.4): {refused}")
            return None
        if trusted in known and known.index(opened.vkey) > known.index(trusted):
            detail = "the checkpoint is by a key older than the trusted one, which signed nothing of what is shown here"
            self._find("wrong-log-key", detail)
        claimed = opened.checkpoint
        if claimed.size != self._tree.size or claimed.root != self._tree.root:
            self._find("root-mismatch", f"the entries do not make the signed root of size {claimed.size}")
        return opened

    def compare_earlier(self, note: bytes) -> None:
        """That the log continues a checkpoint which somebody kept (`--since`)."""
        if self._is_cut or not self.roster.has_genesis:
            return  # `close` says so; there is nothing, or no key, to hold anything against
        try:
            opened = open_checkpoint(note, self.roster.log_keys_for(note), self.roster.origin)
        except Refused as refused:
            self._find("bad-checkpoint", f"the kept checkpoint does not verify: {refused}")
            return
        kept = opened.checkpoint
        if kept.size > self._tree.size:
            self._find("rolled-back", f"the log once had {kept.size} entries and shows {self._tree.size}")
        elif self._tree.root_at(kept.size) != kept.root:
            self._find(
                "split-view", f"the log showed another history at size {kept.size}: the kept checkpoint is proof"
            )

    def compare_claims(self, size: int, state_hash: str, totals: Mapping[str, Any]) -> None:
        """Hold the hub's own figures against the audit's."""
        if not self.complete:
            self.unproven.append("the hub's figures: the fold could not be repeated to the end")
        elif size != self._tree.size:
            self.unproven.append(
                f"the hub's figures: they are as of log size {size}, the checkpoint is of {self._tree.size}"
            )
        else:
            mine = format_state_hash(self.ledger.state_hash)
            if mine != state_hash:
                self._find("state-hash-mismatch", f"the hub says {state_hash}, the log comes to {mine}")
            wrong = sorted(_differences(self.ledger.figures.named(), totals))
            if wrong:
                self._find("totals-mismatch", "the hub's totals differ from the log's: " + ", ".join(wrong[:20]))

    def hash_tiles(self) -> Mapping[tuple[int, int], bytes]:
        """The hash tiles (level, index) that the entries make."""
        return self._tree.hash_tiles()

    def note_lost_entries(self, kind: str, detail: str) -> None:
        """The source shows no more entries that can be read, though its checkpoint claims more."""
        at = self._tree.size
        self._find(kind, detail, index=at)
        self._stop(f"the log entries end at {at}")
        self._is_cut = True

    def note_missing_tiles(self, paths: Sequence[str], *, is_wrong: bool) -> None:
        """Hash tiles that the source does not have: receipts of others cannot be made from it."""
        text = f"{len(paths)} hash tiles are not there, the first is {paths[0]}"
        if is_wrong:
            self._find("missing-tile", text)
        else:
            self.unproven.append(f"the published hash tiles: {text}")

    def find_wrong_tile(self, path: str) -> None:
        """A hash tile was published that the entries do not make."""
        self._find("wrong-tile", f"{path} is not what the entries make")

    def totals(self) -> AuditTotals:
        """The audit's own count; figures of the fold are of what could be folded."""
        by_state: dict[str, int] = {}
        for complaint in self.ledger.complaints.values():
            label = State(complaint.state).label
            by_state[label] = by_state.get(label, 0) + 1
        return AuditTotals(
            size=self._tree.size,
            root=self._tree.root,
            agencies=len(self.roster.agencies),
            change_sets=self.change_sets,
            changes=self.changes,
            hidden_leaves=self.hidden_leaves,
            state_hash=format_state_hash(self.ledger.state_hash) if self.complete else None,
            complaints=len(self.ledger.complaints),
            refused=self.ledger.figures.total("refused"),
            by_state=by_state,
        )

    def _read_statement(self, index: int, jws: Jws) -> None:
        try:
            problem = self._admit(index, jws)
        except Refused as refused:
            self._find(refused.kind, f"a statement that this program does not know: {refused}", index=index)
            self._stop(f"log entry {index} needs a newer version of this program")
            return
        if problem is not None:
            self._find(problem.kind, f"the hub took in a statement that does not hold: {problem}", index=index)
            return
        fields = jws.fields
        if jws.typ == Revocation.TYP and fields["disputed_from"]:
            self.unproven.append(
                f"what {fields['agency']} meant from seq {fields['disputed_from']} on: the revocation at index {index} "
                f"disputes what key {fields['kid']} signed there; it is reported, nothing of it is undone"
            )
        if jws.typ == Fork.TYP:
            detail = "the agency signed two manifests for one place in its chain; both are in the log"
            self.findings.append(Finding("fork", detail, str(fields["agency"]), int(fields["seq"]), index))

    def _admit(self, index: int, jws: Jws) -> Refused | None:
        """Into roster and fold; into the roster alone once the fold has stopped."""
        if self.complete:
            return self._tell(self.ledger.apply(index, jws)).problem
        try:
            self.roster.admit(index, jws)
        except Refused as refused:
            return refused
        return None

    def _check_key(self, index: int, signed: SignedManifest) -> bool:
        """Whether a key that spoke for the agency at this index signed; if not, the hub should have refused."""
        try:
            self.roster.verify_change_set_key(signed.jws, signed.manifest.agency, index)
        except Refused as refused:
            self._find(refused.kind, f"the hub had to refuse this set: {refused}", signed=signed, index=index)
            return False
        return True

    def _check_place(self, index: int, signed: SignedManifest) -> None:
        """That the set follows the one before it in its agency's chain."""
        manifest = signed.manifest
        chain = self._chains.get(manifest.agency)
        record = self.roster.agency(manifest.agency)
        if chain is None:
            chain = ChainEnd(1, 0, record.enrolment if record else b"")
        if manifest.seq != chain.seq + 1 or manifest.prev != chain.digest:
            self._find("broken-chain", f"does not follow seq {chain.seq} of its agency", signed=signed, index=index)
        elif manifest.epoch < chain.epoch:
            self._find("broken-chain", f"goes back from epoch {chain.epoch}", signed=signed, index=index)
        self._chains[manifest.agency] = ChainEnd(manifest.epoch, manifest.seq, signed.digest)

    def _check_seen(self, index: int, signed: SignedManifest) -> None:
        """That the checkpoint which the agency countersigned is one of this log's history."""
        manifest = signed.manifest
        if not self.roster.has_genesis:
            return  # `close` says so; there is no key to hold anything against
        try:
            vkey = self.roster.log_key_at(manifest.seen_size)
            verify_seen(self.roster.origin, manifest.seen_size, manifest.seen_root, manifest.seen_sig, (vkey,))
        except Refused as refused:
            self._find(
                "bad-seen",
                f"the log's key for that size did not sign the checkpoint that the set names: {refused}",
                signed=signed,
                index=index,
            )
            return
        if manifest.seen_size > index or self._tree.root_at(manifest.seen_size) != manifest.seen_root:
            detail = (
                f"the hub signed another history of size {manifest.seen_size} for this agency: the set holds the proof"
            )
            self._find("split-view", detail, signed=signed, index=index)

    def _fold(self, index: int, signed: SignedManifest, change_set: ChangeSet, authentic: bool) -> None:
        if change_set.manifest.jws.text != signed.jws.text:
            raise Refused("root-mismatch", "these lines come with another manifest than the log's", where="manifest")
        lines = verify_lines(change_set)
        self.hidden_leaves += lines.hidden_leaves
        if self.complete:
            folded = self.ledger.apply(index, signed.jws, lines.change_lines, lines.change_leaves, authentic=authentic)
            self._tell(folded)

    def _tell(self, folded: FoldedLeaf) -> FoldedLeaf:
        if self.on_folded is not None:
            self.on_folded(folded)
        return folded

    def _take_pending(self) -> tuple[int, SignedManifest, bool]:
        assert self._pending is not None, "read_lines follows a read_entry that wanted them"
        pending, self._pending = self._pending, None
        return pending

    def _stop(self, why: str) -> None:
        """The fold ends here: it never judges over a hole. Signatures and chains go on being checked."""
        if self.complete:
            self.unproven.append(f"verdicts, figures and state hash from here on: {why}")
        self.complete = False

    def _find(self, kind: str, detail: str, *, signed: SignedManifest | None = None, index: int | None = None) -> None:
        if len(self.findings) < FINDINGS_MAX:
            agency = str(signed.manifest.agency) if signed else None
            self.findings.append(Finding(kind, detail, agency, signed.manifest.seq if signed else None, index))


def _differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Sequence[str]:
    return [name for name in mine.keys() | theirs.keys() if mine.get(name, 0) != theirs.get(name, 0)]
