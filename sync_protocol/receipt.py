"""Receipts: C2SP tlog-proofs (protocol §6.2). A receipt shows that one entry stands in the log of a signed checkpoint.

c2sp.org/tlog-proof@v1
extra <base64>            optional, authenticated by nothing
index <decimal>
<base64 hash> …           RFC 6962 path, leaf to root
<empty line>
<checkpoint note>
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sync_protocol.checkpoint import Checkpoint, OpenCheckpoint, open_checkpoint, parse_decimal
from sync_protocol.errors import malformed, too_large
from sync_protocol.limits import LOG_ENTRY_MAX_BYTES, NOTE_MAX_BYTES, PROOF_HASHES_MAX
from sync_protocol.merkle import HASH_BYTES, TREE_SIZE_MAX, leaf_hash, verify_inclusion
from sync_protocol.note import VerifierKey, parse_note
from sync_protocol.values import b64_decode, b64_decode_all, b64_encode

RECEIPT_FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"
EXTRA_MAX_BYTES: Final = 4_096  # Simpul writes none; a foreign hint has no reason to be longer than an entry
_HEAD_MAX_BYTES: Final = 8_192 + PROOF_HASHES_MAX * 45  # first lines with `extra` in base64, then the hashes
RECEIPT_MAX_BYTES: Final = _HEAD_MAX_BYTES + NOTE_MAX_BYTES


@dataclass(frozen=True, slots=True)
class Receipt:
    """A claim until `verify_receipt` returns. `note` is the checkpoint as received. Checks itself: Refused."""

    index: int
    hashes: tuple[bytes, ...]
    note: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index < TREE_SIZE_MAX:
            raise malformed("a log index is below 2^63", "index")
        if len(self.hashes) > PROOF_HASHES_MAX:
            raise too_large("proof", PROOF_HASHES_MAX, "hashes")
        if not {HASH_BYTES}.issuperset(map(len, self.hashes)):
            raise malformed("every hash of a proof has 32 bytes", "proof")
        if self.extra is not None and not 0 < len(self.extra) <= EXTRA_MAX_BYTES:
            raise malformed(f"extra data, if any, has 1 to {EXTRA_MAX_BYTES} bytes", "extra")


def parse_receipt(data: bytes) -> Receipt:
    """Raises Refused: `too-large`, `malformed`. The checkpoint inside is well-formed as a note, not yet believed."""
    if len(data) > RECEIPT_MAX_BYTES:
        raise too_large("receipt", RECEIPT_MAX_BYTES)
    raw_head, empty_line, note = data.partition(b"\n\n")
    if not empty_line or not raw_head.isascii():
        raise malformed("a receipt is a head in ASCII, an empty line and a checkpoint", "receipt")
    first, *lines = raw_head.decode("ascii").split("\n")
    if first != RECEIPT_FIRST_LINE:
        raise malformed(f"a receipt begins with {RECEIPT_FIRST_LINE}", "receipt")
    extra = b64_decode(lines.pop(0)[6:], "extra") if lines and lines[0].startswith("extra ") else None
    if not lines or not lines[0].startswith("index "):
        raise malformed("a receipt names the index of its entry", "index")
    if len(lines) - 1 > PROOF_HASHES_MAX:
        raise too_large("proof", PROOF_HASHES_MAX, "hashes")
    index = parse_decimal(lines[0][6:], "index")
    parse_note(note)
    return Receipt(index, tuple(b64_decode_all(lines[1:], "proof")), note, extra)


def format_receipt(receipt: Receipt) -> bytes:
    """The bytes that `parse_receipt` reads back as the same receipt, if its note is one."""
    lines = [RECEIPT_FIRST_LINE]
    if receipt.extra is not None:
        lines.append(f"extra {b64_encode(receipt.extra)}")
    lines.append(f"index {receipt.index}")
    lines += map(b64_encode, receipt.hashes)
    return "\n".join(lines).encode("ascii") + b"\n\n" + receipt.note


def verify_receipt(receipt: Receipt, entry: bytes, vkeys: Sequence[VerifierKey], origin: str) -> OpenCheckpoint:
    """Return the checkpoint, verified, whose tree holds `entry` at `receipt.index`.

    Raises Refused: `malformed`, `too-large`, `bad-signature` (the checkpoint), `bad-proof` (the path). `extra` is not
    looked at.
    """
    opened = open_checkpoint(receipt.note, vkeys, origin)
    verify_place(receipt, entry, opened.checkpoint)
    return opened


def verify_place(receipt: Receipt, entry: bytes, tree: Checkpoint) -> None:
    """That `entry` stands at `receipt.index` in the tree of the receipt's own checkpoint, opened before.

    Raises Refused: `too-large`, `bad-proof`.
    """
    if len(entry) > LOG_ENTRY_MAX_BYTES:
        raise too_large("log entry", LOG_ENTRY_MAX_BYTES)
    verify_inclusion(leaf_hash(entry), receipt.index, tree.size, receipt.hashes, tree.root)
