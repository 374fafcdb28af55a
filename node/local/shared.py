"""A complaint that several agencies write to, as this node sees it (protocol §10.7).

The log's order decides. What it has judged comes first, ours and others' alike, each at its place; what of ours has no
place yet comes last. So a change of ours that lost a race shows as what it is as soon as the winner's has arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.deadlines.clocks import STARTS, Clocks, follow
from node.local.ports import LocalStore
from node.local.rebasing import AnyRules
from node.store.local_records import HeldChange, HeldComplaint
from node.store.shared_records import ForeignSet, SharedComplaint
from sync_protocol.change_types import Erased
from sync_protocol.complaint import ComplaintState, FoldContext, Verdict, fold
from sync_protocol.errors import Refused
from sync_protocol.excerpt import Excerpt, parse_excerpt
from sync_protocol.line import ERASED_LINE, Change, content_mark, parse_change
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import ComplaintId, b64u_decode


@dataclass(frozen=True, slots=True)
class Settled:
    """A complaint after everything, and since when its duties run (None: not known).

    `is_final`: nothing of ours waits for its place in the log.
    """

    state: ComplaintState
    is_final: bool
    clocks: Clocks | None


@dataclass(frozen=True, slots=True)
class _Placed:
    place: int
    agency: str
    line: bytes
    change: Change


def settle(shared: SharedComplaint, complaint: ComplaintId, agency: str, *, whole: bool = True) -> Settled | None:
    """Folds all that is here, in the order of the log; None if that makes no complaint.

    Raises Refused(bad-proof) if what others did, and the hub calls applied, is not possible, although nothing of ours
    is missing in between: all of ours has its place, and `whole` (none of it is still to come back from the hub).
    """
    placed = [
        _Placed(own.place, agency, own.line, parse_change(own.line))
        for own in shared.own
        if own.place is not None and not own.is_refused
    ]
    placed += [one for foreign in shared.foreign for one in _placed(foreign, parse_excerpt(foreign.lines), complaint)]
    folding = _Folding()
    unplaced = [own.line for own in shared.own if own.place is None]
    for one in sorted(placed, key=lambda one: one.place):
        verdict = folding.take(one)
        if verdict is not Verdict.APPLIED and one.agency != agency and whole and not unplaced:
            what = f"the change of {one.agency} at log index {one.place >> 16}"
            raise Refused("bad-proof", f"{what} is called applied, and is {verdict.label}", where="verdict")
    for line in unplaced:
        folding.take(_Placed(0, agency, line, parse_change(line)))
    return None if folding.state is None else Settled(folding.state, not unplaced, folding.clocks)


@dataclass(slots=True)
class _Folding:
    state: ComplaintState | None = None
    clocks: Clocks | None = None

    def take(self, one: _Placed) -> Verdict:
        """As the log has judged it: who was enrolled, silent or the desk then was decided there."""
        context = FoldContext(one.place >> 16, one.agency, AnyRules(one.agency), lambda _: True, lambda _: True)
        verdict, self.state = fold(self.state, one.change, leaf_hash(one.line), context)
        if verdict is Verdict.APPLIED and (self.clocks is not None or one.change.type in STARTS):
            self.clocks = follow(self.clocks, one.change)
        return verdict


def erased_leaves(changes: Iterable[Change]) -> set[bytes]:
    """Leaf hashes of all that these changes say is gone."""
    return {
        b64u_decode(leaf, 32, "leaves")
        for change in changes
        if isinstance(change.data, Erased)
        for leaf in change.data.leaves
    }


def erased_here(shared: SharedComplaint, complaint: ComplaintId) -> set[bytes]:
    """The same, of all changes to a complaint that are held and that the log has not refused."""
    own = [parse_change(own.line) for own in shared.own if not own.is_refused and own.line.endswith(ERASED_LINE)]
    erasing = [foreign for foreign in shared.foreign if ERASED_LINE + b"\n" in foreign.lines]
    others = [one for foreign in erasing for one in _placed(foreign, parse_excerpt(foreign.lines), complaint)]
    return erased_leaves([*own, *(one.change for one in others)])


async def history_of(store: LocalStore, complaint: HeldComplaint) -> list[HeldChange]:
    """Its changes, ours and others', in the order of the log; what of ours has no place in it yet comes last."""
    own = await store.complaint_changes(complaint.no)
    others = [one for held in await store.foreign_sets(complaint.no) for one in _changes_in(held, complaint.id)]
    placed = [one for one in [*own, *others] if one.index is not None]
    return sorted(placed, key=lambda one: one.index or 0) + [one for one in own if one.index is None]


async def lines_among(
    store: LocalStore, complaints: Sequence[HeldComplaint]
) -> dict[int, list[tuple[bytes, bytes | None]]]:
    """Change line and content line (None: none, or not here) of all that was done to these complaints, by number.

    In the order of the log, by whichever agency, without what the log refused.
    """
    lines = await store.lines_of([one.no for one in complaints])
    shared = await store.shared_among([one.no for one in complaints])
    for one in complaints:
        if one.no in shared:
            lines[one.no] = [
                (change.line, change.content) for change in await history_of(store, one) if not change.verdict
            ]
    return lines


def _changes_in(foreign: ForeignSet, complaint: ComplaintId) -> list[HeldChange]:
    excerpt = parse_excerpt(foreign.lines)
    said = excerpt.said()
    found = []
    for one in _placed(foreign, excerpt, complaint):
        content = said.get(content_mark(one.change.id)) if one.change.content else None
        line = None if content is None else content[1]
        found.append(HeldChange(0, one.line, line, foreign.seq, foreign.index, foreign.agency))
    return found


def _placed(foreign: ForeignSet, excerpt: Excerpt, complaint: ComplaintId) -> list[_Placed]:
    """The changes of the complaint that the set's excerpt shows, in order."""
    changes = excerpt.manifest.manifest.changes
    shown = [
        _Placed(foreign.index << 16 | position, foreign.agency, line, parse_change(line))
        for position, line in sorted(excerpt.lines.items())
        if position < changes
    ]
    return [one for one in shown if one.change.complaint == complaint]
