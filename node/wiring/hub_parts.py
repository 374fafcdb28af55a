"""A hub made of its databases, key files, lock store and the system's clock: what a command of `simpul` works on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from keys.key_directory import KeyDirectory
from node.deadlines.tables import deadlines_of_tables
from node.hub.founding import found_hub
from node.hub.hub import Hub
from node.hub.options import HubOptions
from node.hub.ports import HubPorts
from node.hub.statements import RulesDraft
from node.ports import Clock, Randomness
from node.wiring.hub_databases import hub_exists, open_announcements, open_locks, open_log, open_projection
from sync_protocol.errors import Refused
from sync_protocol.note import check_key_name


async def hub_ports(options: HubOptions, *, clock: Clock, randomness: Randomness, create: bool) -> HubPorts:
    """Everything opened, nothing read yet. `create` makes a log database where there is none."""
    async with AsyncExitStack() as opened:  # what was opened before something fails is closed again
        store = await open_log(options, create=create)
        opened.push_async_callback(store.close)
        projection = await open_projection(options)
        opened.push_async_callback(projection.close)
        locks = await open_locks(options)
        opened.callback(locks.close)
        ports = HubPorts(
            store=store,
            projection=projection,
            lock=locks.lock,
            leading=locks.leading,
            projecting=locks.projecting,
            announcements=open_announcements(options, clock),
            keys=KeyDirectory(options.directory / "keys", options.passphrase),
            deadlines=await asyncio.to_thread(deadlines_of_tables),
            clock=clock,
            randomness=randomness,
        )
        opened.pop_all()
        return ports


async def open_hub(options: HubOptions, *, clock: Clock, randomness: Randomness) -> Hub:
    """An existing hub. Raises Refused(configuration) if there is none, Corrupt if its state contradicts itself."""
    if not await hub_exists(options):
        step = f"Make one: simpul hub init {options.directory} --origin NAME"
        if await asyncio.to_thread((options.lock_folder / "checkpoint").is_file):
            step = f"Its database is gone, what it signed is not: simpul hub recover {options.directory}"
        raise Refused("configuration", f"there is no hub in {options.directory}", members={"next": step})
    return await Hub.open(options, await hub_ports(options, clock=clock, randomness=randomness, create=False))


@asynccontextmanager
async def opened_hub(options: HubOptions, *, clock: Clock, randomness: Randomness) -> AsyncIterator[Hub]:
    """For a command: open, and close whatever happens."""
    hub = await open_hub(options, clock=clock, randomness=randomness)
    try:
        yield hub
    finally:
        await hub.close()


async def create_hub(
    options: HubOptions, *, origin: str, rules: RulesDraft, clock: Clock, randomness: Randomness
) -> dict[str, str]:
    """A new hub, founded and closed; origin and vkey. After a crash it may be repeated with the same origin."""
    check_key_name(origin, "origin")
    await asyncio.to_thread(options.directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    hub = await Hub.open(options, await hub_ports(options, clock=clock, randomness=randomness, create=True))
    try:
        return await found_hub(hub, origin=origin, rules=rules)
    finally:
        await hub.close()
