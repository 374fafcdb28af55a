"""What is due on complaints of which nobody knows it yet: after an update of the program or of the tables of deadlines,
and after sets came back from the hub. What is recorded here is measured with its change (recording.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from node.deadlines.clocks import STARTS, Clocks, follow
from node.deadlines.tables import Deadlines
from node.local.ports import LocalStore
from node.local.rebasing import AnyRules
from node.local.recording import own_slot
from node.store.local_records import HeldComplaint, Measured
from sync_protocol.complaint import ComplaintState, FoldContext, Verdict, fold
from sync_protocol.errors import Refused
from sync_protocol.limits import INTEGER_MAX
from sync_protocol.line import Change, parse_change
from sync_protocol.merkle import leaf_hash

PAGE: Final = 200  # complaints in one transaction: some ten milliseconds in which nobody else writes


async def measure(store: LocalStore, deadlines: Deadlines, agency: str) -> int:
    """Until all are measured by these tables; how many were not. May be cut off anywhere and done again."""
    await store.measure_by(deadlines.digests.mark())
    count = 0
    while found := await store.unmeasured(PAGE):
        count += len(found)
        async with store.transaction() as transaction:
            unknown = [held.key for held in found if held.clocks is None]
            lines: dict[bytes, list[bytes]] = {}
            for key, line in await transaction.history(unknown, INTEGER_MAX):
                lines.setdefault(key, []).append(line)
            await transaction.measure([_measured(held, lines.get(held.key, ()), deadlines, agency) for held in found])
    return count


def _measured(held: HeldComplaint, lines: Iterable[bytes], deadlines: Deadlines, agency: str) -> Measured:
    clocks = held.clocks if held.clocks is not None else clocks_of(lines, agency)
    return Measured(held.no, held.state.rev, clocks, own_slot(deadlines, agency, held.state, clocks))


def clocks_of(lines: Iterable[bytes], agency: str) -> Clocks:
    """From the lines of one complaint's changes: those that a fold applies, as the log has judged them.

    Of a complaint that was born elsewhere the lines held here may begin with its arrival; then they are taken as they
    are, because there is no state to judge them by.
    """
    context = FoldContext(0, agency, AnyRules(agency), lambda _: True, lambda _: True)
    state: ComplaintState | None = None
    clocks: Clocks | None = None
    for line in lines:
        change = _parsed(line)
        if change is None:
            continue
        verdict, after = fold(state, change, leaf_hash(line), context)
        if verdict is Verdict.APPLIED:
            state = after
        elif verdict is not Verdict.UNKNOWN_COMPLAINT:
            continue
        if clocks is not None or change.type in STARTS:
            clocks = follow(clocks, change)
    return Clocks() if clocks is None else clocks


def _parsed(line: bytes) -> Change | None:
    try:
        return parse_change(line)
    except Refused:
        return None  # of a newer program, adopted from the log: malformed to this one
