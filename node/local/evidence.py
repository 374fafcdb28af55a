"""`simpul node receipt` and `excerpt`: one complaint's lines with their proofs, in one file (protocol §12).

Made from what the node keeps: its sets as they were signed, the hub's receipts, the statements. Everything is opened
again before it is handed out, so that no file leaves that its reader could not verify.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.local.hub_evidence import roster_of
from node.local.ports import LocalStore
from node.store.complaint_keys import complaint_key
from node.store.local_records import ComplaintFilter, HeldChange, HeldComplaint, HeldSet
from sync_protocol.change_set import ChangeSet, content_leaf_indices, parse_change_set, shown_leaves, verify_lines
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
from sync_protocol.excerpt import make_excerpt
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
    proven = [change for change in changes if change.seq is not None and change.index is not None]
    if not proven:
        detail = "the hub has given no receipt for it yet; push first: simpul node push --until-drained"
        raise Refused("not-yet", detail, where=str(complaint.id))
    statements = [held for held in await store.statements() if held.receipt is not None]
    sets = [
        await _excerpt_of(store, seq, [change for change in proven if change.seq == seq], with_content=with_content)
        for seq in sorted({change.seq for change in proven if change.seq is not None})
    ]
    # The key of the newest receipt: whoever has the hub's present key, or any before it, can verify the file by it.
    receipts = [held.receipt or "" for held in statements] + [shown.receipt for shown in sets]
    size = max(claimed_size(parse_receipt(receipt.encode("utf-8")).note) for receipt in receipts)
    vkey = roster_of(statements).log_key_at(size)
    evidence = EvidenceFile(
        origin=identity.origin,
        vkey=vkey.format(),
        complaint=str(complaint.id),
        statements=[EvidenceStatement(held.statement, held.receipt or "") for held in statements],
        sets=sets,
    )
    data = format_evidence(evidence)
    return data, open_evidence(data, vkey)


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
    page = await store.complaints(ComplaintFilter(tracking=tracking, limit=1))
    return page[0] if page else None


async def _excerpt_of(store: LocalStore, seq: int, changes: Sequence[HeldChange], *, with_content: bool) -> EvidenceSet:
    held = await store.live_set(seq)
    if held is None:
        raise Corrupt(f"set {seq} is gone, its changes are not")
    receipt = await store.set_receipt(held.id)
    if receipt is None:
        raise Corrupt(f"set {seq} is acknowledged and its receipt is gone")
    change_set = await _read_set(store, held)
    text = make_excerpt(change_set, _leaves_of(change_set, changes, with_content=with_content))
    return EvidenceSet(text.decode("utf-8"), receipt.decode("utf-8"))


async def _read_set(store: LocalStore, held: HeldSet) -> ChangeSet:
    head_frame, contents_frame = await store.set_frames(held.id)
    head = decompress_part(head_frame)
    return parse_change_set(head, decompress_part(contents_frame, SET_MAX_BYTES - len(head)))


def _leaves_of(change_set: ChangeSet, changes: Sequence[HeldChange], *, with_content: bool) -> set[int]:
    """Leaf indices of these changes in the set, and of the content lines that are shown in it."""
    verified = verify_lines(change_set)
    place_of = {line: place for place, line in enumerate(verified.change_lines)}
    places = [place_of[change.line] for change in changes]
    if not with_content:
        return set(places)
    contents = content_leaf_indices(verified.change_lines, change_set.manifest.manifest.size)
    return {*places, *shown_leaves(change_set).intersection(contents[place] for place in places)}
