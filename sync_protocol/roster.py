"""Which key speaks for whom, at which place in the log (protocol §5.4).

The roster is a replay of the log's statements, in order, and nothing else: two who read the same log hold the same
roster. It is fed statements only; change sets ask it (`speaks`), by their log index, never by a clock. Every look-up
costs a dictionary access, whatever the length of the log.

Admission has two halves, so that it is all or nothing by construction: `examine` judges and changes nothing, `apply`
cannot fail.
"""

from __future__ import annotations

from dataclasses import replace

from sync_protocol import statement as st
from sync_protocol.ed25519 import kid_of
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.jws import Jws, verify_jws
from sync_protocol.note import VerifierKey
from sync_protocol.possession import verify_rotation_proof
from sync_protocol.roster_state import Admission, AgencyRecord, KeyRecord, LoggedStatement, RosterState, fork_pair
from sync_protocol.statement import Role, Statement
from sync_protocol.values import AgencyId, Digest

__all__ = ["Admission", "AgencyRecord", "KeyRecord", "LoggedStatement", "Roster"]


class Roster(RosterState):
    """The state after the statements admitted so far."""

    def admit(self, index: int, jws: Jws) -> Statement:
        """Take in the statement at log position `index`; positions only grow.

        Raises Refused and stays as it was: malformed, too-large; unsupported-version (a fold stops); bad-signature,
        unknown-key, revoked-key, wrong-agency, unknown-agency for its signer; void-statement for its place.
        """
        admission = self.examine(index, jws)
        self.apply(admission)
        return admission.statement

    def examine(self, index: int, jws: Jws) -> Admission:
        """What `admit` would do, undone. Raises as `admit`."""
        if index < self._next_index:
            raise Corrupt(f"statement at log index {index} comes after index {self._next_index - 1}")
        statement = st.parse_statement(jws)
        if jws.digest in self._digests:
            raise _void("this statement is in the log already")
        match statement:
            case st.Extension():
                return Admission(index, jws, statement)
            case st.Genesis():
                return self._examine_genesis(index, jws, statement)
        if self._genesis is None:
            raise _void("the genesis comes first")
        match statement:
            case st.Rules() | st.Tick():
                self._verify_signer(jws, self._registrar)
                self._check_log(statement.log)
                self._check_tick(statement)
                return Admission(index, jws, statement)
            case st.Enrolment():
                return self._examine_enrolment(index, jws, statement)
            case st.Rotation():
                return self._examine_rotation(index, jws, statement)
            case st.Revocation():
                return self._examine_revocation(index, jws, statement)
            case st.Fork():
                return self._examine_fork(index, jws, statement)

    def _examine_genesis(self, index: int, jws: Jws, genesis: st.Genesis) -> Admission:
        if index != 0 or self._genesis is not None:
            raise _void("a genesis is at index 0 and only there")
        verify_jws(jws, genesis.registrar)
        registrar = self._new_key(index, jws, Role.REGISTRAR, genesis.registrar, None)
        log = self._new_key(index, jws, Role.LOG, genesis.log_vkey.public_key, None)
        return Admission(index, jws, genesis, keys=(registrar, log))

    def _examine_enrolment(self, index: int, jws: Jws, enrolment: st.Enrolment) -> Admission:
        self._verify_signer(jws, self._registrar)
        self._check_log(enrolment.log)
        self._check_prev(enrolment.agency, enrolment.prev)
        new = self._new_key(index, jws, Role.AGENCY, enrolment.key, enrolment.agency)
        before = self._agencies.get(enrolment.agency)
        ended = self._ended(before.kid, index) if before else ()
        record = AgencyRecord(
            agency=enrolment.agency,
            kid=new.kid,
            sealing=enrolment.sealing,
            enrolment=jws.digest,
            enrolled_index=before.enrolled_index if before else index,
            last_statement=jws.digest,
        )
        return Admission(index, jws, enrolment, keys=(*ended, new), agency=record)

    def _examine_rotation(self, index: int, jws: Jws, rotation: st.Rotation) -> Admission:
        record = self._agency_or_refuse(rotation.agency) if rotation.agency is not None else None
        old_kid = self._rotating_kid(rotation, record)
        self._verify_signer(jws, old_kid)
        self._check_log(rotation.log)
        if record is not None and rotation.prev is not None:
            self._check_prev(record.agency, rotation.prev)
        if rotation.role is Role.SEALING and record is not None:
            record = replace(record, sealing=rotation.key, last_statement=jws.digest)
            return Admission(index, jws, rotation, agency=record)
        verify_rotation_proof(rotation, jws.kid)
        self._check_log_vkey(rotation.vkey)
        new = self._new_key(index, jws, rotation.role, rotation.key, rotation.agency)
        if record is not None:
            record = replace(record, kid=new.kid, last_statement=jws.digest)
        return Admission(index, jws, rotation, keys=(*self._ended(jws.kid, index), new), agency=record)

    def _examine_revocation(self, index: int, jws: Jws, revocation: st.Revocation) -> Admission:
        record = self._agency_or_refuse(revocation.agency)
        self._verify_signer(jws, self._registrar, record.kid)
        self._check_log(revocation.log)
        self._check_prev(record.agency, revocation.prev)
        key = self._keys.get(revocation.kid)
        if key is None or key.agency != record.agency:
            raise _void(f"the key to be revoked is not {record.agency}'s")
        until_index = index if key.until_index is None else key.until_index
        key = replace(key, until_index=until_index, disputed_from=revocation.disputed_from)
        kid = None if record.kid == key.kid else record.kid
        record = replace(record, kid=kid, last_statement=jws.digest)
        return Admission(index, jws, revocation, keys=(key,), agency=record)

    def _examine_fork(self, index: int, jws: Jws, fork: st.Fork) -> Admission:
        record = self._agency_or_refuse(fork.agency)
        self._verify_signer(jws, self._registrar)
        self._check_log(fork.log)
        self._check_prev(record.agency, fork.prev)
        if fork_pair(fork) in self._fork_pairs:
            raise _void("this pair of manifests is in the log already")
        for signed in fork.manifests:
            key = self._keys.get(signed.jws.kid)
            if key is None or key.agency != record.agency:
                raise _void(f"one of the manifests is not by a key of {record.agency}")
            verify_jws(signed.jws, key.public_key)
        return Admission(index, jws, fork, agency=replace(record, last_statement=jws.digest))

    def _agency_or_refuse(self, agency: AgencyId) -> AgencyRecord:
        record = self._agencies.get(agency)
        if record is None:
            raise Refused("unknown-agency", f"{agency} is not enrolled")
        return record

    def _rotating_kid(self, rotation: st.Rotation, record: AgencyRecord | None) -> str | None:
        if record is not None:
            return record.kid
        return self._registrar if rotation.role is Role.REGISTRAR else kid_of(self.vkey.public_key)

    def _verify_signer(self, jws: Jws, *allowed: str | None) -> None:
        """That one of the keys which may say this now said it."""
        key = self._keys.get(jws.kid)
        if key is None:
            raise Refused("unknown-key", "this key was never in the roster")
        if jws.kid not in allowed:
            if key.until_index is not None:
                raise Refused("revoked-key", f"this key stopped speaking at log index {key.until_index}")
            raise Refused("wrong-agency", "this key may not say this")
        verify_jws(jws, key.public_key)

    def _check_log(self, log: Digest) -> None:
        if log != self.genesis_digest:
            raise _void("made for another log")

    def _check_prev(self, agency: AgencyId, prev: Digest) -> None:
        record = self._agencies.get(agency)
        expected = record.last_statement if record else self.genesis_digest
        if prev != expected:
            raise _void(f"does not follow the last statement about {agency}", {"statement": expected.b64u})

    def _check_tick(self, statement: st.Rules | st.Tick) -> None:
        if isinstance(statement, st.Tick) and self._tick_at and statement.at < self._tick_at[-1]:
            raise _void("ticks never go back")

    def _check_log_vkey(self, vkey: VerifierKey | None) -> None:
        if vkey is None:
            return
        if vkey.name != self.origin:
            raise _void("the log's key bears the origin's name")
        if any(vkey.key_id == known.key_id for known in self._log_keys):
            raise _void("a note could not tell this key from an earlier one")  # 32 bits can be made to collide

    def _new_key(self, index: int, jws: Jws, role: Role, public_key: bytes, agency: AgencyId | None) -> KeyRecord:
        kid = kid_of(public_key)
        if kid in self._keys:
            raise _void("a key enters the roster once, ever")
        return KeyRecord(kid, role, agency, public_key, index, jws.digest)

    def _ended(self, kid: str | None, index: int) -> tuple[KeyRecord, ...]:
        return () if kid is None else (replace(self._keys[kid], until_index=index),)


def _void(detail: str, members: dict[str, object] | None = None) -> Refused:
    return Refused("void-statement", detail, members=members)
