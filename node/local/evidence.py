"""`simpul node receipt` and `excerpt`: one complaint's lines with their proofs, in one file (protocol §12).

Made from what the node keeps: its sets as they were signed, the hub's receipts, the statements. Everything is opened
again before it is handed out, so that no file leaves that its reader could not verify.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from node.local.hub_evidence import roster_of
from node.local.ports import LocalStore
from node.local.tracking import find_tracked
from node.store.complaint_keys import complaint_key
from node.store.local_records import HeldChange, HeldComplaint, HeldSet, HeldStatement
from node.store.shared_records import ForeignSet
from sync_protocol.change_set import ChangeSet, parse_change_set, verify_lines
from sync_protocol.checkpoint import claimed_size
from sync_protocol.compression import decompress_part
from sync_protocol.errors import Corrupt, Refused, Unavailable
from sync_protocol.evidence import (
    EvidenceFile,
    EvidenceSet,
    EvidenceStatement,
    OpenEvidence,
    format_evidence,
    open_evidence,
)
from sync_protocol.excerpt import excerpt_changes, hide_in_excerpt
from sync_protocol.limits import SET_MAX_BYTES
from sync_protocol.receipt import parse_receipt
from sync_protocol.values import ComplaintId, parse_tracking

BEHIND_RETRY_S: Final = 10.0  # as long as ten thousand changes take to come back


async def make_evidence(store: LocalStore, wanted: str, *, with_content: bool) -> tuple[bytes, OpenEvidence]:
    """The file for a complaint (id or tracking number), and what its reader will find in it.

    Raises Refused: not-found for a complaint that is not here, not-yet for one of which nothing has a receipt.
    """
    identity = await store.identity()
    if identity is None:
        raise Refused("configuration", "this node is not enrolled", where="enrolment")
    complaint = await find_complaint(store, wanted)
    if with_content:
        await check_words(store)
    changes = await store.complaint_changes(complaint.no)
    proven = [one for one in changes if one.seq is not None and one.index is not None and one.verdict is None]
    foreign = await store.foreign_sets(complaint.no)
    if not proven and not foreign:
        detail = "the hub has given no receipt for it yet; push first: simpul node push --until-drained"
        raise Refused("not-yet", detail, where=str(complaint.id))
    sets = {one.index: EvidenceSet(_shown(one, with_content=with_content), one.receipt.decode()) for one in foreign}
    for index, seq in sorted({(one.index or 0, one.seq or 0) for one in proven}):
        ours = [change for change in proven if change.seq == seq]
        sets[index] = await _excerpt_of(store, seq, ours, with_content=with_content)
    statements = await _statements_for(store, {identity.agency, *(one.agency for one in foreign)})
    # The key of the newest receipt: whoever has the hub's present key, or any before it, can verify the file by it.
    receipts = [held.receipt or "" for held in statements] + [shown.receipt for shown in sets.values()]
    size = max(claimed_size(parse_receipt(receipt.encode("utf-8")).note) for receipt in receipts)
    vkey = roster_of(statements).log_key_at(size)
    evidence = EvidenceFile(
        origin=identity.origin,
        vkey=vkey.format(),
        complaint=str(complaint.id),
        statements=[EvidenceStatement(held.statement, held.receipt or "") for held in statements],
        sets=[sets[index] for index in sorted(sets)],
    )
    data = format_evidence(evidence)
    return data, open_evidence(data, vkey)


async def _statements_for(store: LocalStore, agencies: Collection[str]) -> list[HeldStatement]:
    """What shows whose keys signed, as far as the hub gave receipts for it."""
    held = await store.statements()
    wanted = {logged.index for logged in roster_of(held).statements_for(*sorted(agencies))}
    return [one for one in held if one.index in wanted and one.receipt is not None]


def _shown(foreign: ForeignSet, *, with_content: bool) -> str:
    return (foreign.lines if with_content else hide_in_excerpt(foreign.lines, None)).decode("utf-8")


async def check_words(store: LocalStore) -> None:
    """Raises Unavailable where what was said may have been erased since: in an old backup that is not refilled yet."""
    if await store.is_behind():
        raise Unavailable(
            "this node comes from an old backup and is still fetching from the hub what it lacks: what was said is not"
            " shown before it is known what was erased since (`simpul node recover`, `simpul node status`)",
            retry_after_s=BEHIND_RETRY_S,
        )


async def find_complaint(store: LocalStore, wanted: str) -> HeldComplaint:
    """By complaint id, or by tracking number as a person types it. Raises Refused(not-found)."""
    try:
        found = await store.complaint(complaint_key(ComplaintId.parse(wanted)))
    except Refused:
        found = await _by_tracking(store, wanted)
    if found is None:
        raise Refused("not-found", "no complaint of that id or tracking number is here", where="complaint")
    return found


async def _by_tracking(store: LocalStore, wanted: str) -> HeldComplaint | None:
    try:
        tracking = parse_tracking(wanted)
    except Refused:
        return None
    return await find_tracked(store, tracking)


async def _excerpt_of(store: LocalStore, seq: int, changes: Sequence[HeldChange], *, with_content: bool) -> EvidenceSet:
    held = await store.live_set(seq)
    if held is None:
        raise Corrupt(f"set {seq} is gone, its changes are not")
    receipt = await store.set_receipt(held.id)
    if receipt is None:
        raise Corrupt(f"set {seq} is acknowledged and its receipt is gone")
    change_set = await _read_set(store, held)
    place_of = {line: place for place, line in enumerate(verify_lines(change_set).change_lines)}
    text = excerpt_changes(change_set, {place_of[change.line] for change in changes}, with_content=with_content)
    return EvidenceSet(text.decode("utf-8"), receipt.decode("utf-8"))


async def _read_set(store: LocalStore, held: HeldSet) -> ChangeSet:
    head_frame, contents_frame = await store.set_frames(held.id)
    head = decompress_part(head_frame)
    return parse_change_set(head, decompress_part(contents_frame, SET_MAX_BYTES - len(head)))
