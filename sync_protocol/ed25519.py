"""Ed25519 as protocol §1.2 wants it: one verdict for every (key, signature, message), on every machine.

Libraries differ on keys of small order, on encodings that are not canonical and on S ≥ L. Those are refused here by
name before the library is asked; what is left is the single, cofactorless verification of RFC 8032 §5.1.7.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sync_protocol.errors import Refused, malformed
from sync_protocol.values import b64u_encode

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_P: Final = 2**255 - 19  # the field
_L: Final = 2**252 + 27742317777372353535851937790883648493  # the order of the base point
_D: Final = -121665 * pow(121666, -1, _P) % _P  # the curve: -x² + y² = 1 + d·x²·y²
_SIGN_BIT: Final = 1 << 255

# The eight points whose order divides 8 have these five y; with either sign bit their signatures bind nobody. The two
# spellings "x = 0, but odd" (y = ±1 with the sign bit set) are among the ten encodings as well.
_ORDER_8_Y: Final = (
    0x05FC536D880238B13933C6D305ACDFD5F098EFF24C3DB045B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100DB3C24FBA4FD84D3D706A17C7,
)
SMALL_ORDER_ENCODINGS: Final = frozenset(
    (y | sign).to_bytes(32, "little") for y in (0, 1, _P - 1, *_ORDER_8_Y) for sign in (0, _SIGN_BIT)
)


class Signer(Protocol):
    """Holds a private key and shows none of it. `sign` returns 64 bytes and may raise Unavailable."""

    @property
    def kid(self) -> str:
        """RFC 7638 thumbprint of the public key."""

    @property
    def public_key(self) -> bytes:
        """32 raw bytes."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `message`."""


def check_public_key(public_key: bytes) -> None:
    """Refuse what is not a canonical encoding of a curve point of large order. Raises Refused(malformed)."""
    _load(bytes(public_key))


@lru_cache(maxsize=4096)  # more than all agencies with a few rotations; judging a key costs more than a signature
def _load(public_key: bytes) -> Ed25519PublicKey:
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise malformed("an Ed25519 public key has 32 bytes", "key")
    y = int.from_bytes(public_key, "little") & (_SIGN_BIT - 1)
    if y >= _P:
        raise malformed("this Ed25519 public key is not canonical (y is not below the field's prime)", "key")
    if public_key in SMALL_ORDER_ENCODINGS:
        raise malformed("this Ed25519 public key is of small order: anybody can sign for it", "key")
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if pow(x_squared, (_P - 1) // 2, _P) != 1:  # Euler: not a square, so no point of the curve has this y
        raise malformed("this Ed25519 public key is not a point of the curve", "key")
    return Ed25519PublicKey.from_public_bytes(public_key)


def verify(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Return if `signature` is valid. Raises Refused: `bad-signature`, or `malformed` for the key itself.

    What was found good a moment ago is remembered, byte for byte: a set is judged twice (protocol §8), and what it has
    `seen` was seen by others too. What was found bad is not.
    """
    _verify(bytes(public_key), bytes(signature), bytes(message))


@lru_cache(maxsize=256)  # a group of sets with what they have seen; at most 4 MiB, should all be fork statements
def _verify(public_key: bytes, signature: bytes, message: bytes) -> None:
    key = _load(public_key)
    if len(signature) != SIGNATURE_BYTES:
        raise Refused("bad-signature", "an Ed25519 signature has 64 bytes")
    if int.from_bytes(signature[32:], "little") >= _L:
        raise Refused("bad-signature", "S is not below the group order: a second spelling of some signature")
    try:
        key.verify(signature, message)
    except InvalidSignature:
        raise Refused("bad-signature", "the signature does not fit this key and these bytes") from None


def kid_of(public_key: bytes) -> str:
    """RFC 7638 thumbprint, 43 characters (protocol §1.2). The key is not judged here."""
    jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{b64u_encode(public_key)}"}}'
    return b64u_encode(sha256(jwk.encode("ascii")).digest())
