"""Cases of keys, signatures, notes, checkpoints and receipts (docs/protocol.md §1.2, §6.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sync_protocol.checkpoint import Checkpoint, sign_checkpoint
from sync_protocol.ed25519 import SMALL_ORDER_ENCODINGS
from sync_protocol.merkle import EMPTY_ROOT
from sync_protocol.note import Note, NoteSignature, format_note, note_key_id
from sync_protocol.receipt import Receipt, format_receipt
from sync_protocol.values import b64_encode
from tests.protocol.log_samples import (
    LOG,
    ORIGIN,
    OTHER,
    WITNESS,
    FixedSigner,
    entry,
    leaves,
    naive_root,
    sample_checkpoint,
    sample_receipt,
)
from tests.vectors.vector_files import Vector

Members = dict[str, Any]
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
TEXT = "This is a text.\n"
VKEY = LOG.vkey().format()
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)


def note_vectors() -> Iterator[Vector]:
    """Every case of this module."""
    yield from _keys()
    yield from _signatures()
    yield from _vkeys()
    yield from _notes()
    yield from _checkpoints()
    yield from _receipts()


def _case(subject: str, name: str, what: str, operation: str, given: Members, **expect: Any) -> Vector:
    spec = {
        "keys": "protocol §1.2, RFC 7638",
        "signatures": "protocol §1.2, RFC 8032 §5.1.7",
        "notes": "protocol §6.2, C2SP signed-note",
        "checkpoints": "protocol §6.2, C2SP tlog-checkpoint",
        "receipts": "protocol §6.2, C2SP tlog-proof",
    }[subject]
    return Vector(subject, name, what, spec, operation, given, expect)


def _keys() -> Iterator[Vector]:
    given = {"public_key_hex": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"}
    accept = {"kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}
    yield _case("keys", "rfc-8037", "The key and thumbprint of RFC 8037.", "check-key", given, accept=accept)
    given = {"public_key_hex": LOG.public_key.hex()}
    yield _case("keys", "log", "The log's key in these vectors.", "check-key", given, accept={"kid": LOG.kid})
    defects = [
        ("y-is-the-prime", "y = p: a second spelling of 0.", P.to_bytes(32, "little")),
        ("y-above-the-prime", "y = p + 3: a second spelling of 3.", (P + 3).to_bytes(32, "little")),
        ("y-all-ones", "The largest y that fits.", b"\xff" * 32),
        ("not-on-the-curve", "No point has y = 2.", (2).to_bytes(32, "little")),
        ("31-bytes", "A byte is missing.", LOG.public_key[:31]),
        ("33-bytes", "A byte too many.", LOG.public_key + b"\0"),
    ]
    for number, weak in enumerate(sorted(SMALL_ORDER_ENCODINGS), 1):
        defects.append((f"small-order-{number:02}", "The point's order divides 8.", weak))
    for name, what, key in defects:
        yield _case("keys", name, what, "check-key", {"public_key_hex": key.hex()}, refuse="malformed")


def _signatures() -> Iterator[Vector]:
    message = b"message"
    signature = LOG.sign(message)
    s = int.from_bytes(signature[32:], "little")
    good = {
        "public_key_hex": LOG.public_key.hex(),
        "message_hex": message.hex(),
        "signature_hex": signature.hex(),
    }
    yield _case("signatures", "valid", "A signature.", "verify-signature", good, accept={})
    again = signature[:32] + (s + L).to_bytes(32, "little")
    for name, what, changed in (
        ("other-message", "The message is another.", {"message_hex": b"massage".hex()}),
        ("other-key", "The key is another.", {"public_key_hex": OTHER.public_key.hex()}),
        ("s-plus-l", "S + L: a second spelling of S.", {"signature_hex": again.hex()}),
        ("s-is-l", "S = L.", {"signature_hex": (signature[:32] + L.to_bytes(32, "little")).hex()}),
        ("63-bytes", "A byte is missing.", {"signature_hex": signature[:63].hex()}),
        ("65-bytes", "A byte too many.", {"signature_hex": signature.hex() + "00"}),
        ("empty", "No signature.", {"signature_hex": ""}),
    ):
        yield _case("signatures", name, what, "verify-signature", good | changed, refuse="bad-signature")
    neutral = (1).to_bytes(32, "little")
    attack = good | {"public_key_hex": neutral.hex(), "signature_hex": (neutral + bytes(32)).hex()}
    what = "Key and R are the neutral element, S = 0: fits every message for a naive verifier."
    yield _case("signatures", "small-order-key", what, "verify-signature", attack, refuse="malformed")


def _vkeys() -> Iterator[Vector]:
    accept = {"name": ORIGIN, "key_id_hex": LOG.vkey().key_id.hex(), "public_key_hex": LOG.public_key.hex()}
    yield _case("notes", "vkey-valid", "A verifier key.", "parse-vkey", {"vkey": VKEY}, accept=accept)
    name, key_id, encoded = VKEY.split("+", 2)
    for defect, what, vkey in (
        ("wrong-key-id", "The key id belongs to another key.", f"{name}+00000000+{encoded}"),
        ("upper-case-key-id", "The key id is in lower case.", f"{name}+{key_id.upper()}+{encoded}"),
        ("other-type", "Only type 1 is read.", f"{name}+{key_id}+{b64_encode(bytes([4]) + LOG.public_key)}"),
        ("no-name", "A key has a name.", f"+{key_id}+{encoded}"),
        ("space-in-name", "A name holds no space.", f"a b+{note_key_id('a b', LOG.public_key).hex()}+{encoded}"),
        ("base64-without-padding", "The key is in padded base64.", f"{name}+{key_id}+{encoded.rstrip('=')[:-1]}"),
        ("trailing-line-feed", "Nothing follows the key.", VKEY + "\n"),
    ):
        yield _case("notes", f"vkey-{defect}", what, "parse-vkey", {"vkey": vkey}, refuse="malformed")


def _line(signer: FixedSigner, text: str = TEXT, name: str = ORIGIN) -> NoteSignature:
    return NoteSignature(name, note_key_id(name, signer.public_key), signer.sign(text.encode()))


def _note(*lines: NoteSignature, text: str = TEXT) -> str:
    return format_note(Note(text, lines)).decode()


def _notes() -> Iterator[Vector]:
    witness, vkeys = WITNESS.vkey("witness.example"), [VKEY]
    both = _note(_line(LOG), _line(WITNESS, name="witness.example"))
    inner = "a\n\nb\n"
    for name, what, note, known, text in (
        ("c2sp-example", "The example of the specification.", C2SP_NOTE, [C2SP_VKEY], "This is an example message.\n"),
        ("unknown-signature-ignored", "One signature is by a key that we do not know.", both, vkeys, TEXT),
        ("two-known-signatures", "Both keys are known.", both, [VKEY, witness.format()], TEXT),
        ("empty-line-in-text", "The last empty line separates.", _note(_line(LOG, inner), text=inner), vkeys, inner),
    ):
        accept = {"text": text, "signed_by": known}
        yield _case("notes", name, what, "open-note", {"note": note, "vkeys": known}, accept=accept)
    yield from _note_defects(both, [VKEY, witness.format()])


def _note_defects(both: str, both_vkeys: list[str]) -> Iterator[Vector]:
    good, vkeys = _note(_line(LOG)), [VKEY]
    forged = NoteSignature(ORIGIN, LOG.vkey().key_id, OTHER.sign(TEXT.encode()))
    spoilt = _note(_line(LOG), NoteSignature("witness.example", WITNESS.vkey("witness.example").key_id, bytes(64)))
    for name, what, note, known, kind in (
        ("no-known-signature", "Nobody we know signed.", good, [OTHER.vkey().format()], "bad-signature"),
        ("known-key-with-bad-signature", "A known key's signature is wrong.", _note(forged), vkeys, "bad-signature"),
        ("one-of-two-known-is-bad", "One good one does not mend a bad one.", spoilt, both_vkeys, "bad-signature"),
        ("text-changed", "The text is another.", good.replace("text", "test"), vkeys, "bad-signature"),
        ("same-key-twice", "A known key signs once.", _note(_line(LOG), _line(LOG)), vkeys, "malformed"),
        ("no-signature-lines", "A note is signed.", TEXT + "\n", vkeys, "malformed"),
        ("no-empty-line", "An empty line separates.", good.replace("\n\n", "\n"), vkeys, "malformed"),
        ("no-final-line-feed", "Each line ends in LF.", good[:-1], vkeys, "malformed"),
        ("carriage-return", "Lines end in LF alone.", good.replace("\n", "\r\n"), vkeys, "malformed"),
        ("control-character", "Nothing below 0x20 but LF.", good.replace("This", "\tThis"), vkeys, "malformed"),
        ("hyphen-for-em-dash", "A signature line begins with U+2014.", good.replace("—", "-"), vkeys, "malformed"),
        ("base64-without-padding", "Base64 has its padding.", good.replace("=", ""), vkeys, "malformed"),
        ("signature-of-four-bytes", "A key id and nothing.", TEXT + "\n— name AAAAAA==\n", vkeys, "malformed"),
        ("spare-bits-in-base64", "Spare bits are zero.", both + "— name AAAAAAB=\n", both_vkeys, "malformed"),
    ):
        yield _case("notes", name, what, "open-note", {"note": note, "vkeys": known}, refuse=kind)
    raw = good.encode().replace(b"This", b"\xff\xfe")
    given = {"note_hex": raw.hex(), "vkeys": vkeys}
    yield _case("notes", "not-utf-8", "A note is UTF-8.", "open-note", given, refuse="malformed")
    many = TEXT + "\n" + "— name AAAAAAA=\n" * 65
    given = {"note": many, "vkeys": vkeys}
    yield _case("notes", "65-signatures", "64 at most.", "open-note", given, refuse="too-large")


def _signed_text(text: str) -> str:
    return _note(_line(LOG, text), text=text)


def _checkpoints() -> Iterator[Vector]:
    for size in (0, 1, 300):
        note = sample_checkpoint(size)
        root = naive_root(leaves(size))
        signature = LOG.sign(Checkpoint(ORIGIN, size, root).text())
        accept = {"size": size, "root_hex": root.hex(), "signature_hex": signature.hex()}
        given = {"note": note.decode(), "vkeys": [VKEY], "origin": ORIGIN}
        yield _case("checkpoints", f"size-{size}", f"A log of {size}.", "open-checkpoint", given, accept=accept)
    seven = b64_encode(naive_root(leaves(7)))
    foreign = sign_checkpoint(Checkpoint("other.example", 7, naive_root(leaves(7))), LOG).decode()
    by_witness = _note(_line(WITNESS, f"{ORIGIN}\n7\n{seven}\n", "witness.example"), text=f"{ORIGIN}\n7\n{seven}\n")
    for name, what, note_text, kind in (
        ("other-origin", "Signed under another log's name.", foreign, "bad-signature"),
        ("witness-alone", "No log key signed.", by_witness, "bad-signature"),
        ("origin-line-differs", "Text of another log.", _signed_text(f"other.example\n7\n{seven}\n"), "malformed"),
        ("leading-zero", "A size has one spelling.", _signed_text(f"{ORIGIN}\n07\n{seven}\n"), "malformed"),
        ("negative-size", "A size is not negative.", _signed_text(f"{ORIGIN}\n-7\n{seven}\n"), "malformed"),
        ("size-beyond-63-bits", "No log is so long.", _signed_text(f"{ORIGIN}\n{2**63}\n{seven}\n"), "malformed"),
        ("extension-line", "Protocol 1 has none.", _signed_text(f"{ORIGIN}\n7\n{seven}\nmore\n"), "malformed"),
        ("two-lines", "The root is missing.", _signed_text(f"{ORIGIN}\n7\n"), "malformed"),
        ("root-of-31-bytes", "A root has 32.", _signed_text(f"{ORIGIN}\n7\n{b64_encode(bytes(31))}\n"), "malformed"),
        ("empty-log-with-a-root", "Size 0 has one root.", _signed_text(f"{ORIGIN}\n0\n{seven}\n"), "malformed"),
    ):
        given = {"note": note_text, "vkeys": [VKEY, WITNESS.vkey("witness.example").format()], "origin": ORIGIN}
        yield _case("checkpoints", name, what, "open-checkpoint", given, refuse=kind)


def _receipts() -> Iterator[Vector]:
    for index, size in ((0, 1), (4, 7), (299, 300)):
        accept = {"index": index, "size": size, "root_hex": naive_root(leaves(size)).hex()}
        given = _receipt(format_receipt(sample_receipt(index, size)), index)
        yield _case(
            "receipts", f"{index}-of-{size}", f"Entry {index} of {size}.", "verify-receipt", given, accept=accept
        )
    plain = sample_receipt(4, 7)
    extra = _receipt(format_receipt(Receipt(plain.index, plain.hashes, plain.note, b"a hint")))
    accept = {"index": 4, "size": 7, "root_hex": naive_root(leaves(7)).hex()}
    what = "Extra data is carried and authenticates nothing."
    yield _case("receipts", "with-extra", what, "verify-receipt", extra, accept=accept)
    good = format_receipt(plain)
    hash_line = b64_encode(plain.hashes[0]).encode() + b"\n"
    other_note = format_receipt(Receipt(4, plain.hashes, sample_checkpoint(8)))
    empty = format_receipt(Receipt(4, plain.hashes, sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), LOG)))
    foreign = format_receipt(Receipt(4, plain.hashes, sample_checkpoint(7, OTHER)))
    for name, what, data, kind in (
        ("other-index", "The path of entry 4 under index 5.", good.replace(b"index 4", b"index 5"), "bad-proof"),
        ("hash-missing", "The path is too short.", good.replace(hash_line, b""), "bad-proof"),
        ("hash-twice", "The path is too long.", good.replace(hash_line, hash_line * 2), "bad-proof"),
        ("other-checkpoint", "The path of a tree of 7 under one of 8.", other_note, "bad-proof"),
        ("empty-log", "Nothing stands in an empty log.", empty, "bad-proof"),
        ("checkpoint-of-another-key", "The log did not sign.", foreign, "bad-signature"),
        ("other-version", "tlog-proof@v2.", good.replace(b"@v1", b"@v2"), "malformed"),
        ("index-leading-zero", "An index has one spelling.", good.replace(b"index 4", b"index 04"), "malformed"),
        ("no-index", "The index is missing.", good.replace(b"index 4\n", b""), "malformed"),
        ("short-hash", "A hash has 32 bytes.", good.replace(hash_line, b"AAAA\n"), "malformed"),
        ("no-checkpoint", "The note is missing.", good.partition(b"\n\n")[0] + b"\n\n", "malformed"),
        ("carriage-return", "Lines end in LF alone.", good.replace(b"\n", b"\r\n"), "malformed"),
        ("65-hashes", "No tree is so high.", good.replace(hash_line, hash_line * 65), "too-large"),
    ):
        yield _case("receipts", name, what, "verify-receipt", _receipt(data), refuse=kind)
    swapped = _receipt(good, 5)
    yield _case("receipts", "other-entry", "Another entry.", "verify-receipt", swapped, refuse="bad-proof")


def _receipt(data: bytes, index: int = 4) -> Members:
    return {"receipt": data.decode(), "entry": entry(index).decode(), "vkeys": [VKEY], "origin": ORIGIN}
