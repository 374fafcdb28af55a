"""Signed statements: RFC 7515 compact JWS, in the one form that protocol §4.1 allows.

The header names a key and a type, nothing else; it chooses neither algorithm nor key. Identity is the digest of the
signing input, never of the whole text: a lenient reader takes sixteen spellings of one signature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

from sync_protocol import ed25519
from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.limits import JWS_MAX_BYTES
from sync_protocol.strict_json import format_object, parse_object
from sync_protocol.values import Digest, b64u_decode, b64u_encode

ALGORITHM_WRITTEN: Final = "EdDSA"
ALGORITHMS_READ: Final = ("EdDSA", "Ed25519")  # RFC 9864 renames what RFC 8037 registered; the key is the same

_HEADER_MEMBERS: Final = {"alg", "kid", "typ"}
_TYP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+/-]{0,63}")
_NO_SIGNATURE: Final = "A" * 86  # of the length of one, so that a text can be judged before it is signed


@dataclass(frozen=True, slots=True)
class Jws:
    """A compact JWS of the allowed form. Parsed is not verified: see `verify_jws`.

    `text` is what was received, character for character; `fields` are the members of the payload; `digest` is the
    SHA-256 of the signing input.
    """

    text: str
    typ: str
    kid: str
    payload: bytes
    signing_input: bytes
    signature: bytes
    digest: Digest
    fields: Mapping[str, Any] = field(repr=False, compare=False)


def parse_jws(text: bytes | str, *, max_bytes: int = JWS_MAX_BYTES) -> Jws:
    """Raises Refused: malformed for every other form, too-large over `max_bytes`. Verifies no signature."""
    if len(text) > max_bytes:
        raise too_large("jws", max_bytes)
    header_text, payload_text, signature_text = _split(text)
    header = parse_object(b64u_decode(header_text, where="jws header"), where="jws header")
    kid, typ = _check_header(header)
    payload = b64u_decode(payload_text, where="jws payload")
    signing_input = f"{header_text}.{payload_text}".encode("ascii")
    return Jws(
        text=f"{header_text}.{payload_text}.{signature_text}",
        typ=typ,
        kid=kid,
        payload=payload,
        signing_input=signing_input,
        signature=b64u_decode(signature_text, 64, "jws signature"),
        digest=Digest(sha256(signing_input).digest()),
        fields=parse_object(payload, where="jws payload"),
    )


def sign_jws(
    typ: str, payload: Mapping[str, Any] | bytes, signer: ed25519.Signer, *, max_bytes: int = JWS_MAX_BYTES
) -> Jws:
    """A JWS by `signer`; a mapping is spelled canonically, bytes (a JSON object) are taken as they are.

    Raises Refused before anything is signed if the result would not be accepted by `parse_jws`.
    """
    body = payload if isinstance(payload, bytes) else format_object(dict(payload))
    header = format_object({"alg": ALGORITHM_WRITTEN, "kid": signer.kid, "typ": typ})
    unsigned = f"{b64u_encode(header)}.{b64u_encode(body)}"
    readable = parse_jws(f"{unsigned}.{_NO_SIGNATURE}", max_bytes=max_bytes)
    signature = signer.sign(readable.signing_input)
    if len(signature) != ed25519.SIGNATURE_BYTES:
        raise malformed("the signer gave no Ed25519 signature", "jws signature")
    return replace(readable, text=f"{unsigned}.{b64u_encode(signature)}", signature=signature)


def verify_jws(jws: Jws, public_key: bytes) -> None:
    """That this key (32 bytes; the roster holds it for `jws.kid`) signed it. Raises Refused(bad-signature)."""
    if ed25519.kid_of(public_key) != jws.kid:
        raise Refused("bad-signature", "the header names another key", where="jws header")
    ed25519.verify(public_key, jws.signature, jws.signing_input)


def _split(text: bytes | str) -> tuple[str, str, str]:
    """The three parts, characters checked by their decoders."""
    try:
        ascii_text = text.decode("ascii") if isinstance(text, bytes) else text
    except UnicodeDecodeError:
        raise malformed("not ASCII", "jws") from None
    parts = ascii_text.split(".")
    if len(parts) != 3:
        raise malformed("not three parts joined by dots", "jws")
    return parts[0], parts[1], parts[2]


def _check_header(header: Mapping[str, Any]) -> tuple[str, str]:
    """kid and typ of a header that holds nothing else but a known `alg`."""
    if header.keys() != _HEADER_MEMBERS:
        raise malformed("wants exactly alg, kid and typ", "jws header")
    if header["alg"] not in ALGORITHMS_READ:
        raise malformed("wants alg EdDSA", "jws header")
    kid, typ = header["kid"], header["typ"]
    if not isinstance(kid, str) or not isinstance(typ, str) or not _TYP.fullmatch(typ):
        raise malformed("wants kid and typ as text", "jws header")
    b64u_decode(kid, 32, "jws header")
    return kid, typ
