"""Statements (protocol §5): keys, rules and evidence, signed, in the log among the change sets.

Here a statement is read and written; whether it holds at its place in the log is the roster's to say (roster.py).
A member of a statement is called in the payload what its field is called here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias

from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.jws import Jws, sign_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES, JWS_MAX_BYTES
from sync_protocol.manifest import SignedManifest, parse_manifest
from sync_protocol.note import VerifierKey
from sync_protocol.payload_fields import Fields
from sync_protocol.values import (
    AgencyId,
    Digest,
    b64u_decode,
    b64u_encode,
    format_timestamp,
    parse_code,
)

STATEMENT_VERSIONS: Final = (1,)
FOLD_VERSIONS: Final = (1,)
EXTENSION_PREFIX: Final = "simpul-x-"  # a fold passes over these; every other unknown typ stops it


class Role(StrEnum):
    """Which key a rotation replaces."""

    AGENCY = "agency"
    REGISTRAR = "registrar"
    LOG = "log"
    SEALING = "sealing"


@dataclass(frozen=True, slots=True)
class Genesis:
    """The first leaf, signed by the registrar key inside. `registrar` is 32 bytes; all `at` are ms since 1970."""

    TYP: ClassVar[str] = "simpul-genesis"
    at: int
    origin: str
    registrar: bytes
    log_vkey: VerifierKey


@dataclass(frozen=True, slots=True)
class Rules:
    """By what rules the log is folded from this statement's own index on."""

    TYP: ClassVar[str] = "simpul-rules"
    at: int
    log: Digest
    fold: int
    deadlines: Digest
    calendar: Digest
    desk: AgencyId
    bounce_limit: int
    silence_s: int


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An agency's Ed25519 key and X25519 sealing key (32 bytes each). Ends its earlier key."""

    TYP: ClassVar[str] = "simpul-enrolment"
    at: int
    log: Digest
    agency: AgencyId
    prev: Digest
    key: bytes
    sealing: bytes


@dataclass(frozen=True, slots=True)
class HeadRef:
    """The head of a chain: seq 0 with the digest of the enrolment where there is no set yet."""

    seq: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Rotation:
    """One key replaced by the next, signed by the old one (for `sealing`: by the agency's key).

    `key` is the new public key (32 bytes); `vkey` holds it with its name where the log's key is replaced. `agency` and
    `prev` are there for `agency` and `sealing`, `head` for `agency`, `proof` (a compact JWS) for all but `sealing`.
    """

    TYP: ClassVar[str] = "simpul-rotation"
    at: int
    log: Digest
    role: Role
    key: bytes
    vkey: VerifierKey | None = None
    proof: str | None = None
    agency: AgencyId | None = None
    prev: Digest | None = None
    head: HeadRef | None = None

    @property
    def key_text(self) -> str:
        """The new key as statement and proof spell it."""
        return b64u_encode(self.key) if self.vkey is None else self.vkey.format()


@dataclass(frozen=True, slots=True)
class Revocation:
    """A key that speaks no more. `disputed_from` is the first seq that the owner disputes, 0 for none."""

    TYP: ClassVar[str] = "simpul-revocation"
    at: int
    log: Digest
    agency: AgencyId
    prev: Digest
    kid: str
    disputed_from: int
    reason: str


@dataclass(frozen=True, slots=True)
class Fork:
    """Evidence: two manifests with equal (agency, epoch, seq) and different digests."""

    TYP: ClassVar[str] = "simpul-fork"
    at: int
    log: Digest
    agency: AgencyId
    prev: Digest
    epoch: int
    seq: int
    manifests: tuple[SignedManifest, SignedManifest]


@dataclass(frozen=True, slots=True)
class Tick:
    """The registrar's time, hourly."""

    TYP: ClassVar[str] = "simpul-tick"
    at: int
    log: Digest


@dataclass(frozen=True, slots=True)
class Extension:
    """A leaf of somebody's own typ `simpul-x-…`: no rule of ours looks into it."""

    typ: str


Signable: TypeAlias = Genesis | Rules | Enrolment | Rotation | Revocation | Fork | Tick
Statement: TypeAlias = Signable | Extension


def parse_statement(jws: Jws) -> Statement:
    """The statement that a JWS holds. Verifies no signature and nothing about its place.

    Raises Refused: malformed, too-large, and unsupported-version for a typ, version or fold that this program does not
    know, at which a fold stops.
    """
    limit = FORK_JWS_MAX_BYTES if jws.typ == Fork.TYP else JWS_MAX_BYTES
    if len(jws.text) > limit:
        raise too_large("statement", limit)
    if jws.typ.startswith(EXTENSION_PREFIX):
        return Extension(jws.typ)
    reader = _READERS.get(jws.typ)
    if reader is None:
        raise Refused("unsupported-version", f"statements of typ {jws.typ} are not known here", where="typ")
    members = Fields(jws.fields)
    members.version("v", STATEMENT_VERSIONS, "statement version")
    return reader(members)


