"""What the roster holds and answers (protocol §5.4); who may change it is judged in roster.py."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from sync_protocol import statement as st
from sync_protocol.checkpoint import claimed_size
from sync_protocol.ed25519 import kid_of
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.jws import Jws, verify_jws
from sync_protocol.note import VerifierKey
from sync_protocol.statement import Role, Statement
from sync_protocol.values import AgencyId, Digest


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An Ed25519 key (32 bytes) and the log positions `from_index` ≤ index < `until_index` at which it speaks.

    `until_index` is None while it does. `brought_by` is the digest of the statement that brought it. `disputed_from` is
    what a revocation said of it, None if it was never revoked. `agency` is None for the registrar's and the log's keys.
    """

    kid: str
    role: Role
    agency: AgencyId | None
    public_key: bytes
    from_index: int
    brought_by: Digest
    until_index: int | None = None
    disputed_from: int | None = None

    def speaks_at(self, index: int) -> bool:
        """Whether it speaks at this log position."""
        return self.from_index <= index and (self.until_index is None or index < self.until_index)


@dataclass(frozen=True, slots=True)
class AgencyRecord:
    """An agency as the newest statements leave it.

    `kid` is its speaking key, None after a revocation. `enrolment` is the digest of its newest enrolment: `prev` of its
    first change set. `last_statement` is the `prev` that the next statement about it must name. `enrolled_index` is
    the place of its first enrolment. `sealing` is an X25519 key of 32 bytes.
    """

    agency: AgencyId
    kid: str | None
    sealing: bytes
    enrolment: Digest
    enrolled_index: int
    last_statement: Digest


@dataclass(frozen=True, slots=True)
class LoggedStatement:
    """A statement at its place in the log."""

    index: int
    jws: Jws


@dataclass(frozen=True, slots=True)
class Admission:
    """A statement that holds at `index`, and all that it changes. Made by `examine`, used up by `apply`."""

    index: int
    jws: Jws
    statement: Statement
    keys: tuple[KeyRecord, ...] = ()
    agency: AgencyRecord | None = None


