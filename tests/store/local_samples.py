"""A local node's store with few words: one change for each number, sets whose bytes are a name."""

from __future__ import annotations

from hashlib import sha256

from node.local.ports import LocalStore
from node.store.complaint_keys import complaint_key
from node.store.local_records import (
    Acknowledgement,
    Cuttable,
    NodeIdentity,
    Seen,
    SignedSet,
    WrittenChange,
    WrittenComplaint,
)
from sync_protocol.complaint import ComplaintState, State
from sync_protocol.values import Digest, format_tracking

AGENCY = "33.75"
ENROLMENT = Digest(b"e" * 32)
SEEN = Seen(4, Digest(b"r" * 32), b"s" * 64, b"note 4")
IDENTITY = NodeIdentity(AGENCY, "hub.test", "vkey", ENROLMENT, 1)


def key_of(number: int) -> bytes:
    return complaint_key(f"{AGENCY}:01890000-0000-7000-8000-{number:012x}")


def state_of(number: int, **changed: object) -> ComplaintState:
    fields: dict[str, object] = {
        "owner": AGENCY,
        "state": State.RECEIVED,
        "rev": 1,
        "minted_by": AGENCY,
        "visibility": "public",
        "channel": "web",
        "tracking": format_tracking("PKL", number),
        "received_at": "2026-02-02T02:40:00.000Z",
        "ids": number.to_bytes(16, "big"),
    }
    return ComplaintState(**{**fields, **changed})  # type: ignore[arg-type]


async def record(store: LocalStore, *numbers: int, **changed: object) -> None:
    """One change for each complaint."""
    async with store.transaction() as transaction:
        await transaction.record(
            [WrittenComplaint(key_of(number), state_of(number, **changed), 7) for number in numbers],
            [WrittenChange(key_of(number), b"line %d" % number, b"content %d" % number) for number in numbers],
        )


def signed(epoch: int, seq: int, changes: int = 1) -> SignedSet:
    digest = Digest(sha256(b"%d %d" % (epoch, seq)).digest())
    return SignedSet(epoch, seq, digest, "kid", changes, changes, 1_000 + seq, "jws", b"head", b"contents")


async def cut(store: LocalStore, seq: int, last_no: int, changes: int = 1, epoch: int = 1) -> bool:
    def sign(held: Cuttable) -> tuple[SignedSet, int] | None:
        return (signed(epoch, seq, changes), last_no) if (held.epoch, held.end.seq + 1) == (epoch, seq) else None

    return await store.cut(sign, 0) is not None


def receipt(seq: int, *, hidden: int = 0, seen: Seen | None = None, epoch: int = 1) -> Acknowledgement:
    return Acknowledgement(seq, signed(epoch, seq).digest, 10 + seq, b"receipt %d" % seq, hidden, 0, 5_000 + seq, seen)
