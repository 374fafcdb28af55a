"""Refilling a hub that lost what it gave receipts for (protocol §10.6): it is shown everything, names the lines that it
wants, and gets those bytes."""

from __future__ import annotations

from typing import Final

from node.local.ports import HubLink, LocalStore
from node.store.local_records import HeldSet
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.wire import RecoveryRequest, SeqRange, SetLine, StatementLine

SETS_AT_ONCE: Final = 500  # manifests of at most 4 KiB with receipts of some 2 KiB: half of what a body may have


async def refill_hub(
    store: LocalStore, link: HubLink, agency: str, from_seq: int, to_seq: int, *, at_once: int = SETS_AT_ONCE
) -> int:
    """Shows the hub what we hold, then hands over the sets that it asks for, in order; how many.

    With nothing between `from_seq` and `to_seq` it still gets our newest checkpoint and statements. Raises what the
    link raises; what came through until then is the hub's. Nothing is stored: the receipts that we have are for the
    log that it is restoring.
    """
    seq, answer = from_seq, None
    while answer is None or seq <= to_seq:
        page = await store.live_sets(seq, min(at_once, to_seq - seq + 1)) if seq <= to_seq else []
        answer = await link.recover(await _request(store, agency, page, from_seq, to_seq, is_first=seq == from_seq))
        if not page:
            break
        seq = page[-1].seq + 1
    return await hand_over_sets(store, link, answer.wanted, to_seq)


async def hand_over_sets(store: LocalStore, link: HubLink, wanted: SeqRange | None, last_seq: int) -> int:
    """The exact bytes of our sets that the hub wants, up to `last_seq`; how many it took. Raises Unavailable."""
    if wanted is None:
        return 0
    seq, last, handed_over = max(wanted.from_seq, 1), min(wanted.to_seq, last_seq), 0
    while seq <= last:
        page = await store.live_sets(seq, min(SETS_AT_ONCE, last - seq + 1))
        if not page:
            break
        for held in page:
            handed_over += await _hand_over(store, link, held)
        seq = page[-1].seq + 1
    return handed_over


async def _request(
    store: LocalStore, agency: str, page: list[HeldSet], from_seq: int, to_seq: int, *, is_first: bool
) -> RecoveryRequest:
    seen = await store.seen()
    sets = [
        SetLine(manifest=held.manifest, receipt=receipt.decode("utf-8"))
        for held in page
        if (receipt := await store.set_receipt(held.id)) is not None
    ]
    statements = [
        StatementLine(index=held.index, statement=held.statement, receipt=held.receipt)
        for held in (await store.statements() if is_first else [])
    ]
    return RecoveryRequest(
        agency=str(agency),
        checkpoint=seen.note.decode("utf-8"),
        receipts=[],
        statements=statements,
        seqs=SeqRange(from_seq=from_seq, to_seq=to_seq),
        sets=sets,
    )


async def _hand_over(store: LocalStore, link: HubLink, held: HeldSet) -> bool:
    """False for a set that the hub does not take, or that we let go of: the others may still help it."""
    try:
        head_frame, contents_frame = await store.set_frames(held.id)
        await link.hand_over(held.seq, head_frame + contents_frame)
    except (Refused, Corrupt):
        return False
    return True
