"""Wiring of a node's keys: rotation of the signing and of the sealing key, and the end of a key that was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NoReturn

from keys.ceremony import revoke, rotate_sealing
from node.local.hub_session import HubSession
from node.local.pusher import Drained
from node.store.local_store import SqlLocalStore
from node.wiring.local import NodeParts, opened
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.statement import Role
from sync_protocol.values import b64u_encode

ROTATION_TIMEOUT_S: Final = 120.0  # for what is unsent to go out first


async def rotate_node_key(directory: Path, role: Role) -> dict[str, Any]:
    """`simpul keys rotate`: the new key is stored, every set signed by the old one goes out, then they change.

    A key that an earlier rotation left, and that the log has seen spent since, is given up for a fresh one.
    """
    if role is Role.SEALING:
        return await rotate_sealing_key(directory)
    async with opened(directory) as parts:
        old = parts.keys.current().kid
        drained = await _drain_into_next(parts)
        if parts.keys.current().kid == old and parts.keys.pending() is None and not drained.halted:
            drained = await _drain_into_next(parts)
        new = parts.keys.current().kid
        if new == old:
            _explain_no_rotation(drained, is_waiting=parts.keys.pending() is not None)
        return {"role": role.value, "old": old, "new": new, "index": await _newest_statement(parts.store)}


async def _drain_into_next(parts: NodeParts) -> Drained:
    """One attempt, with the key that waits, or a fresh one."""
    parts.key_directory.prepare_next(Role.AGENCY, parts.randomness.bytes(32))
    link = parts.link()
    try:
        return await parts.pusher(link).drain(ROTATION_TIMEOUT_S)
    finally:
        await link.close()


def _explain_no_rotation(drained: Drained, *, is_waiting: bool) -> NoReturn:
    """Why the old key is still the one in use. Nothing is lost."""
    if drained.halted:
        raise Refused("halted", "the pusher is halted", members={"next": "simpul node status says why and what next"})
    if not is_waiting:
        detail = "the key that waited was spent: the log has seen it before, from another copy of this directory"
        step = "Run the same command again: it makes a fresh key. See that no other copy of this node is in use."
        raise Refused("void-statement", detail, members={"next": step})
    if drained.reached:
        raise Unavailable(
            "the hub answered, but not everything went out in time, which comes first; the new key waits: run the same"
            " command again (`simpul node status` says what is left)"
        )
    raise Unavailable("the hub did not answer in time; the new key waits, run the same command again")


async def rotate_sealing_key(directory: Path) -> dict[str, Any]:
    """The key to which identities are sealed; the old one stays, to open what was sealed to it.

    A crash after the hub took the statement is found out from the roster: then the new key is only put into use.
    """
    async with opened(directory) as parts:
        held = parts.key_directory
        old, new = held.sealing_key(), held.prepare_next(Role.SEALING, parts.randomness.bytes(32))
        link = parts.link()
        try:
            session = HubSession(parts.store, link, parts.keys, parts.agency)
            roster = await session.refresh()
            record = roster.agency(parts.agency)
            if record is None:
                raise Refused("unknown-agency", "the log does not enrol this agency")
            if record.sealing != new.public_key:
                statement = rotate_sealing(
                    parts.keys.current(),
                    new.public_key,
                    log=roster.genesis_digest,
                    agency=parts.agency,
                    prev=record.last_statement,
                    at_ms=parts.clock.now_ms(),
                )
                await link.submit_statement(statement.text)
                await session.refresh()
        finally:
            await link.close()
        held.promote(Role.SEALING, new.public_key)
        index = await _newest_statement(parts.store)
        return {
            "role": Role.SEALING.value,
            "old": b64u_encode(old.public_key),
            "new": b64u_encode(new.public_key),
            "index": index,
        }


async def revoke_node_key(directory: Path, *, reason: str, disputed_from: int) -> dict[str, Any]:
    """`simpul keys revoke`: signed with the key that it ends."""
    async with opened(directory) as parts:
        signer = parts.keys.current()
        link = parts.link()
        try:
            roster = await HubSession(parts.store, link, parts.keys, parts.agency).refresh()
            record = roster.agency(parts.agency)
            if record is None or record.kid != signer.kid:
                raise Refused("revoked-key", "this key does not speak for the agency any more: nothing is left to end")
            statement = revoke(
                signer,
                log=roster.genesis_digest,
                agency=parts.agency,
                prev=record.last_statement,
                kid=signer.kid,
                at_ms=parts.clock.now_ms(),
                disputed_from=disputed_from,
                reason=reason,
            )
            entered = await link.submit_statement(statement.text)
        finally:
            await link.close()
        return {"agency": str(parts.agency), "kid": signer.kid, "index": entered.index}


async def _newest_statement(store: SqlLocalStore) -> int:
    return max((held.index for held in await store.statements()), default=0)
