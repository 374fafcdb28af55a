"""Ed25519: published vectors hold, and every encoding on which libraries disagree is refused (protocol §1.2)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sync_protocol.ed25519 import SMALL_ORDER_ENCODINGS, Signer, check_public_key, kid_of, verify
from sync_protocol.errors import Refused
from tests.protocol.log_samples import LOG, OTHER, bit_flips

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493

# RFC 8032 §7.1: (public key, message, signature) of TEST 1, 2, 3 and SHA(abc).
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
            "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
        ),
    ),
]


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032)
def test_the_vectors_of_rfc_8032_verify(key: str, message: str, signature: str) -> None:
    check_public_key(bytes.fromhex(key))
    verify(bytes.fromhex(key), bytes.fromhex(signature), bytes.fromhex(message))


def test_the_thumbprint_is_the_one_of_rfc_8037() -> None:
    key = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert kid_of(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_test_signer_is_a_signer() -> None:
    signer: Signer = LOG
    verify(signer.public_key, signer.sign(b"hello"), b"hello")


def test_every_bit_flip_of_signature_key_and_message_is_refused() -> None:
    signature = LOG.sign(b"message")
    for flipped in bit_flips(signature):
        with pytest.raises(Refused) as caught:
            verify(LOG.public_key, flipped, b"message")
        assert caught.value.kind == "bad-signature"
    for flipped in bit_flips(LOG.public_key):
        with pytest.raises(Refused):
            verify(flipped, signature, b"message")
    for flipped in bit_flips(b"message"):
        with pytest.raises(Refused):
            verify(LOG.public_key, signature, flipped)


def test_a_good_signature_vouches_for_nothing_beside_it_and_a_bad_one_stays_bad() -> None:
    signature = LOG.sign(b"message")
    for _ in range(2):
        verify(LOG.public_key, signature, b"message")
        for key, signed, message in (
            (OTHER.public_key, signature, b"message"),
            (LOG.public_key, signature, b"messag"),
            (LOG.public_key, signature[:-1] + bytes([signature[-1] ^ 1]), b"message"),
            (LOG.public_key, signature + b"m", b"essage"),
        ):
            with pytest.raises(Refused):
                verify(key, signed, message)


def test_another_key_is_refused() -> None:
    with pytest.raises(Refused):
        verify(OTHER.public_key, LOG.sign(b"message"), b"message")


def test_a_second_spelling_of_s_is_refused() -> None:
    signature = LOG.sign(b"message")
    s = int.from_bytes(signature[32:], "little")
    for again in range(s + L, 2**256, L):
        with pytest.raises(Refused) as caught:
            verify(LOG.public_key, signature[:32] + again.to_bytes(32, "little"), b"message")
        assert "group order" in caught.value.detail


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(Refused):
        verify(LOG.public_key, (LOG.sign(b"") * 2)[:length], b"")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(Refused):
        check_public_key((LOG.public_key * 2)[:length])


def test_there_are_ten_encodings_of_small_order_and_all_are_refused() -> None:
    assert len(SMALL_ORDER_ENCODINGS) == 10
    for key in SMALL_ORDER_ENCODINGS:
        with pytest.raises(Refused) as caught:
            check_public_key(key)
        assert "small order" in caught.value.detail


def test_the_small_order_attack_signs_nothing() -> None:
    """Under the neutral element as key, R = neutral and S = 0 is a signature of every message to a naive verifier."""
    neutral = (1).to_bytes(32, "little")
    with pytest.raises(Refused):
        verify(neutral, neutral + bytes(32), b"anything at all")


@pytest.mark.parametrize("y", range(P, 2**255))
def test_a_y_that_is_not_below_the_prime_is_refused(y: int) -> None:
    for sign in (0, 1 << 255):
        with pytest.raises(Refused) as caught:
            check_public_key((y | sign).to_bytes(32, "little"))
        assert "canonical" in caught.value.detail


def test_a_y_without_a_point_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        check_public_key((2).to_bytes(32, "little"))
    assert "not a point" in caught.value.detail


@given(st.binary(min_size=32, max_size=32))
def test_every_honest_key_passes(seed: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    raw = key.public_key().public_bytes_raw()
    check_public_key(raw)
    verify(raw, key.sign(seed), seed)


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_arbitrary_bytes_are_refused_with_our_own_error(key: bytes, signature: bytes) -> None:
    with pytest.raises(Refused):
        verify(key, signature, b"")
