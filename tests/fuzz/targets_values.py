"""Single values, notes, checkpoints, receipts, tiles and proofs (protocol §1, §6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from node.hub.complaint_lists import format_after, parse_after
from node.hub.http_requests import integer
from sync_protocol import ed25519
from sync_protocol.checkpoint import open_checkpoint, parse_checkpoint_text, parse_decimal
from sync_protocol.errors import Refused
from sync_protocol.hidden_lines import read_pieces, root_of, write_pieces
from sync_protocol.limits import NOTE_MAX_BYTES, NOTE_SIGNATURES_MAX, SET_MAX_LEAVES
from sync_protocol.merkle import leaf_hash, verify_consistency, verify_inclusion
from sync_protocol.note import Note, NoteSignature, VerifierKey, format_note, parse_note, verify_note
from sync_protocol.receipt import RECEIPT_MAX_BYTES, format_receipt, parse_receipt, verify_receipt
from sync_protocol.tiles import TILE_BYTES, pack_entries, parse_tile_path, split_tile, unpack_entries
from sync_protocol.values import (
    AgencyId,
    ComplaintId,
    Digest,
    b64_decode,
    b64_decode_all,
    b64_encode,
    b64u_decode,
    b64u_encode,
    format_timestamp,
    parse_code,
    parse_source_id,
    parse_timestamp,
    parse_tracking,
    parse_uuid,
)
from tests.fuzz.target import KIB, Target, bytes_of, must, text_of
from tests.protocol.line_samples import COMPLAINT, TRACKING, uuid_of
from tests.protocol.log_samples import (
    LOG,
    ORIGIN,
    WITNESS,
    entry,
    leaves,
    naive_root,
    sample_checkpoint,
    sample_receipt,
)
from tests.protocol.set_samples import sample_lines

SIZE = 300


def _texts(*seeds: str) -> Callable[[], list[bytes]]:
    return lambda: [seed.encode() for seed in seeds]


def _same(parse: Callable[[str], Any]) -> Callable[[bytes], str]:
    """A reader whose value is the text itself."""
    return lambda data: str(parse(text_of(data)))


def _tracking(data: bytes) -> str:
    canonical = parse_tracking(text_of(data))
    must(parse_tracking(canonical) == canonical, "the canonical number is another one")
    return canonical


def _base64(data: bytes) -> bytes:
    raw = b64_decode(text_of(data))
    must(b64_decode_all([text_of(data)]) == [raw], "in bulk it is another value")
    return raw


def _signature(data: bytes) -> None:
    """A key and a signature over what follows them."""
    ed25519.verify(data[:32], data[32:96], data[96:])
    ed25519.check_public_key(data[:32])


def _signed() -> list[bytes]:
    return [LOG.public_key + LOG.sign(message) + message for message in (b"", b"message")]


def _witnessed() -> bytes:
    """A checkpoint with a witness's line beside the log's."""
    note = parse_note(sample_checkpoint(SIZE))
    vkey = WITNESS.vkey("witness.example/w")
    line = NoteSignature(vkey.name, vkey.key_id, WITNESS.sign(note.text.encode()))
    return format_note(Note(note.text, (*note.signatures, line)))


def _notes() -> list[bytes]:
    return [sample_checkpoint(1), sample_checkpoint(SIZE), _witnessed()]


def _hostile_notes() -> list[bytes]:
    line = _witnessed().rpartition(b"\n\n")[2].split(b"\n")[1] + b"\n"
    text = b"x" * (NOTE_MAX_BYTES - NOTE_SIGNATURES_MAX * len(line) - 2)
    return [text + b"\n\n" + line * NOTE_SIGNATURES_MAX, b"\n" * NOTE_MAX_BYTES, b"x\n\n" + line * 700]


def _open(data: bytes) -> object:
    opened = open_checkpoint(data, [LOG.vkey(), WITNESS.vkey()], ORIGIN)
    must(opened.checkpoint.text() == parse_note(data).text.encode(), "a checkpoint is not its own text")
    verify_note(data, [opened.vkey])
    return opened


def _receipt_holds(data: bytes) -> object:
    """Whatever the receipt says, it is entry 7 of the sample log or refused."""
    receipt = parse_receipt(data)
    opened = verify_receipt(receipt, entry(7), [LOG.vkey()], ORIGIN)
    must(receipt.index == 7, "another entry was proved")
    must(opened.checkpoint.root == naive_root(leaves(opened.checkpoint.size)), "a root that nobody signed")
    return receipt


def _receipts() -> list[bytes]:
    return [format_receipt(sample_receipt(7, size)) for size in (8, SIZE)]


def _bundle(data: bytes) -> tuple[bytes, list[bytes]]:
    return data[:1], unpack_entries(data[1:], data[0] + 1 if data else 0)


def _bundles() -> list[bytes]:
    return [bytes([count - 1]) + pack_entries([entry(at) for at in range(count)]) for count in (1, 2, 40)]


def _inclusion(data: bytes) -> None:
    """Index and size, then hashes: leaf and root are those of the sample log."""
    index, size = int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big")
    proof = [data[at : at + 32] for at in range(16, len(data), 32)]
    verify_inclusion(leaf_hash(entry(7)), index, size, proof, naive_root(leaves(SIZE)))
    must((index, proof) == (7, list(sample_receipt(7, SIZE).hashes)), "a second proof of one place")


def _inclusions() -> list[bytes]:
    return [(7).to_bytes(8, "big") + SIZE.to_bytes(8, "big") + b"".join(sample_receipt(7, SIZE).hashes)]


def _consistency(data: bytes) -> None:
    old, new = int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big")
    proof = [data[at : at + 32] for at in range(16, len(data), 32)]
    verify_consistency(old, naive_root(leaves(SIZE)), new, naive_root(leaves(SIZE)), proof)
    must(old == new and not proof, "a log that grew has the root that it had")


def _pieces(data: bytes) -> list[bytes]:
    """Literal and hidden lines from leaf 3 on, up to as many leaves as the first byte says."""
    if not data.endswith(b"\n") or len(data) < 2:
        raise Refused("malformed", "no block of lines")
    lines = data[1:-1].split(b"\n", SET_MAX_LEAVES)
    if len(lines) > SET_MAX_LEAVES:
        raise Refused("too-large", "more lines than a set has; whoever calls this reader says so first")
    pieces = read_pieces(lines, 3, 3 + data[0])
    root_of([bytes(32)] * 3, pieces)
    return [data[:1], write_pieces(pieces)]


def _blocks() -> list[bytes]:
    contents = sample_lines(4, 4)[1]
    hidden = b'{"hidden":"%b","leaves":1}' % b64u_encode(bytes(32)).encode()
    return [b"\x04" + b"\n".join([*contents, b""]), b"\x04" + b"\n".join([hidden, *contents[:3], b""])]


def targets() -> Sequence[Target]:
    """All of this module."""
    return (
        Target(
            "base64url",
            lambda d: b64u_decode(text_of(d)),
            _texts("", "AA", "AAAA", "-_-_"),
            lambda v: b64u_encode(v).encode(),
        ),
        Target("base64", _base64, _texts("", "AA==", "AAA=", "+/+/"), lambda v: b64_encode(v).encode()),
        Target("digest", lambda d: Digest.parse(text_of(d)), _texts("A" * 43), lambda v: v.b64u.encode()),
        Target(
            "timestamp",
            lambda d: parse_timestamp(text_of(d)),
            _texts("1970-01-01T00:00:00.000Z", "2024-02-29T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
            lambda v: format_timestamp(v).encode(),
        ),
        Target("agency", _same(AgencyId.parse), _texts("33.75", "kementerian-panrb", "a" * 64), bytes_of),
        Target("complaint", _same(ComplaintId.parse), _texts(COMPLAINT), bytes_of),
        Target("uuid", _same(parse_uuid), _texts(uuid_of("a")), bytes_of),
        Target("code", _same(parse_code), _texts("jalan.rusak", "dinas-pu_2"), bytes_of),
        Target("source-id", _same(parse_source_id), _texts("SP4N/2026:77", "7654321"), bytes_of),
        Target("tracking", _tracking, _texts(TRACKING, TRACKING.lower().replace("-", " "))),
        Target(
            "decimal",
            lambda d: parse_decimal(text_of(d), "size"),
            _texts("0", "17", str(2**63 - 1)),
            lambda v: b"%d" % v,
        ),
        Target("query-number", lambda d: integer(text_of(d), "seq"), _texts("0", "17"), lambda v: b"%d" % v),
        Target(
            "next-page",
            lambda d: parse_after(text_of(d)),
            lambda: [format_after(0, 1).encode(), format_after(77, 2**40).encode()],
            lambda v: format_after(*v).encode(),
        ),
        Target("signature", _signature, _signed),
        Target(
            "vkey",
            lambda d: VerifierKey.parse(text_of(d)),
            lambda: [LOG.vkey().format().encode()],
            lambda v: v.format().encode(),
        ),
        Target("note", parse_note, _notes, format_note, NOTE_MAX_BYTES, _hostile_notes),
        Target(
            "checkpoint-text",
            parse_checkpoint_text,
            lambda: [parse_note(n).text.encode() for n in _notes()],
            lambda v: v.text(),
        ),
        Target("checkpoint", _open, _notes, lambda v: v.note, NOTE_MAX_BYTES, _hostile_notes),
        Target("receipt", parse_receipt, _receipts, format_receipt, RECEIPT_MAX_BYTES),
        Target("receipt-of-an-entry", _receipt_holds, _receipts, format_receipt, RECEIPT_MAX_BYTES),
        Target(
            "tile-path",
            lambda d: parse_tile_path(text_of(d)),
            _texts("tile/0/000", "tile/entries/x001/067.p/5"),
            lambda v: v.path.encode(),
        ),
        Target("tile", split_tile, lambda: [bytes(32), bytes(range(256)) * 2], b"".join, TILE_BYTES),
        Target("entry-bundle", _bundle, _bundles, lambda v: v[0] + pack_entries(v[1]), 256 * KIB),
        Target("inclusion-proof", _inclusion, _inclusions, None, 16 + 64 * 32),
        Target("consistency-proof", _consistency, lambda: [SIZE.to_bytes(8, "big") * 2], None, 16 + 64 * 32),
        Target("hidden-lines", _pieces, _blocks, b"".join, 1024 * KIB),
    )
