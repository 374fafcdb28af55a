"""Private keys in memory: they sign as others expect, and show nothing."""

from __future__ import annotations

import copy
import json
import logging
import pickle

import pytest

from keys.signer import Ed25519Signer, PrivateKey, SealingKey
from sync_protocol import ed25519
from sync_protocol.errors import Refused
from sync_protocol.values import b64u_encode

SEED = bytes(range(32))
KEYS: list[PrivateKey] = [Ed25519Signer.from_seed(SEED), SealingKey.from_seed(SEED)]
SECRET_SPELLINGS = [SEED.hex(), SEED.hex().upper(), b64u_encode(SEED), str(SEED), repr(SEED)[2:-1], str(list(SEED))]


def test_a_signature_of_ours_is_taken_by_the_verifier() -> None:
    signer = Ed25519Signer.generate(SEED)
    ed25519.verify(signer.public_key, signer.sign(b"message"), b"message")
    assert signer.kid == ed25519.kid_of(signer.public_key)


def test_the_key_of_rfc_8032_test_1_comes_out_of_its_seed() -> None:
    signer = Ed25519Signer.from_seed(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert signer.public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert signer.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a")


def test_two_sealing_keys_agree_on_one_secret() -> None:
    ours, theirs = SealingKey.generate(SEED), SealingKey.generate(bytes(32))
    assert ours.exchange(theirs.public_key) == theirs.exchange(ours.public_key)


@pytest.mark.parametrize("peer", [bytes(32), b"short", b"\x01" + bytes(31)])
def test_a_peer_key_of_small_order_or_another_length_is_refused(peer: bytes) -> None:
    with pytest.raises(Refused, match="X25519"):
        SealingKey.from_seed(SEED).exchange(peer)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    for kind in (Ed25519Signer, SealingKey):
        with pytest.raises(Refused):
            kind.from_seed(bytes(length))


@pytest.mark.parametrize("key", KEYS)
def test_no_printed_form_of_a_key_shows_its_secret(key: PrivateKey, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("test").warning("the key is %s, %r, %s", key, key, {"key": key})
    printed = f"{key} {key!r} {[key]} {vars(type(key))} {caplog.text}"
    assert not [spelling for spelling in SECRET_SPELLINGS if spelling in printed]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_neither_pickled_nor_copied_nor_turned_to_json(key: PrivateKey) -> None:
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            attempt(key)
    assert not hasattr(key, "__dict__")
