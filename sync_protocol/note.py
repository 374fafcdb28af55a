"""C2SP signed notes with Ed25519 keys of type 0x01 (protocol §6.2): text, an empty line, signature lines.

A note is bytes from anywhere; an OpenNote is one that a known key signed. Unknown (name, key id) pairs are ignored,
as C2SP asks, so that witnesses may stand beside the log; a known key with a bad signature spoils the whole note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final, Self

from sync_protocol import ed25519
from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.limits import NOTE_MAX_BYTES, NOTE_SIGNATURES_MAX
from sync_protocol.values import b64_decode, b64_encode

KEY_NAME_MAX_BYTES: Final = 255  # a one-byte length in C2SP cosignatures
KEY_ID_BYTES: Final = 4
ED25519_TYPE: Final = b"\x01"
_VKEY_MAX: Final = KEY_NAME_MAX_BYTES + 1 + 8 + 1 + 44  # name + key id + base64 of 33 bytes
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")  # C2SP: none below 0x20 but LF
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_NOT_IN_NAME = re.compile(r"[+\s\x00-\x1f]")  # \s is every space of Unicode, as str.isspace() has it
_SIGNATURE_START: Final = "— "  # U+2014, space


def check_key_name(name: str, where: str = "name") -> str:
    """A C2SP key name: not empty, no space of any kind, no `+`. Raises Refused(malformed)."""
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        raise malformed("a key name is Unicode text", where) from None
    if not 0 < len(raw) <= KEY_NAME_MAX_BYTES:
        raise malformed(f"a key name has 1 to {KEY_NAME_MAX_BYTES} bytes", where)
    if _NOT_IN_NAME.search(name):
        raise malformed("a key name holds no space, no control character and no plus sign", where)
    return name


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line, not yet believed. `signature` is without the key id."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.key_id) != KEY_ID_BYTES or not self.signature:
            raise malformed("a signature line holds a key id of 4 bytes and a signature", "signature")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A name and an Ed25519 public key, checked; its key id follows from both."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name, "vkey")
        ed25519.check_public_key(self.public_key)

    @property
    def key_id(self) -> bytes:
        """4 bytes."""
        return note_key_id(self.name, self.public_key)

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """From `name+hex8+base64(0x01 ‖ key)`. Raises Refused(malformed)."""
        if len(vkey) > _VKEY_MAX:
            raise too_large("vkey", _VKEY_MAX, "characters")
        name, _, rest = vkey.partition("+")
        key_id, _, encoded = rest.partition("+")
        if not _KEY_ID.fullmatch(key_id):
            raise malformed("a verifier key is written name+keyid+base64", "vkey")
        raw = b64_decode(encoded, "vkey")
        if raw[:1] != ED25519_TYPE:
            raise malformed("only Ed25519 verifier keys (type 1) are read", "vkey")
        key = cls(name, raw[1:])
        if key.key_id.hex() != key_id:
            raise malformed("the key id does not belong to this name and key", "vkey")
        return key

    def format(self) -> str:
        """The one spelling that `parse` reads."""
        return f"{self.name}+{self.key_id.hex()}+{b64_encode(ED25519_TYPE + self.public_key)}"


@dataclass(frozen=True, slots=True)
class Note:
    """A note as read: well-formed, not believed. `text` ends in LF."""

    text: str
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class OpenNote(Note):
    """A note that at least one known key signed. `good` names those keys, in the order of the note's lines."""

    good: tuple[tuple[VerifierKey, NoteSignature], ...]


def vkey_for(name: str, public_key: bytes) -> VerifierKey:
    """The verifier key of this name. Raises Refused(malformed)."""
    return VerifierKey(name, public_key)


def note_key_id(name: str, public_key: bytes) -> bytes:
    """First four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key): a hint, no proof."""
    return sha256(name.encode() + b"\n" + ED25519_TYPE + public_key).digest()[:KEY_ID_BYTES]


def parse_note(data: bytes) -> Note:
    """Raises Refused: `too-large`, `malformed`.

    The newest notes are remembered as they were read, byte for byte: one receipt's note is parsed with the receipt,
    asked which size it claims, and opened.
    """
    if len(data) > NOTE_MAX_BYTES:
        raise too_large("note", NOTE_MAX_BYTES)
    return _read_note(bytes(data))


@lru_cache(maxsize=4)  # the one in hand, and those of other threads; at most 2 MiB, should all be as long as can be
def _read_note(data: bytes) -> Note:
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("a note is UTF-8", "note") from None
    if _CONTROL.search(whole):
        raise malformed("a note holds no control character but line feeds", "note")
    before, empty_line, after = whole.rpartition("\n\n")
    if not empty_line or not after.endswith("\n"):
        raise malformed("a note is a text, an empty line and signature lines, each ended by a line feed", "note")
    lines = after[:-1].split("\n")
    if len(lines) > NOTE_SIGNATURES_MAX:
        raise too_large("note", NOTE_SIGNATURES_MAX, "signatures")
    return Note(before + "\n", tuple(map(_parse_signature, lines)))


def _parse_signature(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_SIGNATURE_START).partition(" ")
    if not line.startswith(_SIGNATURE_START) or not space:
        raise malformed("a signature line is an em dash, a name and base64, one space between", "signature")
    raw = b64_decode(encoded, "signature")
    return NoteSignature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


def format_note(note: Note) -> bytes:
    """The bytes that `parse_note` reads back as the same note. Raises Refused(malformed) if there are none."""
    lines = "".join(
        f"{_SIGNATURE_START}{line.name} {b64_encode(line.key_id + line.signature)}\n" for line in note.signatures
    )
    data = f"{note.text}\n{lines}".encode("utf-8", "surrogatepass")
    parsed = parse_note(data)
    if (parsed.text, parsed.signatures) != (note.text, note.signatures):
        raise malformed("this text cannot be written as a note", "note")
    return data


def verify_note(data: bytes, vkeys: Sequence[VerifierKey]) -> OpenNote:
    """Open a note with the known keys. Raises Refused: `malformed`, `too-large`, `bad-signature`.

    `bad-signature` if a known key's signature is wrong (whatever the others say) or no known key signed.
    """
    note = parse_note(data)
    known = _by_hint(vkeys)
    message = note.text.encode()
    good: dict[tuple[str, bytes], tuple[VerifierKey, NoteSignature]] = {}
    for line in note.signatures:
        hint = line.name, line.key_id
        vkey = known.get(hint)
        if vkey is None:
            continue
        if hint in good:
            raise malformed("the same key signs the note twice", "signature")
        ed25519.verify(vkey.public_key, line.signature, message)
        good[hint] = vkey, line
    if not good:
        raise Refused("bad-signature", "none of the note's signatures is by a key that we know", where="note")
    return OpenNote(note.text, note.signatures, tuple(good.values()))


def _by_hint(vkeys: Sequence[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    """Keys by (name, key id). The id has 32 bits and can be forged on purpose: two keys under one are refused."""
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for vkey in vkeys:
        first = known.setdefault((vkey.name, vkey.key_id), vkey)
        if first is not vkey and first != vkey:
            raise malformed("two different known keys share a name and a key id", "vkey")
    return known
