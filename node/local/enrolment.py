"""Enrolling this node with a one-time token (protocol §7.1): nothing is kept that the invitation's vkey does not prove.

May be repeated with the same token and keys for ever: the hub gives the same answer, and what was kept is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keys.ceremony import request_enrolment
from keys.key_directory import KeyDirectory
from node.local.hub_evidence import Contradiction, Evidence, contradiction, held_statement, roster_of, seen_of
from node.local.ports import HubLink, LocalStore
from node.ports import Clock, Randomness
from node.store.local_records import HeldStatement, NodeIdentity, Seen
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused
from sync_protocol.halts import HaltReason
from sync_protocol.note import VerifierKey
from sync_protocol.roster import Roster
from sync_protocol.statement import Role
from sync_protocol.values import AgencyId, Digest
from sync_protocol.wire import Entered, StatementLine

#: Halts that a fresh enrolment ends.
CLEARED: Final = frozenset({HaltReason.KEY_REFUSED, HaltReason.NOT_ENROLLED, HaltReason.FOREIGN_HEAD})


async def enrol_node(
    store: LocalStore,
    link: HubLink,
    keys: KeyDirectory,
    clock: Clock,
    randomness: Randomness,
    *,
    agency: AgencyId,
    vkey: str,
    token: str,
) -> int:
    """The enrolment's place in the log. Keys are made if there are none, and made anew if theirs were used up.

    Raises Refused (bad-token …, configuration for a directory of another agency), Unavailable, and Contradiction for an
    answer that does not prove what it says; then nothing was kept but keys.
    """
    log_key = VerifierKey.parse(vkey)
    asking = _Asking(link, keys, randomness, agency, log_key.name, token)
    try:
        entered = await asking.once()
    except Refused as refused:
        if refused.kind != "void-statement":
            raise
        # A key enters the log once, ever: this one was revoked or replaced, and the token asks for a new one.
        asking.retire_refused()
        entered = await asking.once()
    evidence = Evidence.by_key(link, log_key)
    statements, roster = _prove(entered, evidence)
    signer = keys.signer(Role.AGENCY)
    enrolment = _check_outcome(roster, agency, signer, keys.sealing_key().public_key, log_key)
    evidence = Evidence.by(link, roster)  # an old key that the statements ended says nothing of this size
    opened = evidence.open(entered.checkpoint)
    identity = NodeIdentity(str(agency), log_key.name, vkey, enrolment, clock.now_ms())
    before = await store.identity()
    if before is None:
        await store.enrol(identity, statements, seen_of(opened))
    else:
        seen = await store.seen()
        newer = await evidence.advance(seen, opened)
        await store.enrol(identity, statements, newer or seen)
        await _begin_anew(store, newer or seen)
    return entered.index


@dataclass(slots=True)
class _Asking:
    """One enrolment request, with whatever keys are in use when it is made."""

    link: HubLink
    keys: KeyDirectory
    randomness: Randomness
    agency: AgencyId
    origin: str
    token: str
    _kid: str = ""

    async def once(self) -> Entered:
        for role in (Role.AGENCY, Role.SEALING):
            if not self.keys.has(role):
                self.keys.create(role, self.randomness.bytes(32))
        signer = self.keys.signer(Role.AGENCY)
        self._kid = signer.kid
        request = request_enrolment(
            origin=self.origin,
            agency=self.agency,
            token=self.token,
            signer=signer,
            sealing_public_key=self.keys.sealing_key().public_key,
        )
        return await self.link.enrol(request)

    def retire_refused(self) -> None:
        """The key that was asked with goes; not one that another process, enrolling here too, made meanwhile."""
        if self.keys.has(Role.AGENCY) and self.keys.signer(Role.AGENCY).kid == self._kid:
            self.keys.retire(Role.AGENCY)


async def _begin_anew(store: LocalStore, seen: Seen) -> None:
    """An enrolment of a node that has a history; repeated after a crash, it ends the halt that asked for it."""
    await store.move_seen(seen)
    view = await store.outbox()
    if view.halt is not None and view.halt.reason in CLEARED:
        await store.clear_halt()


def _prove(entered: Entered, evidence: Evidence) -> tuple[list[HeldStatement], Roster]:
    """The statements, each proved to stand in the log at its place, and the roster that they make."""
    lines = sorted(entered.statements or [], key=lambda line: line.index)
    held = [_prove_one(line, evidence) for line in lines]
    if entered.index not in {statement.index for statement in held}:
        raise contradiction("bad-proof", "the enrolment itself is not among the statements that the hub gave")
    try:
        return held, roster_of(held)
    except Refused as refused:
        raise Contradiction(refused) from None


def _prove_one(line: StatementLine, evidence: Evidence) -> HeldStatement:
    try:
        held = held_statement(line)
    except Refused as refused:
        raise Contradiction(refused) from None
    evidence.statement(held)
    return held


def _check_outcome(roster: Roster, agency: AgencyId, signer: Signer, sealing: bytes, key: VerifierKey) -> Digest:
    """That the log says what we asked for, by the key that the invitation named. The enrolment's digest."""
    record = roster.agency(agency)
    if record is None or record.kid != signer.kid or record.sealing != sealing:
        raise contradiction("wrong-agency", f"the hub's log does not give this key to {agency}")
    if key not in roster.vkeys:
        raise contradiction("bad-signature", "the log's genesis knows nothing of the key in the invitation")
    return record.enrolment
