"""A new hub: keys, databases, and the first three leaves of its log (protocol §5.2, §9.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from keys import ceremony
from node.hub.draft import Prepared
from node.hub.hub import Hub
from node.hub.options import HubOptions
from node.hub.statements import RulesDraft
from node.ports import Clock, Randomness
from sync_protocol.errors import Refused
from sync_protocol.note import check_key_name
from sync_protocol.statement import Role


async def init_hub(
    options: HubOptions, *, origin: str, rules: RulesDraft, clock: Clock, randomness: Randomness
) -> dict[str, str]:
    """Keys, databases, genesis, rules and first tick of a new hub; origin and vkey.

    After a crash it may be repeated with the same origin. Raises Refused(configuration) if a hub is here already.
    """
    check_key_name(origin, "origin")
    await asyncio.to_thread(options.directory.mkdir, parents=True, exist_ok=True)
    hub = await Hub.assemble(options, clock, randomness, create=True)
    try:
        await hub.log.open()
        if hub.log.size and (hub.log.roster.origin != origin or hub.log.roster.tick_before(hub.log.size) is not None):
            step = f"Serve it: simpul hub serve {options.directory}"
            raise Refused("configuration", f"there is a hub in {options.directory} already", members={"next": step})
        for role in (Role.REGISTRAR, Role.LOG):
            if not hub.keys.has(role):
                hub.keys.create(role, randomness.bytes(32))
        for prepare in _founding(hub, origin, rules):
            await hub.appender.append_statement(prepare)
        return {"origin": origin, "vkey": hub.log.roster.vkey.format()}
    finally:
        await hub.close()


def _founding(hub: Hub, origin: str, rules: RulesDraft) -> Sequence[Callable[[], Awaitable[Prepared]]]:
    """What a new log still lacks, in order."""

    async def genesis() -> Prepared:
        registrar, log = hub.signer(Role.REGISTRAR), hub.signer(Role.LOG)
        return Prepared(ceremony.found_log(origin=origin, registrar=registrar, log=log, at_ms=hub.clock.now_ms()))

    async def first_rules() -> Prepared:
        return await hub.statements.rules(rules)

    return (genesis, first_rules, hub.statements.tick)[hub.log.size :]
