"""A directory of which nothing but the keys is left: who this node is stands in the hub's log (protocol §10.3).

Statements are public and prove themselves, so no token is needed: the key that the log gives to the agency is here.
What this node has pushed then comes back as after any other old backup.
"""

from __future__ import annotations

from typing import Final

import structlog

from keys.key_directory import KeyDirectory
from node.local.hub_evidence import seen_of
from node.local.log_proof import prove_log
from node.local.ports import HubLink, LocalStore
from node.ports import Clock, Randomness
from node.store.local_records import NodeIdentity
from sync_protocol.errors import Refused
from sync_protocol.note import VerifierKey
from sync_protocol.roster import Roster
from sync_protocol.roster_state import AgencyRecord
from sync_protocol.statement import Role
from sync_protocol.values import AgencyId

_ENROL_ANEW: Final = "Ask the national desk for a fresh token, then run `simpul node enrol` with it."

log = structlog.get_logger("simpul.node")


async def return_node(
    store: LocalStore,
    link: HubLink,
    keys: KeyDirectory,
    clock: Clock,
    randomness: Randomness,
    *,
    agency: AgencyId,
    vkey: str,
) -> int:
    """Keeps the identity that the log gives to the key in use; the place of the enrolment in the log.

    Raises Refused (unknown-agency; revoked-key for one that speaks no more), Unavailable, and Contradiction for an
    answer that does not prove itself by `vkey`; then nothing was kept.
    """
    log_key = VerifierKey.parse(vkey)
    proven = await prove_log(link, log_key)
    record = _own_record(proven.roster, agency, keys)
    if not keys.has(Role.SEALING):
        keys.create(Role.SEALING, randomness.bytes(32))
        log.warning("sealing key lost", agency=agency, next="simpul keys rotate DIR --role sealing")
    identity = NodeIdentity(str(agency), log_key.name, vkey, record.enrolment, clock.now_ms())
    await store.enrol(identity, proven.statements, seen_of(proven.newest))
    return next(held.index for held in proven.statements if held.digest == record.enrolment)


def _own_record(roster: Roster, agency: AgencyId, keys: KeyDirectory) -> AgencyRecord:
    """What the log says of us, if a key that is here speaks for the agency."""
    record = roster.agency(agency)
    if record is None:
        raise Refused("unknown-agency", f"the log does not enrol {agency}", members={"next": _ENROL_ANEW})
    pending = keys.pending(Role.AGENCY)
    for key in (keys.signer(Role.AGENCY), pending):
        public_key = None if key is None else key.public_key
        known = None if record.kid is None else roster.key(record.kid)
        if known is not None and public_key == known.public_key:
            keys.promote(Role.AGENCY, known.public_key)
            return record
    detail = f"the key that is here does not speak for {agency} any more: it was followed by another one, or ended"
    raise Refused("revoked-key", detail, members={"next": _ENROL_ANEW})
