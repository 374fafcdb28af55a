"""Refilling a hub that lost what it gave receipts for (protocol §10.6): it names what it wants and gets those bytes."""

from __future__ import annotations

from typing import Final

from node.local.ports import HubLink, LocalStore
from node.store.local_records import HeldSet
from sync_protocol.wire import RecoveryRequest, SeqRange, StatementLine

RECEIPTS_MAX: Final = 500  # some 1.5 KiB each; the newest prove most
PAGE_SETS: Final = 100


async def refill_hub(store: LocalStore, link: HubLink, agency: str, from_seq: int, to_seq: int) -> None:
    """Tells the hub what we hold, then pushes what it asks for, in order. Raises what the link raises.

    What it answers to the sets is not stored: the receipts that we have were for the log that it is restoring.
    """
    seen = await store.seen()
    newest = await store.live_sets(max(from_seq, to_seq - RECEIPTS_MAX + 1), RECEIPTS_MAX)
    receipts = [receipt.decode("utf-8") for held in newest if (receipt := await store.set_receipt(held.id)) is not None]
    statements = [
        StatementLine(index=held.index, statement=held.statement, receipt=held.receipt)
        for held in await store.statements()
    ]
    answer = await link.recover(
        RecoveryRequest(
            agency=agency,
            checkpoint=seen.note.decode("utf-8"),
            receipts=receipts,
            statements=statements,
            seqs=SeqRange(from_seq=from_seq, to_seq=to_seq),
        )
    )
    if answer.wanted is None:
        return
    seq, last = max(answer.wanted.from_seq, 1), min(answer.wanted.to_seq, to_seq)
    while seq <= last:
        page = await store.live_sets(seq, min(PAGE_SETS, last - seq + 1))
        if not page:
            return
        for held in page:
            await _push_again(store, link, held)
        seq = page[-1].seq + 1


async def _push_again(store: LocalStore, link: HubLink, held: HeldSet) -> None:
    head_frame, contents_frame = await store.set_frames(held.id)
    await link.push(held.seq, head_frame + contents_frame, 0)
