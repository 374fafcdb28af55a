"""The text of a key file: PKCS#8 in PEM (RFC 5958, RFC 7468), encrypted where there is a passphrase (PBES2, RFC 8018).

The line before the frame names the public key (readers of PEM pass over it): it tells an operator which key this is,
and a damaged bit, which would silently make another key of it, is found out at loading.

`openssl pkey -in FILE` reads what is written here. The encrypted form is put together by hand, because the library
always takes 2,048 rounds of PBKDF2: too few against somebody who has the file and time.
"""

from __future__ import annotations

import os
import unicodedata
from base64 import b64encode
from hashlib import pbkdf2_hmac
from textwrap import wrap
from typing import Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keys.signer import Ed25519Signer, PrivateKey, SealingKey
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.values import b64u_encode

PBKDF2_ROUNDS: Final = 600_000  # about a quarter of a second; OWASP's advice for PBKDF2 with SHA-256
PASSPHRASE_MIN: Final = 12  # characters; the file may be copied and guessed at without us noticing

_PUBLIC: Final = b"public-key: "
_PLAIN_LABEL: Final = "PRIVATE KEY"
_ENCRYPTED_LABEL: Final = "ENCRYPTED PRIVATE KEY"
_SEQUENCE, _INTEGER, _OCTETS, _NULL, _OID = 0x30, 0x02, 0x04, 0x05, 0x06
_PBES2: Final = bytes.fromhex("2a864886f70d01050d")
_PBKDF2: Final = bytes.fromhex("2a864886f70d01050c")
_HMAC_SHA256: Final = bytes.fromhex("2a864886f70d0209")
_AES256_CBC: Final = bytes.fromhex("60864801650304012a")


def format_pem(key: PrivateKey, passphrase: str | None = None) -> bytes:
    """The file's bytes. Raises Refused(configuration) for a passphrase that is too short."""
    if passphrase is None:
        return _public_line(key) + _armour(_PLAIN_LABEL, key.private_der())
    secret = _encrypt(key.private_der(), check_passphrase(passphrase))
    return _public_line(key) + _armour(_ENCRYPTED_LABEL, secret)


def parse_pem(data: bytes, passphrase: str | None = None, *, name: str = "the key file") -> PrivateKey:
    """The key in a file's bytes; `name` is what messages call the file.

    Raises Refused(configuration): passphrase missing or wrong, or a key of another kind. Raises Corrupt: not a whole
    key file. A passphrase given for a file that is not encrypted is not needed and not an error.
    """
    public_line, frame = _split(data)
    encrypted = _is_encrypted(frame, name)
    if encrypted and passphrase is None:
        raise Refused(
            "configuration",
            f"{name} is protected by a passphrase, and none was given",
            members={"next": "Give the passphrase in SIMPUL_KEY_PASSPHRASE, or a file with it in key_passphrase_file."},
        )
    try:
        loaded = load_pem_private_key(frame, _normalised(passphrase) if encrypted and passphrase else None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):  # a bad bit reaches OpenSSL in many ways
        if not encrypted:
            raise _damaged(name) from None
        raise Refused(
            "configuration",
            f"the passphrase does not open {name} (or the file is damaged)",
            members={"next": "Try the passphrase again; if you are sure of it, restore the file from your key backup."},
        ) from None
    key = _our_kind(loaded, name)
    if public_line and public_line != _public_line(key):
        raise _damaged(name)
    return key


def check_passphrase(passphrase: str) -> bytes:
    """The bytes that a new passphrase stands for. Raises Refused(configuration) if it is too short."""
    if len(passphrase) < PASSPHRASE_MIN:
        raise Refused(
            "configuration",
            f"the passphrase has fewer than {PASSPHRASE_MIN} characters",
            members={"next": "Take a longer one: four words that do not belong together are easy to keep."},
        )
    return _normalised(passphrase)


def _normalised(passphrase: str) -> bytes:
    """NFC: the same letters typed on another keyboard are the same bytes."""
    return unicodedata.normalize("NFC", passphrase).encode("utf-8")


def _our_kind(loaded: object, name: str) -> PrivateKey:
    if isinstance(loaded, Ed25519PrivateKey):
        return Ed25519Signer(loaded)
    if isinstance(loaded, X25519PrivateKey):
        return SealingKey(loaded)
    raise Refused("configuration", f"{name} holds a key that is neither Ed25519 nor X25519")


def _public_line(key: PrivateKey) -> bytes:
    return _PUBLIC + b64u_encode(key.public_key).encode("ascii") + b"\n"


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The line that names the public key (empty in a file that another program made) and the frame."""
    if not data.startswith(_PUBLIC):
        return b"", data
    line, newline, frame = data.partition(b"\n")
    return line + newline, frame


def _is_encrypted(data: bytes, name: str) -> bool:
    """By the frame, which must be whole. Raises Corrupt."""
    text = data.strip()
    for label, encrypted in ((_PLAIN_LABEL, False), (_ENCRYPTED_LABEL, True)):
        head, tail = f"-----BEGIN {label}-----".encode(), f"-----END {label}-----".encode()
        if text.startswith(head) and text.endswith(tail) and text.count(b"-----BEGIN ") == 1:
            return encrypted
    raise _damaged(name)


def _damaged(name: str) -> Corrupt:
    step = "Keep the file as it is and restore it from your key backup; without one, ask the hub for a new invitation."
    return Corrupt(f"{name} is damaged: it does not hold the whole key that was written", next_step=step)


def _armour(label: str, der: bytes) -> bytes:
    lines = [f"-----BEGIN {label}-----", *wrap(b64encode(der).decode("ascii"), 64), f"-----END {label}-----", ""]
    return "\n".join(lines).encode("ascii")


def _encrypt(der: bytes, passphrase: bytes) -> bytes:
    """EncryptedPrivateKeyInfo with PBES2: PBKDF2-HMAC-SHA-256, then AES-256-CBC."""
    salt, iv = os.urandom(16), os.urandom(16)
    cipher = Cipher(algorithms.AES(pbkdf2_hmac("sha256", passphrase, salt, PBKDF2_ROUNDS, 32)), modes.CBC(iv))
    padder, encryptor = PKCS7(128).padder(), cipher.encryptor()
    secret = encryptor.update(padder.update(der) + padder.finalize()) + encryptor.finalize()
    rounds = _der(_INTEGER, PBKDF2_ROUNDS.to_bytes((PBKDF2_ROUNDS.bit_length() // 8) + 1, "big"))
    prf = _der(_SEQUENCE, _der(_OID, _HMAC_SHA256), _der(_NULL))
    derivation = _der(_SEQUENCE, _der(_OID, _PBKDF2), _der(_SEQUENCE, _der(_OCTETS, salt), rounds, prf))
    encryption = _der(_SEQUENCE, _der(_OID, _AES256_CBC), _der(_OCTETS, iv))
    scheme = _der(_SEQUENCE, _der(_OID, _PBES2), _der(_SEQUENCE, derivation, encryption))
    return _der(_SEQUENCE, scheme, _der(_OCTETS, secret))


def _der(tag: int, *parts: bytes) -> bytes:
    """One DER element; everything here is shorter than 64 KiB."""
    body = b"".join(parts)
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([0x81, size]) if size < 256 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + body
