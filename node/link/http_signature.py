"""RFC 9421 signatures of requests (protocol §7.1). The key never leaves its Signer: the library prepares, we sign."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from http_message_signatures import HTTPMessageSigner
from http_message_signatures.algorithms import ED25519

from sync_protocol.ed25519 import Signer
from sync_protocol.limits import REQUEST_LIFETIME_MAX_S
from sync_protocol.values import b64u_encode
from sync_protocol.wire import SIGNATURE_TAG

SIGNATURE_LABEL: Final = "simpul"
NONCE_BYTES: Final = 16
_COVERED: Final = ("@method", "@target-uri")


@dataclass(slots=True)
class RequestToSign:
    """What the signature covers; `headers` gains `Signature`, `Signature-Input` and, with a body, `Content-Digest`."""

    method: str
    url: str
    headers: MutableMapping[str, str] = field(default_factory=dict)


def sign_request(
    request: RequestToSign, signer: Signer, *, now_ms: int, nonce: bytes | None = None, body: bytes | None = None
) -> None:
    """Sign in place: valid for a minute from `now_ms`. `nonce` (16 bytes) for what changes something."""
    library = HTTPMessageSigner(signature_algorithm=ED25519)
    created = datetime.fromtimestamp(now_ms // 1000, UTC)
    prepared = library.prepare(
        request,
        key_id=signer.kid,
        created=created,
        expires=created + timedelta(seconds=REQUEST_LIFETIME_MAX_S),
        nonce=None if nonce is None else b64u_encode(nonce),
        label=SIGNATURE_LABEL,
        tag=SIGNATURE_TAG,
        include_alg=False,
        covered_component_ids=_COVERED,
        body=body,
    )
    library.apply(request, prepared, signer.sign(prepared.signature_base))
