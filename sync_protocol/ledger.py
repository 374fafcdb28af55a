"""The fold of the whole log: leaf after leaf into verdicts, owners, state hash and figures (protocol §9).

Pure: it is handed each leaf with its change lines and keeps what follows from them. Hub and auditor run this same code;
so does anybody who wants to check either. What stops it (an unknown typ, a copy that hides change lines) is raised
before anything has changed.
"""

from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final

import msgspec

from sync_protocol import statement as st
from sync_protocol.complaint import ComplaintState, FoldContext, fold, raw_ids
from sync_protocol.errors import Corrupt, Refused, malformed
from sync_protocol.figures import COUNTED_TYPES, Figures, count_complaints, count_event, count_verdicts
from sync_protocol.inbox import HANDING, Note, notes_of
from sync_protocol.jws import Jws
from sync_protocol.line import Change
from sync_protocol.line_columns import parse_changes
from sync_protocol.manifest import CHANGE_SET_TYP, Manifest, parse_manifest
from sync_protocol.roster import Roster
from sync_protocol.transitions import State, Verdict
from sync_protocol.values import format_timestamp, parse_timestamp

STATE_HASH_START: Final = bytes(32)
_DAY_MS: Final = 24 * 60 * 60 * 1000
_LAST_MOMENT_MS: Final = parse_timestamp("9999-12-31T23:59:59.999Z")


class FoldedLeaf(msgspec.Struct):
    """What one log leaf did. For a statement all lists are empty; `problem` says why it is void, if it is.

    `changes` are the parsed lines (None where malformed or unauthorised) beside their `verdicts`, and `states` the
    complaints after each of them (empty for an unauthorised set). `touched` holds each complaint that a change was
    applied to, as it was before this leaf (None if it was born in it). `figures` is what this leaf adds to the totals;
    `state_hash` the raw 32 bytes after it. `concerns` has, for each change that others than its signer are told of
    (protocol §7.6), its position, its complaint, and whom it concerns. `heard_before` is the tick from which the
    silence of a set's agency counted until this leaf (protocol §9.4), None for an unauthorised set.
    """

    index: int
    typ: str
    agency: str | None
    seq: int | None
    verdicts: list[Verdict]
    changes: Sequence[Change | None]
    touched: dict[str, ComplaintState | None]
    figures: Figures
    state_hash: bytes
    problem: Refused | None = None
    concerns: list[tuple[int, str, dict[str, Note]]] = msgspec.field(default_factory=list)
    states: list[ComplaintState | None] = []
    heard_before: int | None = None


