"""Rotating the agency's key (protocol §5.2, §10.5): drained first, then old key and new key both say so.

The new key was made and stored before (keys/key_directory.py). A crash after the hub took the statement finds out from
the hub's statements that the new key speaks already, and puts it into use. One that spoke and does so no more is given
up: a rotation is then asked for anew.
"""

from __future__ import annotations

import structlog

from keys.ceremony import rotate_agency
from node.local.hub_evidence import Contradiction, held_statement
from node.local.hub_session import HubSession
from node.local.ports import LocalStore, SigningKeys
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.roster_state import AgencyRecord
from sync_protocol.statement import HeadRef
from sync_protocol.values import AgencyId
from sync_protocol.wire import StatementLine

log = structlog.get_logger("simpul.pusher")


async def rotate_key(store: LocalStore, hub: HubSession, keys: SigningKeys, agency: AgencyId, now_ms: int) -> None:
    """One attempt. Raises Refused and Unavailable from the link, Contradiction, and what the keys raise."""
    new = keys.pending()
    if new is None:
        return
    roster = await hub.refresh()
    record = _record(roster.agency(agency), agency)
    if record.kid != new.kid:
        if roster.key(new.kid) is not None:
            # A key enters the log once, ever: a copy of this directory used it, and it was followed or ended since. To
            # ask again with it would be refused for ever, and nothing would be pushed.
            log.warning("rotation.given_up", agency=agency, kid=new.kid)
            keys.discard_pending()
            return
        old = keys.current()
        if record.kid != old.kid:
            raise Refused("revoked-key", "the key in use does not speak for this agency any more")
        end = await store.chain_end()
        head = HeadRef(end.seq, end.digest)
        rotation = rotate_agency(
            old, new, log=roster.genesis_digest, agency=agency, prev=record.last_statement, head=head, at_ms=now_ms
        )
        await _enter(store, hub, rotation.text)
        record = _record((await hub.evidence()).roster.agency(agency), agency)
        if record.kid != new.kid:
            raise Contradiction(Refused("bad-proof", "the hub confirmed a rotation that does not hold"))
    keys.promote(new.public_key)


async def _enter(store: LocalStore, hub: HubSession, statement: str) -> None:
    """Posts a statement and keeps it with its receipt, once that is verified."""
    entered = await hub.link.submit_statement(statement)
    seen = await store.seen()
    newer = await hub.entered(entered, statement.encode("ascii"), seen)
    line = StatementLine(index=entered.index, statement=statement, receipt=entered.receipt)
    await store.add_statements([held_statement(line)])
    if newer is not None:
        await store.move_seen(newer)
    hub.forget()


def _record(record: AgencyRecord | None, agency: AgencyId) -> AgencyRecord:
    if record is None:
        raise Corrupt(f"the stored statements do not enrol {agency}")
    return record
