"""Enrolling this node with a one-time token (protocol §7.1): nothing is kept that the invitation's vkey does not prove.

May be repeated with the same token and keys for ever: the hub gives the same answer, and what was kept is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from keys.ceremony import request_enrolment
from node.local.hub_evidence import Contradiction, Evidence, contradiction, held_statement, roster_of, seen_of
from node.local.ports import HubLink, LocalStore
from node.ports import Clock
from node.store.local_records import HeldStatement, NodeIdentity
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused
from sync_protocol.note import VerifierKey
from sync_protocol.roster import Roster
from sync_protocol.values import AgencyId, Digest
from sync_protocol.wire import Entered, StatementLine


@dataclass(frozen=True, slots=True)
class Enrolled:
    """`index` is the enrolment's place in the log."""

    agency: AgencyId
    origin: str
    index: int


async def enrol_node(
    store: LocalStore,
    link: HubLink,
    signer: Signer,
    sealing_public_key: bytes,
    clock: Clock,
    *,
    agency: AgencyId,
    vkey: str,
    token: str,
) -> Enrolled:
    """Raises Refused (bad-token …, configuration for a directory of another agency), Unavailable, Contradiction."""
    key = VerifierKey.parse(vkey)
    request = request_enrolment(
        origin=key.name, agency=agency, token=token, signer=signer, sealing_public_key=sealing_public_key
    )
    entered = await link.enrol(request)
    statements, roster = _prove(entered, Evidence(link, Roster(), [key], key.name))
    enrolment = _check_outcome(roster, agency, signer, sealing_public_key, key)
    opened = Evidence(link, roster, [key], key.name).open(entered.checkpoint)
    seen = seen_of(opened)
    if await store.identity() is not None:
        before = await store.seen()
        seen = await Evidence(link, roster, roster.vkeys, key.name).advance(before, opened) or before
    await store.enrol(NodeIdentity(str(agency), key.name, vkey, enrolment, clock.now_ms()), statements, seen)
    return Enrolled(agency, key.name, entered.index)


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
    if line.receipt is None:
        raise contradiction("bad-proof", f"the statement at log index {line.index} came without its receipt")
    index, _ = evidence.receipt(line.receipt.encode("utf-8"), line.statement.encode("utf-8"))
    if index != line.index:
        raise contradiction("bad-proof", f"the receipt of statement {line.index} is for log index {index}")
    try:
        return held_statement(line)
    except Refused as refused:
        raise Contradiction(refused) from None


def _check_outcome(roster: Roster, agency: AgencyId, signer: Signer, sealing: bytes, key: VerifierKey) -> Digest:
    """That the log says what we asked for, by the key that the invitation named. The enrolment's digest."""
    record = roster.agency(agency)
    if record is None or record.kid != signer.kid or record.sealing != sealing:
        raise contradiction("wrong-agency", f"the hub's log does not give this key to {agency}")
    if key not in roster.vkeys:
        raise contradiction("bad-signature", "the log's genesis knows nothing of the key in the invitation")
    return record.enrolment
