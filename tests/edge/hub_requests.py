"""Requests to a hub as agencies sign them and auditors authorise them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from http_message_signatures import HTTPMessageSigner
from http_message_signatures.algorithms import ED25519

from keys.signer import Ed25519Signer
from tests.edge.hub_lab import Answer, Lab


class _Request:
    def __init__(self, method: str, url: str, headers: dict[str, str]) -> None:
        self.method, self.url, self.headers = method, url, headers


def signed(
    lab: Lab,
    signer: Ed25519Signer,
    path: str,
    *,
    method: str = "GET",
    url: str | None = None,
    tag: str | None = "simpul-1",
    lifetime_s: int = 60,
    age_s: int = 0,
    covered: tuple[str, ...] = ("@method", "@target-uri"),
    nonce: str | None = None,
    body: bytes | None = None,
) -> dict[str, str]:
    """Headers of a signed request."""
    request = _Request(method, url or lab.url + path, {})
    created = datetime.fromtimestamp(lab.clock.at_ms // 1000 - age_s, UTC)
    library = HTTPMessageSigner(signature_algorithm=ED25519)
    prepared = library.prepare(
        request,
        key_id=signer.kid,
        created=created,
        expires=created + timedelta(seconds=lifetime_s),
        tag=tag,
        nonce=nonce,
        covered_component_ids=covered,
        include_alg=False,
        body=body,
    )
    library.apply(request, prepared, signer.sign(prepared.signature_base))
    return request.headers


async def read(lab: Lab, signer: Ed25519Signer, path: str, **options: Any) -> Answer:
    return await lab.call("GET", path, headers=signed(lab, signer, path, **options))


async def auditor(lab: Lab, name: str = "bpk", *, with_content: bool = False) -> dict[str, str]:
    return {"Authorization": f"Bearer {await lab.hub.grant(name, with_content=with_content)}"}
