"""Signed notes and checkpoints: C2SP to the byte, and nothing that was touched opens (protocol §6.2)."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_protocol.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_checkpoint_text,
    parse_decimal,
    sign_checkpoint,
    verify_seen,
)
from sync_protocol.ed25519 import SMALL_ORDER_ENCODINGS
from sync_protocol.errors import Refused
from sync_protocol.limits import NOTE_MAX_BYTES, NOTE_SIGNATURES_MAX
from sync_protocol.merkle import EMPTY_ROOT, TREE_SIZE_MAX
from sync_protocol.note import (
    KEY_NAME_MAX_BYTES,
    Note,
    NoteSignature,
    VerifierKey,
    check_key_name,
    format_note,
    note_key_id,
    parse_note,
    verify_note,
    vkey_for,
)
from sync_protocol.values import b64_encode
from tests.protocol.log_samples import (
    LOG,
    ORIGIN,
    OTHER,
    WITNESS,
    FixedSigner,
    bit_flips,
    sample_checkpoint,
    truncations,
)

# The example of the C2SP signed-note specification.
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()

TEXT = "first line\n\nthird line — with a dash\n"


def signature_by(signer: FixedSigner, text: str = TEXT, name: str = ORIGIN) -> NoteSignature:
    return NoteSignature(name, note_key_id(name, signer.public_key), signer.sign(text.encode()))


def note_by(*signers: FixedSigner, text: str = TEXT) -> bytes:
    return format_note(Note(text, tuple(signature_by(signer, text) for signer in signers)))


def refusal_of(data: bytes, *vkeys: VerifierKey) -> str:
    with pytest.raises(Refused) as caught:
        verify_note(data, vkeys)
    return caught.value.kind


def test_the_example_of_the_specification_opens() -> None:
    opened = verify_note(C2SP_NOTE, [VerifierKey.parse(C2SP_VKEY)])
    assert opened.text == "This is an example message.\n"
    assert [vkey.format() for vkey, _ in opened.good] == [C2SP_VKEY]
    assert format_note(opened) == C2SP_NOTE


def test_a_text_may_hold_empty_lines_of_its_own() -> None:
    assert verify_note(note_by(LOG), [LOG.vkey()]).text == TEXT


@pytest.mark.parametrize("data", [C2SP_NOTE, note_by(LOG)])
def test_every_bit_flip_and_truncation_of_a_note_is_refused(data: bytes) -> None:
    vkeys = [VerifierKey.parse(C2SP_VKEY), LOG.vkey()]
    verify_note(data, vkeys)
    for touched in (*bit_flips(data), *truncations(data), data + b"\n", data + b"\x00", b"\n" + data):
        with pytest.raises(Refused):
            verify_note(touched, vkeys)


def test_a_bit_flip_in_a_foreign_signature_changes_nothing_that_was_signed() -> None:
    """C2SP wants unknown signatures ignored; what opens must still be what the known key signed."""
    data = note_by(LOG, WITNESS)
    for touched in (*bit_flips(data), *truncations(data)):
        try:
            opened = verify_note(touched, [LOG.vkey()])
        except Refused:
            continue
        assert opened.text == TEXT
        assert [vkey for vkey, _ in opened.good] == [LOG.vkey()]


def test_unknown_signatures_are_ignored_and_known_ones_all_reported() -> None:
    data = note_by(OTHER, LOG, WITNESS)
    opened = verify_note(data, [LOG.vkey(), WITNESS.vkey()])
    assert [vkey for vkey, _ in opened.good] == [LOG.vkey(), WITNESS.vkey()]
    assert len(opened.signatures) == 3


def test_one_bad_signature_by_a_known_key_spoils_the_whole_note() -> None:
    bad = NoteSignature(ORIGIN, WITNESS.vkey().key_id, WITNESS.sign(b"another text"))
    data = format_note(Note(TEXT, (signature_by(LOG), bad)))
    assert refusal_of(data, LOG.vkey(), WITNESS.vkey()) == "bad-signature"
    verify_note(data, [LOG.vkey()])


def test_a_note_without_a_known_signature_is_refused() -> None:
    assert refusal_of(note_by(LOG), OTHER.vkey()) == "bad-signature"
    assert refusal_of(note_by(LOG)) == "bad-signature"
    assert refusal_of(note_by(LOG), LOG.vkey("another.example")) == "bad-signature"


def test_a_known_key_signs_a_note_once() -> None:
    assert refusal_of(note_by(LOG, LOG), LOG.vkey()) == "malformed"


def test_a_forged_key_id_does_not_pass_for_the_key() -> None:
    forged = NoteSignature(ORIGIN, LOG.vkey().key_id, OTHER.sign(TEXT.encode()))
    assert refusal_of(format_note(Note(TEXT, (forged,))), LOG.vkey()) == "bad-signature"


def test_sixteen_signatures_are_taken_and_sixty_five_are_not() -> None:
    line = signature_by(LOG)
    foreign = [NoteSignature(f"witness-{number}", b"\0\0\0\0", bytes(2_500)) for number in range(15)]
    verify_note(format_note(Note(TEXT, (line, *foreign))), [LOG.vkey()])
    many = [NoteSignature(f"witness-{number}", b"\0\0\0\0", b"\0") for number in range(NOTE_SIGNATURES_MAX)]
    with pytest.raises(Refused) as caught:
        format_note(Note(TEXT, (line, *many)))
    assert caught.value.kind == "too-large"


def test_a_note_over_the_limit_is_refused_before_it_is_read() -> None:
    assert refusal_of(b"\xff" * (NOTE_MAX_BYTES + 1), LOG.vkey()) == "too-large"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        b"text\n",
        b"text\n\n",
        b"text\n\n\n",
        b"text\n\xe2\x80\x94 name AAAAAAA=\n",
        b"text\n\nname AAAAAAA=\n",
        b"text\n\n- name AAAAAAA=\n",
        b"text\n\n\xe2\x80\x94  AAAAAAA=\n",
        b"text\n\n\xe2\x80\x94 name\n",
        b"text\n\n\xe2\x80\x94 name \n",
        b"text\n\n\xe2\x80\x94 name AAAAAA==\n",  # four bytes: a key id and no signature
        b"text\n\n\xe2\x80\x94 name AAAAAAA\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAB=\n",  # spare bits
        b"text\n\n\xe2\x80\x94 name AAAA AAA=\n",
        b"text\n\n\xe2\x80\x94 na+me AAAAAAA=\n",
        b"text\n\n\xe2\x80\x94 na\xc2\xa0me AAAAAAA=\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAA=",
        b"text\n\n\xe2\x80\x94 name AAAAAAA=\r\n",
        b"te\txt\n\n\xe2\x80\x94 name AAAAAAA=\n",
        b"te\x00xt\n\n\xe2\x80\x94 name AAAAAAA=\n",
        b"te\xffxt\n\n\xe2\x80\x94 name AAAAAAA=\n",
        b"te\xed\xa0\x80xt\n\n\xe2\x80\x94 name AAAAAAA=\n",
    ],
)
def test_what_is_not_a_note_is_malformed(data: bytes) -> None:
    assert refusal_of(data, LOG.vkey()) == "malformed"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_arbitrary_bytes_are_a_note_that_formats_back_or_refused(tail: bytes) -> None:
    for data in (tail, C2SP_NOTE + tail, b"text\n\n\xe2\x80\x94 name " + tail):
        try:
            note = parse_note(data)
        except Refused:
            continue
        assert format_note(note) == data


@pytest.mark.parametrize("text", ["", "no line feed", "tab\t\n", "a\ud800\n", "text\n\n— name AAAAAAA=\n\n"])
def test_a_text_that_cannot_be_a_note_is_not_written(text: str) -> None:
    line = NoteSignature("name", b"\0\0\0\0", b"\0")
    try:
        data = format_note(Note(text, (line,)))
    except Refused:
        return
    assert parse_note(data) == Note(text, (line,))


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\u2003b", "a\nb", "a\x01b", "\ud800", "a" * (KEY_NAME_MAX_BYTES + 1)]
)
def test_a_key_has_a_name_that_cannot_be_misread(name: str) -> None:
    with pytest.raises(Refused):
        vkey_for(name, LOG.public_key)
    with pytest.raises(Refused):
        Checkpoint(name, 0, EMPTY_ROOT)


def test_of_all_characters_just_spaces_controls_plus_and_surrogates_are_in_no_key_name() -> None:
    refused: list[str] = []
    allowed: list[str] = []
    for character in map(chr, range(sys.maxunicode + 1)):
        is_surrogate = "\ud800" <= character <= "\udfff"
        odd = is_surrogate or character.isspace() or character < " " or character == "+"
        (refused if odd else allowed).append(character)
    for character in refused:
        with pytest.raises(Refused):
            check_key_name(f"a{character}b")
    for start in range(0, len(allowed), 60):
        check_key_name("".join(allowed[start : start + 60]))


def test_a_note_that_was_opened_before_is_opened_again_only_by_a_key_that_signed_it() -> None:
    note = sample_checkpoint(12)
    for _ in range(2):
        assert open_checkpoint(note, [LOG.vkey()], ORIGIN).checkpoint.size == 12
        with pytest.raises(Refused, match="none of the note's signatures"):
            open_checkpoint(note, [OTHER.vkey()], ORIGIN)
        with pytest.raises(Refused):
            open_checkpoint(note, [LOG.vkey("another.example/log")], "another.example/log")


def test_a_verifier_key_has_one_spelling() -> None:
    text = LOG.vkey().format()
    assert VerifierKey.parse(text) == LOG.vkey()
    name, key_id, encoded = text.split("+", 2)
    typed = b64_encode(b"\x04" + LOG.public_key)
    for wrong in (
        "",
        name,
        f"{name}+{key_id}",
        f"+{key_id}+{encoded}",
        f"{name}+{key_id.upper()}+{encoded}",
        f"{name}+{key_id[1:]}+{encoded}",
        f"{name}+00000000+{encoded}",
        f"{name}x+{key_id}+{encoded}",
        f"{name}+{key_id}+{encoded[:-1]}",
        f"{name}+{key_id}+{encoded}\n",
        f"{name}+{key_id}+{typed}",
        text * 100,
    ):
        with pytest.raises(Refused):
            VerifierKey.parse(wrong)


@given(st.text(max_size=80))
def test_arbitrary_text_is_no_verifier_key(text: str) -> None:
    with pytest.raises(Refused):
        VerifierKey.parse(text)


def test_a_verifier_key_of_small_order_is_refused() -> None:
    for weak in SMALL_ORDER_ENCODINGS:
        encoded = b64_encode(b"\x01" + weak)
        with pytest.raises(Refused):
            VerifierKey.parse(f"{ORIGIN}+{note_key_id(ORIGIN, weak).hex()}+{encoded}")


def test_a_checkpoint_is_three_lines_to_the_byte() -> None:
    checkpoint = Checkpoint(ORIGIN, 20_852_163, bytes(range(32)))
    assert checkpoint.text() == b"hub.example/log\n20852163\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    assert parse_checkpoint_text(checkpoint.text()) == checkpoint
    assert parse_checkpoint_text(checkpoint.text().decode()) == checkpoint


def test_a_signed_checkpoint_opens_with_the_logs_key_and_tells_its_signature() -> None:
    note = sample_checkpoint(10)
    opened = open_checkpoint(note, [OTHER.vkey(), LOG.vkey()], ORIGIN)
    assert opened.checkpoint.size == 10
    assert opened.vkey == LOG.vkey()
    assert opened.note == note
    assert opened.signature == LOG.sign(opened.checkpoint.text())


def test_every_bit_flip_and_truncation_of_a_checkpoint_is_refused() -> None:
    note = sample_checkpoint(300)
    for touched in (*bit_flips(note), *truncations(note), note + note, note + b"\n"):
        with pytest.raises(Refused):
            open_checkpoint(touched, [LOG.vkey()], ORIGIN)


def test_every_bit_flip_and_truncation_of_a_checkpoints_text_is_another_checkpoint_or_none() -> None:
    text = Checkpoint(ORIGIN, 300, bytes(range(32))).text()
    for touched in (*bit_flips(text), *truncations(text)):
        try:
            checkpoint = parse_checkpoint_text(touched)
        except Refused:
            continue
        assert checkpoint.text() == touched


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n\n\n",
        b"o\n1\n",
        b"o\n1\nAAAA\n",
        b"o\n01\n%s\n" % b64_encode(bytes(32)).encode(),
        b"o\n+1\n%s\n" % b64_encode(bytes(32)).encode(),
        b"o\n-1\n%s\n" % b64_encode(bytes(32)).encode(),
        b"o\n \n%s\n" % b64_encode(bytes(32)).encode(),
        b"o\n1_0\n%s\n" % b64_encode(bytes(32)).encode(),
        b"o\n\xd9\xa1\n%s\n" % b64_encode(bytes(32)).encode(),
        b"o\n0\n%s\n" % b64_encode(bytes(32)).encode(),
        b"o\n9223372036854775808\n%s\n" % b64_encode(bytes(32)).encode(),
        b"o\n%s\n%s\n" % (b"9" * 10_000, b64_encode(bytes(32)).encode()),
        b"o\n1\n%s" % b64_encode(bytes(32)).encode(),
        b"o\n1\n%s\n\n" % b64_encode(bytes(32)).encode(),
        b"o\n1\n%s\nextension\n" % b64_encode(bytes(32)).encode(),
        b"o\n1\n%s\n" % b64_encode(bytes(31)).encode(),
        b"o\n1\n%s\n" % b64_encode(bytes(33)).encode(),
        b"o\r\n1\n%s\n" % b64_encode(bytes(32)).encode(),
        b"\xff\n1\n%s\n" % b64_encode(bytes(32)).encode(),
    ],
)
def test_what_is_not_three_lines_is_no_checkpoint(text: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse_checkpoint_text(text)
    assert caught.value.kind == "malformed"


def test_a_checkpoint_of_another_log_is_refused_even_with_our_key() -> None:
    vkeys = [LOG.vkey(), LOG.vkey("other.example")]
    foreign = sample_checkpoint(3, LOG, "other.example")
    with pytest.raises(Refused):
        open_checkpoint(foreign, vkeys, ORIGIN)
    text = Checkpoint("other.example", 3, bytes(32)).text().decode()
    mixed = format_note(Note(text, (signature_by(LOG, text),)))
    with pytest.raises(Refused) as caught:
        open_checkpoint(mixed, vkeys, ORIGIN)
    assert caught.value.where == "origin"


def test_a_witness_alone_does_not_make_a_checkpoint() -> None:
    text = Checkpoint(ORIGIN, 3, bytes(32)).text().decode()
    name = "witness.example"
    lines = (signature_by(WITNESS, text, name), signature_by(LOG, text))
    vkeys = [WITNESS.vkey(name), LOG.vkey()]
    assert open_checkpoint(format_note(Note(text, lines)), vkeys, ORIGIN).vkey == LOG.vkey()
    with pytest.raises(Refused):
        open_checkpoint(format_note(Note(text, lines[:1])), vkeys, ORIGIN)


def test_a_seen_checkpoint_is_rebuilt_from_size_root_and_signature() -> None:
    root = bytes(range(32))
    signature = LOG.sign(Checkpoint(ORIGIN, 7, root).text())
    vkeys = [OTHER.vkey(), LOG.vkey("elsewhere.example"), LOG.vkey()]
    verify_seen(ORIGIN, 7, root, signature, vkeys)
    for origin, size, seen_root, known in (
        (ORIGIN, 8, root, vkeys),
        (ORIGIN, 7, bytes(32), vkeys),
        ("elsewhere.example", 7, root, vkeys),
        (ORIGIN, 7, root, vkeys[:2]),
        (ORIGIN, 7, root, []),
        (ORIGIN, -1, root, vkeys),
        (ORIGIN, 7, root[:31], vkeys),
    ):
        with pytest.raises(Refused):
            verify_seen(origin, size, seen_root, signature, known)
    for touched in (*bit_flips(signature), *truncations(signature)):
        with pytest.raises(Refused):
            verify_seen(ORIGIN, 7, root, touched, vkeys)


def test_a_checkpoint_that_cannot_be_is_not_made() -> None:
    for size, root in ((-1, bytes(32)), (TREE_SIZE_MAX + 1, bytes(32)), (1, bytes(31)), (0, bytes(32))):
        with pytest.raises(Refused):
            Checkpoint(ORIGIN, size, root)
    assert open_checkpoint(sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), LOG), [LOG.vkey()], ORIGIN)


def test_two_keys_under_one_key_id_are_refused_rather_than_guessed() -> None:
    class Colliding(VerifierKey):
        @property
        def key_id(self) -> bytes:
            return LOG.vkey().key_id

    with pytest.raises(Refused):
        verify_note(note_by(LOG), [LOG.vkey(), Colliding(ORIGIN, OTHER.public_key)])


@given(st.integers(0, TREE_SIZE_MAX))
def test_a_decimal_has_one_spelling(number: int) -> None:
    assert parse_decimal(str(number), "size") == number
    for wrong in (f"0{number}", f"+{number}", f" {number}", f"{number}\n", f"{number}.0", f"{number + 2**63}"):
        with pytest.raises(Refused):
            parse_decimal(wrong, "size")
