"""What a verified receipt writes to `node.db`, for whoever has a transaction open (protocol §10.1)."""

from __future__ import annotations

from typing import Any, Final

from node.store.local_records import Acknowledgement, Seen

#: Gives the set's id, or no row if that very set is not live (any more).
ACKNOWLEDGE: Final = (
    "UPDATE change_set SET status = 1, idx = ?, receipt_at_ms = ?, hidden = ?, erased = ?"
    " WHERE seq = ? AND digest = ? AND status <> 2 RETURNING id"
)
UPSERT_RECEIPT: Final = (
    "INSERT INTO set_receipt (set_id, receipt) VALUES (?, ?)"
    " ON CONFLICT (set_id) DO UPDATE SET receipt = excluded.receipt"
)
SET_LAST_RECEIPT: Final = "UPDATE node SET last_receipt_at_ms = ?"
MOVE_SEEN: Final = "UPDATE node SET seen_size = ?, seen_root = ?, seen_sig = ?, seen_note = ? WHERE seen_size <= ?"


def acknowledge_values(receipt: Acknowledgement) -> tuple[Any, ...]:
    """What ACKNOWLEDGE takes."""
    return (receipt.index, receipt.at_ms, receipt.hidden, receipt.erased, receipt.seq, receipt.digest)


def what_a_receipt_moves(receipt: Acknowledgement, set_id: int) -> list[tuple[str, tuple[Any, ...]]]:
    """The statements that follow ACKNOWLEDGE in the same transaction, with their values."""
    statements: list[tuple[str, tuple[Any, ...]]] = [
        (UPSERT_RECEIPT, (set_id, receipt.receipt)),
        (SET_LAST_RECEIPT, (receipt.at_ms,)),
    ]
    if receipt.seen is not None:
        statements.append((MOVE_SEEN, seen_values(receipt.seen)))
    return statements


def seen_values(seen: Seen) -> tuple[Any, ...]:
    """What MOVE_SEEN takes; an older checkpoint than the stored one moves nothing."""
    return (seen.size, seen.root, seen.signature, seen.note, seen.size)