def sign_statement(statement: Signable, signer: Signer) -> Jws:
    """The statement signed, in the canonical spelling. Raises Refused if it could not be read back."""
    payload = format_members(statement)
    _READERS[statement.TYP](Fields(payload))
    max_bytes = FORK_JWS_MAX_BYTES if isinstance(statement, Fork) else JWS_MAX_BYTES
    return sign_jws(statement.TYP, payload, signer, max_bytes=max_bytes)


def format_members(statement: Signable) -> dict[str, object]:
    """The payload's members, in JSON's types."""
    members = {field.name: _spell(getattr(statement, field.name)) for field in fields(statement)}
    if isinstance(statement, Rotation):
        members |= {"key": statement.key_text, "vkey": None}
    present = {name: value for name, value in members.items() if value is not None}
    return {**present, "v": 1, "at": format_timestamp(statement.at)}


def _spell(value: object) -> object:
    """One value's only spelling."""
    match value:
        case bytes():
            return b64u_encode(value)
        case VerifierKey():
            return value.format()
        case HeadRef():
            return {"digest": value.digest.b64u, "seq": value.seq}
        case tuple():
            return [signed.jws.text for signed in value]
        case str():
            return str(value)
        case _:
            return value


def _genesis(members: Fields) -> Genesis:
    genesis = Genesis(members.at(), members.text("origin"), members.public_key("registrar"), members.vkey("log_vkey"))
    if genesis.log_vkey.name != genesis.origin:
        raise malformed("the origin is the name of the log's key", "origin")
    if genesis.log_vkey.public_key == genesis.registrar:
        raise malformed("the log and the registrar have different keys", "registrar")
    return genesis


def _rules(members: Fields) -> Rules:
    return Rules(
        at=members.at(),
        log=members.digest("log"),
        fold=members.version("fold", FOLD_VERSIONS, "fold"),
        deadlines=members.digest("deadlines"),
        calendar=members.digest("calendar"),
        desk=members.agency("desk"),
        bounce_limit=members.integer("bounce_limit", 1),
        silence_s=members.integer("silence_s", 1),
    )


def _enrolment(members: Fields) -> Enrolment:
    return Enrolment(
        at=members.at(),
        log=members.digest("log"),
        agency=members.agency(),
        prev=members.digest("prev"),
        key=members.public_key("key"),
        sealing=members.raw_key("sealing"),
    )


def _rotation(members: Fields) -> Rotation:
    try:
        role = Role(members.text("role"))
    except ValueError:
        raise malformed("wants agency, registrar, log or sealing", "role") from None
    vkey = members.vkey("key") if role is Role.LOG else None
    key = vkey.public_key if vkey else members.raw_key("key") if role is Role.SEALING else members.public_key("key")
    about_agency = role in (Role.AGENCY, Role.SEALING)
    head = members.member("head") if role is Role.AGENCY else None
    return Rotation(
        at=members.at(),
        log=members.digest("log"),
        role=role,
        key=key,
        vkey=vkey,
        proof=None if role is Role.SEALING else members.text("proof"),
        agency=members.agency() if about_agency else None,
        prev=members.digest("prev") if about_agency else None,
        head=HeadRef(head.integer("seq"), head.digest("digest")) if head else None,
    )


def _revocation(members: Fields) -> Revocation:
    kid = members.text("kid")
    b64u_decode(kid, 32, "kid")
    return Revocation(
        at=members.at(),
        log=members.digest("log"),
        agency=members.agency(),
        prev=members.digest("prev"),
        kid=kid,
        disputed_from=members.integer("disputed_from"),
        reason=parse_code(members.text("reason"), "reason"),
    )


def _fork(members: Fields) -> Fork:
    first, second = (parse_manifest(text) for text in members.texts("manifests", 2))
    agency, epoch, seq = members.agency(), members.integer("epoch", 1), members.integer("seq", 1)
    for signed in (first, second):
        if (signed.manifest.agency, signed.manifest.epoch, signed.manifest.seq) != (agency, epoch, seq):
            raise malformed("both manifests stand at the place that the statement names", "manifests")
    if first.digest == second.digest:
        raise malformed("two different manifests are needed", "manifests")
    return Fork(members.at(), members.digest("log"), agency, members.digest("prev"), epoch, seq, (first, second))


def _tick(members: Fields) -> Tick:
    return Tick(members.at(), members.digest("log"))


_READERS: Final[Mapping[str, Callable[[Fields], Signable]]] = {
    Genesis.TYP: _genesis,
    Rules.TYP: _rules,
    Enrolment.TYP: _enrolment,
    Rotation.TYP: _rotation,
    Revocation.TYP: _revocation,
    Fork.TYP: _fork,
    Tick.TYP: _tick,
}