class Ledger:
    """The state of a fold after `size` leaves, beginning with none or with what an earlier fold left.

    `complaints` maps complaint ids to states: all of them, or at least those that the sets to come name. A state is
    never changed, only replaced. `last_heard` maps each agency to the tick (ms since 1970) before its last change set.
    """

    def __init__(
        self,
        roster: Roster,
        complaints: MutableMapping[str, ComplaintState],
        *,
        size: int = 0,
        state_hash: bytes = STATE_HASH_START,
        figures: Figures | None = None,
        last_heard: dict[str, int | None] | None = None,
    ) -> None:
        self.roster = roster
        self.complaints = complaints
        self.size = size
        self.state_hash = state_hash
        self.figures = Figures() if figures is None else figures
        self.last_heard: dict[str, int | None] = {} if last_heard is None else last_heard
        self._tails: dict[str, list[list[bytes]]] = {}

    def apply(
        self,
        index: int,
        jws: Jws,
        change_lines: Sequence[bytes] | None = None,
        change_leaves: Sequence[bytes] | None = None,
        *,
        changes: Sequence[Change | None] | None = None,
        authentic: bool = True,
    ) -> FoldedLeaf:
        """Fold the leaf at `index`, which is `size`. A change set comes with its change lines and their leaf hashes.

        `changes` is what `parse_changes` makes of the lines, in their stead, where the caller has parsed them ahead.
        `authentic` is False where the caller found that the signature of a change set does not verify: then no key
        spoke. A void statement is passed over and reported in `problem`. Raises Corrupt for a leaf out of order,
        Refused for what stops a fold: unsupported-version; malformed for a set before the first rules, or without its
        lines.
        """
        if index != self.size:
            raise Corrupt(f"the fold stands at {self.size} and was handed leaf {index}")
        if jws.typ == CHANGE_SET_TYP:
            if changes is None and change_lines is not None:
                changes = parse_changes(change_lines)
            folded = self._fold_set(index, jws, changes, change_leaves, authentic)
        else:
            folded = self._admit(index, jws)
        self.figures.merge(folded.figures)
        self.size = index + 1
        return folded

    def _admit(self, index: int, jws: Jws) -> FoldedLeaf:
        statement: st.Statement | None = None
        problem = None
        try:
            statement = self.roster.admit(index, jws)
        except Refused as refused:
            if refused.kind == "unsupported-version":
                raise
            problem = refused
        if isinstance(statement, st.Enrolment):
            self.last_heard.setdefault(statement.agency, self.roster.tick_before(index))
        elif isinstance(statement, st.Tick):
            # Who was heard before the log had its first tick counts as heard at that tick.
            self.last_heard.update({who: statement.at for who, heard in self.last_heard.items() if heard is None})
        agency = getattr(statement, "agency", None)
        self._step(index, b"")
        return FoldedLeaf(index, jws.typ, agency, None, [], [], {}, Figures(), self.state_hash, problem)

    def _fold_set(
        self,
        index: int,
        jws: Jws,
        changes: Sequence[Change | None] | None,
        leaves: Sequence[bytes] | None,
        authentic: bool,
    ) -> FoldedLeaf:
        manifest = parse_manifest(jws).manifest
        if changes is None or leaves is None or not len(changes) == len(leaves) == manifest.changes:
            raise malformed("a copy without all change lines cannot be folded", f"log index {index}")
        context = self._context(index, manifest)
        folded = FoldedLeaf(index, jws.typ, manifest.agency, manifest.seq, [], [], {}, Figures(), b"")
        if authentic and self.roster.speaks(jws.kid, manifest.agency, index):
            folded.heard_before = self.last_heard.get(manifest.agency)
            self.last_heard[manifest.agency] = self.roster.tick_before(index)
            transcript = self._fold_changes(folded, changes, leaves, context)
        else:
            folded.verdicts = [Verdict.UNAUTHORISED] * len(changes)
            folded.changes = [None] * len(changes)
            tail = self._tail(Verdict.UNAUTHORISED, None)
            transcript = b"".join([leaf + tail for leaf in leaves])
        count_complaints(folded.figures, folded.touched.values(), [self.complaints[name] for name in folded.touched])
        count_verdicts(folded.figures, manifest.agency, folded.verdicts)
        folded.state_hash = self._step(index, transcript)
        return folded

    def _fold_changes(
        self, folded: FoldedLeaf, changes: Sequence[Change | None], leaves: Sequence[bytes], context: FoldContext
    ) -> bytes:
        """Every change in order: verdict, new state, and its part of the transcript, which is returned."""
        complaints, touched, verdicts, states = self.complaints, folded.touched, folded.verdicts, folded.states
        oldest, newest = self._plausible_times(context.index)
        folded.changes = changes
        tails: list[bytes] = []
        for change, leaf, raw_id in zip(changes, leaves, raw_ids(changes), strict=True):
            if change is None:
                verdicts.append(_MALFORMED)
                states.append(None)
                tails.append(self._tail(_MALFORMED, None))
                continue
            name = change.complaint
            before = complaints.get(name)
            verdict, after = fold(before, change, leaf, context, raw_id)
            verdicts.append(verdict)
            states.append(after)
            tails.append(self._tail(verdict, after))
            if verdict is _APPLIED and after is not None:
                complaints[name] = after
                if before is None or name not in touched:
                    touched[name] = before
                if before is not None and (after.minted_by != context.agency or change.type in HANDING):
                    told = notes_of(change.type, before, after, context.agency, context.rules)
                    folded.concerns.append((len(verdicts) - 1, name, told))
                if change.type in COUNTED_TYPES:
                    count_event(folded.figures, before, after, change)
                if not oldest <= change.at <= newest:
                    folded.figures.add("stale" if change.at < oldest else "ahead", context.agency)
        return b"".join([part for pair in zip(leaves, tails, strict=True) for part in pair])

    def _context(self, index: int, manifest: Manifest) -> FoldContext:
        """What verdicts of this set may depend on. Raises Refused(malformed) before the first rules."""
        rules = self.roster.rules_at(index)
        if rules is None:
            raise malformed("a change set before the first rules", f"log index {index}")
        now, silence_ms = self.roster.tick_before(index), rules.silence_s * 1000

        def is_silent(owner: str) -> bool:
            heard = self.last_heard.get(owner)
            return now is not None and heard is not None and now - heard > silence_ms

        def is_enrolled(agency: str) -> bool:
            return self.roster.is_enrolled(agency, index)

        # A plain str: owners are compared and looked up for every change, and a subclass of str is slower at both.
        return FoldContext(index, str(manifest.agency), rules, is_enrolled, is_silent)

    def _plausible_times(self, index: int) -> tuple[str, str]:
        """The earliest and latest `at` that is not flagged (protocol §5.5); timestamps compare as text."""
        tick = self.roster.tick_before(index)
        if tick is None:
            return format_timestamp(0), format_timestamp(_LAST_MOMENT_MS)
        return format_timestamp(max(tick - _DAY_MS, 0)), format_timestamp(min(tick + _DAY_MS, _LAST_MOMENT_MS))

    def _tail(self, verdict: Verdict, after: ComplaintState | None) -> bytes:
        """What follows the leaf hash in the transcript: verdict, owner, state (protocol §9.5)."""
        if after is None:
            return bytes((verdict, 0, 0))
        tails = self._tails.get(after.owner)
        if tails is None:
            tails = self._tails[after.owner] = _tails_of(after.owner)
        return tails[verdict][after.state]

    def _step(self, index: int, transcript: bytes) -> bytes:
        self.state_hash = sha256(self.state_hash + index.to_bytes(8, "big") + sha256(transcript).digest()).digest()
        return self.state_hash


@lru_cache(maxsize=128)  # some 10 KiB each: for ledgers that live no longer than a set
def _tails_of(owner: str) -> list[list[bytes]]:
    """By verdict and state; made once for an owner, because every change needs one."""
    name = bytes((len(owner),)) + owner.encode("ascii")
    return [[bytes((verdict,)) + name + bytes((state,)) for state in State] for verdict in Verdict]


def format_state_hash(state_hash: bytes) -> str:
    """`fold1:` and 64 hexadecimal digits."""
    return f"fold1:{state_hash.hex()}"


_APPLIED: Final = Verdict.APPLIED
_MALFORMED: Final = Verdict.MALFORMED
