"""What the tests of the log share: signers with fixed keys, a naive Merkle tree, and samples made with both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sync_protocol.checkpoint import Checkpoint, sign_checkpoint
from sync_protocol.ed25519 import kid_of
from sync_protocol.merkle import inclusion_proof, leaf_hash
from sync_protocol.note import VerifierKey, vkey_for
from sync_protocol.receipt import Receipt

ORIGIN = "hub.example/log"


class FixedSigner:
    """A signer whose key is the SHA-256 of a label: known to everybody, so good for tests alone."""

    def __init__(self, label: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(sha256(b"simpul test key: " + label.encode()).digest())
        self.public_key = self._key.public_key().public_bytes_raw()
        self.kid = kid_of(self.public_key)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def vkey(self, name: str = ORIGIN) -> VerifierKey:
        return vkey_for(name, self.public_key)


LOG = FixedSigner("log")
OTHER = FixedSigner("other")
WITNESS = FixedSigner("witness")


def entry(index: int) -> bytes:
    """Log entry number `index` of the sample log: an uneven length, so that mixing up entries shows."""
    return f"entry {index} ".encode() + b"x" * (index % 7)


@lru_cache(maxsize=4)
def leaves(size: int) -> tuple[bytes, ...]:
    return tuple(leaf_hash(entry(index)) for index in range(size))


def naive_root(hashes: Sequence[bytes]) -> bytes:
    """MTH as RFC 6962 §2.1 writes it down, word for word."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = largest_power_below(len(hashes))
    return sha256(b"\x01" + naive_root(hashes[:k]) + naive_root(hashes[k:])).digest()


def naive_path(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """PATH as RFC 6962 §2.1.1 writes it down."""
    if len(hashes) <= 1:
        return []
    k = largest_power_below(len(hashes))
    if index < k:
        return [*naive_path(index, hashes[:k]), naive_root(hashes[k:])]
    return [*naive_path(index - k, hashes[k:]), naive_root(hashes[:k])]


def naive_subproof(old: int, hashes: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF as RFC 6962 §2.1.2 writes it down."""
    if old == len(hashes):
        return [] if whole else [naive_root(hashes)]
    k = largest_power_below(len(hashes))
    if old <= k:
        return [*naive_subproof(old, hashes[:k], whole), naive_root(hashes[k:])]
    return [*naive_subproof(old - k, hashes[k:], False), naive_root(hashes[:k])]


def largest_power_below(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


class NaiveNodes:
    """Reads nodes straight from the leaf hashes, each one hashed once."""

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self._hashes = hashes
        self._known: dict[tuple[int, int], bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        if level == 0:
            return self._hashes[index]
        if (level, index) not in self._known:
            left, right = self(level - 1, 2 * index), self(level - 1, 2 * index + 1)
            self._known[level, index] = sha256(b"\x01" + left + right).digest()
        return self._known[level, index]


def sample_checkpoint(size: int, signer: FixedSigner = LOG, origin: str = ORIGIN) -> bytes:
    """The note over the sample log of this size."""
    return sign_checkpoint(Checkpoint(origin, size, naive_root(leaves(size))), signer)


def sample_receipt(index: int, size: int) -> Receipt:
    """The receipt for entry `index` of the sample log of this size."""
    proof = inclusion_proof(index, size, NaiveNodes(leaves(size)))
    return Receipt(index, tuple(proof), sample_checkpoint(size))


def bit_flips(data: bytes) -> list[bytes]:
    """Every copy of `data` that differs in one bit."""
    flipped = []
    for place in range(len(data)):
        for bit in range(8):
            copy = bytearray(data)
            copy[place] ^= 1 << bit
            flipped.append(bytes(copy))
    return flipped


def truncations(data: bytes) -> list[bytes]:
    """Every proper beginning of `data`."""
    return [data[:length] for length in range(len(data))]
