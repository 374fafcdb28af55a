"""Private keys in memory: Ed25519 for signing (protocol §1.2), X25519 for opening what was sealed to an agency.

A key object shows its public half only: repr, str, pickle and copy never let the secret out. Who needs the secret asks
for it by name, and only keys/key_file.py does.
"""

from __future__ import annotations

from typing import Final, NoReturn, Self, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sync_protocol.ed25519 import kid_of
from sync_protocol.errors import malformed
from sync_protocol.values import b64u_encode

SEED_BYTES: Final = 32


class _Secret:
    """What both kinds of key refuse to do."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a private key is not pickled or copied; load it from its file")


class Ed25519Signer(_Secret):
    """Signs with an Ed25519 key; what `sync_protocol.ed25519.Signer` asks for."""

    __slots__ = ("_key", "_kid", "_public_key")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public_key = key.public_key().public_bytes_raw()
        self._kid = kid_of(self._public_key)

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The key of a 32-byte seed (RFC 8032 §5.1.5). Raises Refused(malformed) for another length."""
        return cls(Ed25519PrivateKey.from_private_bytes(_check_seed(seed)))

    @classmethod
    def generate(cls, random32: bytes) -> Self:
        """A new key from 32 unpredictable bytes that the caller drew and forgets."""
        return cls.from_seed(random32)

    @property
    def kid(self) -> str:
        """RFC 7638 thumbprint of the public key, 43 characters."""
        return self._kid

    @property
    def public_key(self) -> bytes:
        """32 raw bytes."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`."""
        return self._key.sign(message)

    def private_der(self) -> bytes:
        """The secret, as PKCS#8 DER in the clear: for the key file alone."""
        return self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"Ed25519Signer(kid={self._kid!r})"


class SealingKey(_Secret):
    """An agency's X25519 key: identities are sealed to its public half, and opened with `exchange`."""

    __slots__ = ("_key", "_public_key")

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key
        self._public_key = key.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The key of 32 private bytes (RFC 7748 §5). Raises Refused(malformed) for another length."""
        return cls(X25519PrivateKey.from_private_bytes(_check_seed(seed)))

    @classmethod
    def generate(cls, random32: bytes) -> Self:
        """A new key from 32 unpredictable bytes that the caller drew and forgets."""
        return cls.from_seed(random32)

    @property
    def public_key(self) -> bytes:
        """32 raw bytes."""
        return self._public_key

    def exchange(self, peer_public_key: bytes) -> bytes:
        """The 32-byte shared secret. Raises Refused(malformed) for a peer key of small order or another length."""
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(peer_public_key))
        except ValueError:
            raise malformed("not a usable X25519 public key", "sealing") from None

    def private_der(self) -> bytes:
        """The secret, as PKCS#8 DER in the clear: for the key file alone."""
        return self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"SealingKey(public_key={b64u_encode(self._public_key)!r})"


PrivateKey: TypeAlias = Ed25519Signer | SealingKey


def _check_seed(seed: bytes) -> bytes:
    if len(seed) != SEED_BYTES:
        raise malformed(f"a private key is made from {SEED_BYTES} bytes", "seed")
    return seed
