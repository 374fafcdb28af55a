"""The manifest: what an agency signs for one change set, and its place in the agency's chain (protocol §4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.jws import Jws, parse_jws, sign_jws
from sync_protocol.limits import JWS_MAX_BYTES, SET_MAX_LEAVES
from sync_protocol.merkle import EMPTY_ROOT
from sync_protocol.values import (
    AgencyId,
    Digest,
    b64u_decode,
    b64u_encode,
    format_timestamp,
    parse_integer,
    parse_timestamp,
)

CHANGE_SET_TYP: Final = "simpul-change-set"
VERSIONS: Final = (1,)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The members of §4.2. `at` is in milliseconds since 1970; `seen_sig` the 64 bytes of the hub's own note signature.

    Cannot be made with counts that contradict each other: raises Refused (malformed, too-large).
    """

    agency: AgencyId
    epoch: int
    seq: int
    prev: Digest
    root: Digest
    changes: int
    size: int
    at: int
    seen_size: int
    seen_root: Digest
    seen_sig: bytes

    def __post_init__(self) -> None:
        if self.size > SET_MAX_LEAVES:
            raise too_large("size", SET_MAX_LEAVES, "leaves")
        if not 0 <= self.changes <= self.size <= 2 * self.changes:
            raise malformed("wants changes <= size <= 2 * changes", "size")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise malformed("a heartbeat has the root of the empty tree", "root")
        if len(self.seen_sig) != 64:
            raise malformed("an Ed25519 signature has 64 bytes", "seen")

    @property
    def is_heartbeat(self) -> bool:
        """Whether it brings no changes and only says that the agency is alive."""
        return self.size == 0


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """A manifest as it was signed. The signature is not checked by parsing: `verify_jws(signed.jws, public_key)`."""

    jws: Jws
    manifest: Manifest

    @property
    def digest(self) -> Digest:
        """What the next set names as `prev`, and what tells one set from another."""
        return self.jws.digest


def parse_manifest(text: bytes | str | Jws) -> SignedManifest:
    """From a compact JWS; unknown members are kept in its text.

    Raises Refused (malformed, too-large, unsupported-version).
    """
    jws = text if isinstance(text, Jws) else parse_jws(text)
    if len(jws.text) > JWS_MAX_BYTES:  # read out of the log, where a fork statement alone may be longer
        raise too_large("manifest", JWS_MAX_BYTES)
    if jws.typ != CHANGE_SET_TYP:
        raise malformed(f"wants typ {CHANGE_SET_TYP}", "typ")
    fields = dict(jws.fields)
    if type(fields.get("v")) is not int:
        raise malformed("wants an integer", "v")
    if fields["v"] not in VERSIONS:
        raise Refused("unsupported-version", "this version is not spoken here", members={"versions": list(VERSIONS)})
    seen = fields.get("seen")
    if not isinstance(seen, dict):
        raise malformed("wants an object", "seen")
    return SignedManifest(jws, _manifest(fields, seen))


def sign_manifest(manifest: Manifest, signer: Signer) -> SignedManifest:
    """The manifest signed, in the canonical spelling. Raises Refused if it could not be read back."""
    fields = {
        "v": 1,
        "agency": str(manifest.agency),
        "epoch": manifest.epoch,
        "seq": manifest.seq,
        "prev": manifest.prev.b64u,
        "root": manifest.root.b64u,
        "changes": manifest.changes,
        "size": manifest.size,
        "at": format_timestamp(manifest.at),
        "seen": {
            "root": manifest.seen_root.b64u,
            "sig": b64u_encode(manifest.seen_sig),
            "size": manifest.seen_size,
        },
    }
    return parse_manifest(sign_jws(CHANGE_SET_TYP, fields, signer))


def _manifest(fields: dict[str, Any], seen: dict[str, Any]) -> Manifest:
    return Manifest(
        agency=AgencyId.parse(_text(fields, "agency")),
        epoch=parse_integer(fields.get("epoch"), "epoch", least=1),
        seq=parse_integer(fields.get("seq"), "seq", least=1),
        prev=Digest.parse(_text(fields, "prev"), "prev"),
        root=Digest.parse(_text(fields, "root"), "root"),
        changes=parse_integer(fields.get("changes"), "changes"),
        size=parse_integer(fields.get("size"), "size"),
        at=parse_timestamp(_text(fields, "at")),
        seen_size=parse_integer(seen.get("size"), "seen"),
        seen_root=Digest.parse(_text(seen, "root", "seen"), "seen"),
        seen_sig=b64u_decode(_text(seen, "sig", "seen"), 64, "seen"),
    )


def _text(fields: dict[str, Any], name: str, where: str | None = None) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise malformed("wants text", where or name)
    return value
