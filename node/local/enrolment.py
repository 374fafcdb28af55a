"""Enrolling this node with a one-time token (protocol §7.1): nothing is kept that the invitation's vkey does not prove,
and nobody is shown the token before the log is proved by it.

May be repeated with the same token and keys for ever: the hub gives the same answer, and what was kept is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keys.ceremony import request_enrolment
from keys.key_directory import KeyDirectory
from node.local.hub_evidence import contradiction, seen_of
from node.local.log_proof import ProvenLog, prove_log
from node.local.ports import HubLink, LocalStore
from node.ports import Clock, Randomness
from node.store.local_records import NodeIdentity, Seen
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.halts import HaltReason
from sync_protocol.note import VerifierKey
from sync_protocol.statement import Role
from sync_protocol.values import AgencyId, Digest
from sync_protocol.wire import Entered

#: Halts that a fresh enrolment ends. A fork as well: what is pushed after the hub enrolled us, and before that is kept
#: here, looks like one; after a true one no copy has a key that speaks any more. Heads are compared anew in any case.
CLEARED: Final = frozenset(
    {HaltReason.KEY_REFUSED, HaltReason.NOT_ENROLLED, HaltReason.FOREIGN_HEAD, HaltReason.FORKED}
)


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

    `vkey` is any key that the log ever had. Raises Refused (bad-token …, configuration for a directory of another
    agency), Unavailable, and Contradiction: for a log that is not this key's, before the token is sent, and for an
    answer that does not prove what it says; then nothing was kept but keys.
    """
    log_key = VerifierKey.parse(vkey)
    public = await prove_log(link, log_key)
    asking = _Asking(link, keys, randomness, agency, log_key.name, token)
    try:
        entered = await asking.once()
    except Refused as refused:
        if refused.kind != "void-statement":
            raise
        # A key enters the log once, ever: this one was revoked or replaced, and the token asks for a new one.
        asking.retire_refused()
        entered = await asking.once()
    proven = await public.joined(entered.statements or [], entered.checkpoint)
    if not asking.has_its_key():
        detail = "another enrolment in this directory exchanged the key that this one was made with: repeat it"
        raise Unavailable(detail, retry_after_s=1)
    enrolment = _check_outcome(proven, entered, agency, keys.signer(Role.AGENCY), keys.sealing_key().public_key)
    await _keep(store, NodeIdentity(str(agency), log_key.name, vkey, enrolment, clock.now_ms()), proven)
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

    def has_its_key(self) -> bool:
        """Whether the key that was asked with is in use; another process, enrolling here too, may have made another."""
        return self.keys.has(Role.AGENCY) and self.keys.signer(Role.AGENCY).kid == self._kid

    def retire_refused(self) -> None:
        """The key that was asked with goes, and no other."""
        if self.has_its_key():
            self.keys.retire(Role.AGENCY)


async def _keep(store: LocalStore, identity: NodeIdentity, proven: ProvenLog) -> None:
    if await store.identity() is None:
        await store.enrol(identity, proven.statements, seen_of(proven.newest))
        return
    seen = await store.seen()
    seen = await proven.evidence.advance(seen, proven.newest) or seen
    await store.enrol(identity, proven.statements, seen)
    await _begin_anew(store, seen)


async def _begin_anew(store: LocalStore, seen: Seen) -> None:
    """An enrolment of a node that has a history; repeated after a crash, it ends the halt that asked for it."""
    await store.move_seen(seen)
    view = await store.outbox()
    if view.halt is not None and view.halt.reason in CLEARED:
        await store.clear_halt()


def _check_outcome(proven: ProvenLog, entered: Entered, agency: AgencyId, signer: Signer, sealing: bytes) -> Digest:
    """That the log says what we asked for. The enrolment's digest."""
    if entered.index not in {held.index for held in proven.statements}:
        raise contradiction("bad-proof", "the enrolment itself is not among the statements that the hub gave")
    record = proven.roster.agency(agency)
    if record is None or record.kid != signer.kid or record.sealing != sealing:
        raise contradiction("wrong-agency", f"the hub's log does not give this key to {agency}")
    return record.enrolment
