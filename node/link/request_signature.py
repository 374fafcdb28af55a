"""RFC 9421 signatures of what is asked of the hub (protocol §7.1): Ed25519 by the agency's key, a minute at most.

The private key stays with the signer: the library builds the signature base, we sign it. Covered are `@method` and
`@target-uri`, and `content-digest` where there is a body (handing the body to the library is what makes it do that).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from http_message_signatures import HTTPMessageSigner
from http_message_signatures.algorithms import ED25519

from sync_protocol.ed25519 import Signer
from sync_protocol.limits import REQUEST_LIFETIME_MAX_S
from sync_protocol.wire import SIGNATURE_TAG

COVERED: Final = ("@method", "@target-uri")
LABEL: Final = "simpul"


@dataclass(slots=True)
class _Message:
    """What the library asks of a request."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)


def sign_request(
    signer: Signer, method: str, url: str, *, now_ms: int, body: bytes | None = None, nonce: str | None = None
) -> dict[str, str]:
    """Headers to send with the request. `nonce` belongs to requests that change something."""
    message = _Message(method, url)
    created = datetime.fromtimestamp(now_ms // 1000, UTC)
    library = HTTPMessageSigner(signature_algorithm=ED25519)
    prepared = library.prepare(
        message,
        key_id=signer.kid,
        created=created,
        expires=created + timedelta(seconds=REQUEST_LIFETIME_MAX_S),
        nonce=nonce,
        label=LABEL,
        tag=SIGNATURE_TAG,
        covered_component_ids=COVERED,
        body=body,
    )
    library.apply(message, prepared, signer.sign(prepared.signature_base))
    return message.headers
