"""What the tests of statements, roster, judge and ledger share: a small federation with fixed keys and a fixed time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest

from sync_protocol.checkpoint import Checkpoint
from sync_protocol.errors import Refused
from sync_protocol.jws import Jws, sign_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.manifest import Manifest, SignedManifest, sign_manifest
from sync_protocol.merkle import EMPTY_ROOT
from sync_protocol.possession import sign_rotation_proof
from sync_protocol.roster import Roster
from sync_protocol.statement import (
    Enrolment,
    Fork,
    Genesis,
    HeadRef,
    Revocation,
    Role,
    Rotation,
    Rules,
    Signable,
    Statement,
    Tick,
    format_members,
    sign_statement,
)
from sync_protocol.values import AgencyId, Digest, sha256_digest
from tests.protocol.log_samples import LOG, ORIGIN, FixedSigner

START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00.000Z
HOUR_MS = 3_600_000
REGISTRAR = FixedSigner("registrar")
PEKALONGAN = AgencyId.parse("33.75")
KEDIRI = AgencyId.parse("35.71")
DESK = AgencyId.parse("kementerian-panrb")
SEALING = sha256(b"an X25519 public key").digest()
GENESIS = sign_statement(Genesis(START_MS, ORIGIN, REGISTRAR.public_key, LOG.vkey()), REGISTRAR)


def log_root(size: int) -> Digest:
    """The made-up root of the federation's log: different for every size."""
    return Digest(EMPTY_ROOT) if size == 0 else sha256_digest(b"root of size %d" % size)