class RosterState:
    """The state after the statements admitted so far. Until the genesis is admitted every look-up finds nothing."""

    def __init__(self) -> None:
        self._next_index = 0
        self._genesis: tuple[st.Genesis, Digest] | None = None
        self._registrar = ""
        self._log_keys: tuple[VerifierKey, ...] = ()
        self._log_keys_from: list[int] = []  # smallest size that each signs, oldest first
        self._keys: dict[str, KeyRecord] = {}
        self._agencies: dict[str, AgencyRecord] = {}
        self._rules: list[st.Rules] = []
        self._rules_from: list[int] = []
        self._tick_at: list[int] = []
        self._tick_index: list[int] = []
        self._digests: set[Digest] = set()
        self._fork_pairs: set[frozenset[Digest]] = set()
        self._common: list[LoggedStatement] = []
        self._about: dict[str, list[LoggedStatement]] = {}

    @property
    def has_genesis(self) -> bool:
        """Whether the log has begun; without it there is no name and no key of the log."""
        return self._genesis is not None

    @property
    def origin(self) -> str:
        """The log's name. Raises Corrupt before the genesis, like the other properties of the log."""
        return self._genesis_or_stop()[0].origin

    @property
    def genesis_digest(self) -> Digest:
        """What every later statement names as `log`."""
        return self._genesis_or_stop()[1]

    @property
    def registrar(self) -> KeyRecord:
        """The registrar's speaking key."""
        self._genesis_or_stop()
        return self._keys[self._registrar]

    @property
    def vkey(self) -> VerifierKey:
        """The log's present key."""
        return self.vkeys[0]

    @property
    def vkeys(self) -> tuple[VerifierKey, ...]:
        """All keys that the log ever had, newest first."""
        self._genesis_or_stop()
        return self._log_keys

    def log_key_at(self, size: int) -> VerifierKey:
        """The one key that signs the log's checkpoints of this size, as far as the statements admitted tell.

        The commit that takes a rotation in is signed by the old key still: at index i, the new one begins at i + 2.
        """
        vkeys = self.vkeys
        for vkey, begins in zip(vkeys, reversed(self._log_keys_from), strict=True):
            if begins <= size:
                return vkey
        return vkeys[-1]

    def log_keys_for(self, note: bytes) -> tuple[VerifierKey]:
        """The key that may have signed this note, by the size that it claims. Raises Refused for what is none."""
        return (self.log_key_at(claimed_size(note)),)

    @property
    def agencies(self) -> Sequence[AgencyRecord]:
        """All agencies ever enrolled, in the order of their first enrolment."""
        return tuple(self._agencies.values())

    def agency(self, agency: str) -> AgencyRecord | None:
        """An agency as of now, None if it was never enrolled."""
        return self._agencies.get(agency)

    def is_enrolled(self, agency: str, index: int) -> bool:
        """Whether the agency has an enrolment before this index (§9.3, `unknown_agency`)."""
        record = self._agencies.get(agency)
        return record is not None and record.enrolled_index < index

    def key(self, kid: str) -> KeyRecord | None:
        """A key that is or was in the roster, whoever's it is."""
        return self._keys.get(kid)

    def keys_of(self, agency: str) -> tuple[KeyRecord, ...]:
        """All keys that an agency ever had, oldest first."""
        return tuple(record for record in self._keys.values() if record.agency == agency)

    def speaks(self, kid: str, agency: str, index: int) -> bool:
        """Whether the key speaks for the agency at this log position."""
        record = self._keys.get(kid)
        return record is not None and record.agency == agency and record.speaks_at(index)

    def speaks_problem(self, kid: str, agency: str, index: int) -> Refused | None:
        """Why it does not, in the order of §8 step 4: unknown-agency, unknown-key, wrong-agency, revoked-key."""
        if agency not in self._agencies:
            return Refused("unknown-agency", f"{agency} is not enrolled")
        record = self._keys.get(kid)
        if record is None or index < record.from_index:
            return Refused("unknown-key", "this key was never enrolled")
        if record.agency != agency:
            return Refused("wrong-agency", f"this key is not {agency}'s")
        if not record.speaks_at(index):
            return Refused("revoked-key", f"this key stopped speaking at log index {record.until_index}")
        return None

    def verify_change_set_key(self, jws: Jws, agency: str, index: int) -> KeyRecord:
        """That a key which speaks for the agency at `index` signed. Raises Refused as above, or bad-signature."""
        problem = self.speaks_problem(jws.kid, agency, index)
        if problem is not None:
            raise problem
        record = self._keys[jws.kid]
        verify_jws(jws, record.public_key)
        return record

    def rules_at(self, index: int) -> st.Rules | None:
        """The rules in force at a log position, None before the first."""
        place = bisect_right(self._rules_from, index)
        return self._rules[place - 1] if place else None

    def rules_index_at(self, index: int) -> int | None:
        """Where those rules stand."""
        place = bisect_right(self._rules_from, index)
        return self._rules_from[place - 1] if place else None

    def tick_before(self, index: int) -> int | None:
        """The registrar's time (ms since 1970) of the newest tick before a log position, None if there is none."""
        place = bisect_left(self._tick_index, index)
        return self._tick_at[place - 1] if place else None

    def tick_index_before(self, index: int) -> int | None:
        """Where that tick stands."""
        place = bisect_left(self._tick_index, index)
        return self._tick_index[place - 1] if place else None

    def ticks_before(self, index: int) -> Sequence[int]:
        """All ticks before a log position, in order."""
        return self._tick_at[: bisect_left(self._tick_index, index)]

    def statements_about(self, agency: str) -> tuple[LoggedStatement, ...]:
        """What concerns one agency, in log order."""
        return tuple(self._about.get(agency, ()))

    def statements_for(self, *agencies: str) -> tuple[LoggedStatement, ...]:
        """What a roster of these agencies is made from: genesis, rules, registrar and log rotations, and theirs; in
        order.
        """
        theirs = [logged for agency in agencies for logged in self._about.get(agency, ())]
        return tuple(sorted((*self._common, *theirs), key=lambda logged: logged.index))

    def apply(self, admission: Admission) -> None:
        """Take in what `examine` found to hold. Nothing may have been admitted in between: raises Corrupt."""
        index, jws, statement = admission.index, admission.jws, admission.statement
        if index < self._next_index or jws.digest in self._digests:
            raise Corrupt(f"the roster moved on before the statement at log index {index} was applied")
        self._next_index = index + 1
        self._digests.add(jws.digest)
        self._keys.update((record.kid, record) for record in admission.keys)
        logged = LoggedStatement(index, jws)
        if admission.agency is not None:
            self._agencies[admission.agency.agency] = admission.agency
            self._about.setdefault(admission.agency.agency, []).append(logged)
        match statement:
            case st.Genesis():
                self._genesis = (statement, jws.digest)
                self._registrar = kid_of(statement.registrar)
                self._log_keys = (statement.log_vkey,)
                self._log_keys_from.append(0)
                self._common.append(logged)
            case st.Rules():
                self._rules.append(statement)
                self._rules_from.append(index)
                self._common.append(logged)
            case st.Tick():
                self._tick_at.append(statement.at)
                self._tick_index.append(index)
            case st.Fork():
                self._fork_pairs.add(fork_pair(statement))
            case st.Rotation(role=Role.REGISTRAR):
                self._registrar = kid_of(statement.key)
                self._common.append(logged)
            case st.Rotation(role=Role.LOG, vkey=VerifierKey() as vkey):
                self._log_keys = (vkey, *self._log_keys)
                self._log_keys_from.append(index + 2)
                self._common.append(logged)

    def _genesis_or_stop(self) -> tuple[st.Genesis, Digest]:
        if self._genesis is None:
            raise Corrupt("the roster has no genesis yet")
        return self._genesis


def fork_pair(fork: st.Fork) -> frozenset[Digest]:
    """What makes two pieces of evidence the same, in whichever order they name the manifests."""
    return frozenset(signed.digest for signed in fork.manifests)
