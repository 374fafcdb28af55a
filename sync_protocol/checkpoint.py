"""Checkpoints: what the log says about itself, as a C2SP signed note (protocol §6.2).

Text: origin, size and base64 root on three lines, nothing more. The log's key bears the origin as its name. A
Checkpoint is a claim; an OpenCheckpoint is one whose signature by a log key was verified.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sync_protocol import ed25519
from sync_protocol.errors import Refused, malformed
from sync_protocol.merkle import EMPTY_ROOT, HASH_BYTES, TREE_SIZE_MAX
from sync_protocol.note import (
    Note,
    NoteSignature,
    VerifierKey,
    check_key_name,
    format_note,
    parse_note,
    verify_note,
    vkey_for,
)
from sync_protocol.values import b64_decode, b64_encode

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")  # 19 digits hold 2^63 - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree of `size` leaves with root `root` (32 bytes) in the log called `origin`. Checks itself: Refused."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        check_key_name(self.origin, "origin")
        if not 0 <= self.size <= TREE_SIZE_MAX:
            raise malformed("a log has 0 to 2^63 - 1 leaves", "size")
        if len(self.root) != HASH_BYTES:
            raise malformed("a root has 32 bytes", "root")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise malformed("a log without leaves has the root of the empty tree", "root")

    def text(self) -> bytes:
        """The signed bytes: three lines, each ended by LF."""
        return f"{self.origin}\n{self.size}\n{b64_encode(self.root)}\n".encode()


@dataclass(frozen=True, slots=True)
class OpenCheckpoint:
    """A checkpoint with the verified Ed25519 signature of the log (64 bytes), its key and the note as received."""

    checkpoint: Checkpoint
    signature: bytes
    note: bytes
    vkey: VerifierKey


def parse_decimal(text: str, where: str) -> int:
    """A decimal without sign or leading zero, at most 2^63 - 1. Raises Refused(malformed)."""
    if not _DECIMAL.fullmatch(text) or int(text) > TREE_SIZE_MAX:
        raise malformed("wants a decimal without leading zeros, below 2^63", where)
    return int(text)


def parse_checkpoint_text(text: bytes | str) -> Checkpoint:
    """Read the three lines. Raises Refused(malformed), also for extension lines, which protocol 1 does not have."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            raise malformed("a checkpoint is UTF-8", "checkpoint") from None
    return _read_text(text)


@lru_cache(maxsize=4)  # as in note.py: which size it claims is asked before it is opened
def _read_text(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise malformed("a checkpoint has three lines: origin, size and root", "checkpoint")
    origin, size, root = lines[:3]
    return Checkpoint(origin, parse_decimal(size, "size"), b64_decode(root, "root"))


def claimed_size(note: bytes) -> int:
    """The log size that a checkpoint note claims; nothing is verified. Raises Refused (malformed, too-large)."""
    return parse_checkpoint_text(parse_note(note).text).size


def sign_checkpoint(checkpoint: Checkpoint, signer: ed25519.Signer) -> bytes:
    """The note, signed under the origin's name. Raises what `signer.sign` raises."""
    vkey = vkey_for(checkpoint.origin, signer.public_key)
    text = checkpoint.text()
    line = NoteSignature(vkey.name, vkey.key_id, signer.sign(text))
    return format_note(Note(text.decode(), (line,)))


def open_checkpoint(note: bytes, vkeys: Sequence[VerifierKey], origin: str) -> OpenCheckpoint:
    """Verify a checkpoint note of the log `origin`. Raises Refused: `malformed`, `too-large`, `bad-signature`.

    Only keys named `origin` count as the log's; signatures by others (witnesses) neither help nor harm.
    """
    opened = verify_note(note, [vkey for vkey in vkeys if vkey.name == origin])
    checkpoint = parse_checkpoint_text(opened.text)
    if checkpoint.origin != origin:
        raise malformed(f"this checkpoint is not of the log {origin}", "origin")
    vkey, line = opened.good[0]
    return OpenCheckpoint(checkpoint, line.signature, note, vkey)


def verify_seen(origin: str, size: int, root: bytes, signature: bytes, vkeys: Sequence[VerifierKey]) -> None:
    """Return if a log key of `origin` signed exactly this checkpoint (a manifest's `seen`, protocol §4.2).

    Raises Refused: `malformed` (no such checkpoint can exist), `bad-signature`.
    """
    text = Checkpoint(origin, size, root).text()
    for vkey in vkeys:
        if vkey.name != origin:
            continue
        try:
            ed25519.verify(vkey.public_key, signature, text)
        except Refused:
            continue
        return
    raise Refused("bad-signature", "no key of this log signed the checkpoint that was seen", where="seen")