@dataclass
class Federation:
    """A roster that grows statement by statement, and the statements that would come next."""

    roster: Roster = field(default_factory=Roster)
    log: list[tuple[int, Jws]] = field(default_factory=list)
    size: int = 0

    @classmethod
    def founded(cls, *agencies: AgencyId) -> Federation:
        """Genesis, rules and an enrolment each, with the key named as the agency."""
        federation = cls()
        federation.enter(GENESIS)
        federation.enter(federation.rules())
        for agency in agencies:
            federation.enter(federation.enrolment(agency))
        return federation

    def enter(self, jws: Jws, index: int | None = None) -> Statement:
        """Admit at the next log index, or at a given one."""
        index = self.size if index is None else index
        statement = self.roster.admit(index, jws)
        self.log.append((index, jws))
        self.size = index + 1
        return statement

    def prev(self, agency: AgencyId) -> Digest:
        """What the next statement about the agency names."""
        record = self.roster.agency(agency)
        return record.last_statement if record else GENESIS.digest

    def rules(self, desk: AgencyId = DESK, signer: FixedSigner = REGISTRAR) -> Jws:
        tables = sha256_digest(b"a table")
        return sign_statement(Rules(START_MS, GENESIS.digest, 1, tables, tables, desk, 3, 7 * 86_400), signer)

    def tick(self, at: int = START_MS, signer: FixedSigner = REGISTRAR) -> Jws:
        return sign_statement(Tick(at, GENESIS.digest), signer)

    def enrolment(
        self, agency: AgencyId, key: FixedSigner | None = None, prev: Digest | None = None, at: int = START_MS
    ) -> Jws:
        key, prev = key or FixedSigner(agency), prev or self.prev(agency)
        return sign_statement(Enrolment(at, GENESIS.digest, agency, prev, key.public_key, SEALING), REGISTRAR)

    def rotation(
        self, agency: AgencyId, new: FixedSigner, old: FixedSigner | None = None, prev: Digest | None = None
    ) -> Jws:
        old, prev = old or FixedSigner(agency), prev or self.prev(agency)
        proof = sign_rotation_proof(new, log=GENESIS.digest, old_kid=old.kid, role=Role.AGENCY, prev=prev)
        head = HeadRef(0, prev)
        rotation = Rotation(START_MS, GENESIS.digest, Role.AGENCY, new.public_key, None, proof, agency, prev, head)
        return sign_statement(rotation, old)

    def registrar_rotation(self, new: FixedSigner, old: FixedSigner = REGISTRAR) -> Jws:
        proof = sign_rotation_proof(new, log=GENESIS.digest, old_kid=old.kid, role=Role.REGISTRAR)
        return sign_statement(Rotation(START_MS, GENESIS.digest, Role.REGISTRAR, new.public_key, None, proof), old)

    def log_rotation(self, new: FixedSigner, old: FixedSigner = LOG, origin: str = ORIGIN) -> Jws:
        vkey = new.vkey(origin)
        proof = sign_rotation_proof(new, log=GENESIS.digest, old_kid=old.kid, role=Role.LOG, key_text=vkey.format())
        return sign_statement(Rotation(START_MS, GENESIS.digest, Role.LOG, new.public_key, vkey, proof), old)

    def sealing_rotation(self, agency: AgencyId, sealing: bytes, signer: FixedSigner | None = None) -> Jws:
        rotation = Rotation(START_MS, GENESIS.digest, Role.SEALING, sealing, agency=agency, prev=self.prev(agency))
        return sign_statement(rotation, signer or FixedSigner(agency))

    def revocation(
        self, agency: AgencyId, kid: str | None = None, signer: FixedSigner = REGISTRAR, disputed_from: int = 0
    ) -> Jws:
        kid = kid or FixedSigner(agency).kid
        revocation = Revocation(START_MS, GENESIS.digest, agency, self.prev(agency), kid, disputed_from, "key.lost")
        return sign_statement(revocation, signer)

    def fork(self, agency: AgencyId, *manifests: SignedManifest, signer: FixedSigner = REGISTRAR) -> Jws:
        first, second = manifests
        place = first.manifest
        evidence = Fork(START_MS, GENESIS.digest, agency, self.prev(agency), place.epoch, place.seq, (first, second))
        return sign_statement(evidence, signer)

    def manifest(
        self,
        agency: AgencyId,
        seq: int = 1,
        prev: Digest | None = None,
        *,
        epoch: int = 1,
        signer: FixedSigner | None = None,
        at: int = START_MS,
        seen_size: int | None = None,
        seen_root: Digest | None = None,
        seen_signer: FixedSigner = LOG,
    ) -> SignedManifest:
        """A heartbeat; `prev` is the enrolment's digest if not given, `seen` the whole log."""
        record = self.roster.agency(agency)
        anchor = record.enrolment if record else GENESIS.digest
        size = self.size if seen_size is None else seen_size
        root = seen_root or log_root(size)
        sig = seen_signer.sign(Checkpoint(ORIGIN, size, root).text())
        manifest = Manifest(
            agency=agency, epoch=epoch, seq=seq, prev=prev or anchor, root=Digest(EMPTY_ROOT), changes=0, size=0, at=at,
            seen_size=size, seen_root=root, seen_sig=sig,
        )  # fmt: skip
        return sign_manifest(manifest, signer or FixedSigner(agency))


def resigned(statement: Signable, signer: FixedSigner, changes: Mapping[str, Any], typ: str | None = None) -> Jws:
    """The statement with some members replaced (None: taken out), signed whatever it says now."""
    members = {**format_members(statement), **changes}
    present = {name: value for name, value in members.items() if value is not None}
    return sign_jws(typ or statement.TYP, present, signer, max_bytes=FORK_JWS_MAX_BYTES)


def contents(roster: Roster) -> object:
    """Everything that the roster holds, to be compared."""
    return copy.deepcopy(vars(roster))


def refused(federation: Federation, jws: Jws, kind: str, index: int | None = None) -> Refused:
    """Refused for this reason, and the roster as before."""
    before = contents(federation.roster)
    with pytest.raises(Refused) as caught:
        federation.enter(jws, index)
    assert caught.value.kind == kind, str(caught.value)
    assert contents(federation.roster) == before
    return caught.value
