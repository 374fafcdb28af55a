"""A new hub: keys, and the first three leaves of its log (protocol §5.2, §9.1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from keys import ceremony
from node.hub.draft import Prepared
from node.hub.hub import Hub
from node.hub.statements import RulesDraft
from sync_protocol.errors import Refused
from sync_protocol.statement import Role


async def found_hub(hub: Hub, *, origin: str, rules: RulesDraft) -> dict[str, str]:
    """Keys, genesis, rules and first tick of an opened hub whose log is empty; origin and vkey.

    After a crash it may be repeated with the same origin. Raises Refused(configuration) if a hub is here already.
    """
    if hub.log.size and (hub.log.roster.origin != origin or hub.log.roster.tick_before(hub.log.size) is not None):
        directory = hub.options.directory
        step = f"Serve it: simpul hub serve {directory}"
        raise Refused("configuration", f"there is a hub in {directory} already", members={"next": step})
    for role in (Role.REGISTRAR, Role.LOG):
        if not hub.keys.has(role):
            hub.keys.create(role, hub.randomness.bytes(32))
    for prepare in _founding(hub, origin, rules):
        await hub.appender.append_statement(prepare)
    return {"origin": origin, "vkey": hub.log.roster.vkey.format()}


def _founding(hub: Hub, origin: str, rules: RulesDraft) -> Sequence[Callable[[], Awaitable[Prepared | int]]]:
    """What a new log still lacks, in order."""

    async def genesis() -> Prepared:
        registrar, log = hub.signer(Role.REGISTRAR), hub.signer(Role.LOG)
        return Prepared(ceremony.found_log(origin=origin, registrar=registrar, log=log, at_ms=hub.clock.now_ms()))

    async def first_rules() -> Prepared | int:
        return await hub.statements.rules(rules)

    return (genesis, first_rules, hub.statements.tick)[hub.log.size :]
