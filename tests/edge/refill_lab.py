"""A hub that loses its database or a part of it, and nodes that hold what it lost: for the tests of its refill."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from node.audit.command import run_audit
from node.audit.source import DirectorySource
from node.hub.export import export_log
from node.hub.hub import Hub
from node.system import SystemClock, SystemRandomness
from node.wiring.hub_parts import hub_ports
from sync_protocol.ledger import format_state_hash
from sync_protocol.values import AgencyId
from tests.edge.hub_lab import Lab, LabClock, options_for, running_hub
from tests.edge.test_node_with_hub import LiveNode, live_node

AGENCIES = [AgencyId(code) for code in ("33.75", "35.71", "64.72")]
AWAY_MS = 16 * 60_000  # longer than any pause of a node's schedule


class Disaster:
    """One hub with its nodes over several starts; clocks stand unless they are moved."""

    def __init__(self, place: Path, **options: Any) -> None:
        self.place = place
        self.root = options_for(place).directory
        self.clock = LabClock()
        self.clock.at_ms = SystemClock().now_ms()
        self.options = options
        self.starts = 0

    @asynccontextmanager
    async def hub(self, **changed: Any) -> AsyncIterator[Lab]:
        self.starts += 1
        options = {"projector": False, **self.options, **changed}
        async with running_hub(self.place, clock=self.clock, seed=self.starts, **options) as lab:
            yield lab

    @asynccontextmanager
    async def nodes(self, lab: Lab, *agencies: AgencyId) -> AsyncIterator[list[LiveNode]]:
        """Processes on the directories of these nodes, enrolled if they are not."""
        async with AsyncExitStack() as stack:
            yield [await self.node(lab, stack, agency) for agency in agencies]

    async def node(self, lab: Lab, stack: AsyncExitStack, agency: AgencyId) -> LiveNode:
        self.starts += 1
        directory = self.place / f"node-{agency}"
        return await stack.enter_async_context(live_node(lab, directory, seed=self.starts, agency=agency))

    async def live_a_day(self, sets: int, *agencies: AgencyId, lab: Lab) -> None:
        """Each agency records and pushes so many sets."""
        async with self.nodes(lab, *agencies) as nodes:
            for _ in range(sets):
                for node in nodes:
                    await node.received()
                    await node.drain()

    def back_up(self) -> None:
        shutil.copytree(self.root, self.place / "backup")

    def restore(self, *names: str) -> None:
        """These as they were in the backup; the projection is a later one, and everything else stays."""
        for name in names:
            then, now = self.place / "backup" / name, self.root / name
            if then.is_dir():
                shutil.rmtree(now)
                shutil.copytree(then, now)
            else:
                for suffix in ("", "-wal", "-shm"):
                    now.with_name(name + suffix).unlink(missing_ok=True)
                shutil.copy(then, now)

    def lose_database(self) -> None:
        for file in self.root.glob("*.db*"):
            file.unlink()

    async def knock(self, *nodes: LiveNode) -> None:
        """Time passes, and each node does what it would do by itself."""
        self.clock.at_ms += AWAY_MS
        for node in nodes:
            await take_steps(node)

    async def make_empty(self) -> None:
        """As `simpul hub recover` begins where the database is gone."""
        options = options_for(self.place, **self.options)
        ports = await hub_ports(options, clock=self.clock, randomness=SystemRandomness(), create=True)
        await (await Hub.open(options, ports)).close()

    async def whole(self, lab: Lab) -> None:
        """Waits until the hub signs again."""
        async with asyncio.timeout(20):
            while not lab.hub.log.is_signing:  # noqa: ASYNC110 - the hub's own task
                await asyncio.sleep(0.05)

    async def check_whole_again(self, lab: Lab, roots: dict[int, bytes], state: str) -> None:
        """Once it does, its log is the one that it was, and folds to the same."""
        await self.whole(lab)
        assert await roots_of(lab) == roots
        assert await state_of(lab) == state


async def take_steps(node: LiveNode) -> None:
    for _ in range(6):
        await node.pusher.step()


async def roots_of(lab: Lab) -> dict[int, bytes]:
    """The root at every size that the log had."""
    return await lab.hub.log.roots_at(list(range(1, lab.hub.log.size + 1)))


async def checkpoints_of(lab: Lab) -> dict[int, bytes]:
    """Every note that stands in the database, by size."""
    found: dict[int, bytes] = {}
    newest = await lab.hub.store.newest_checkpoint()
    while newest is not None:
        found[newest.size] = newest.note
        newest = await lab.hub.store.checkpoint_of(newest.follows)
    return found


async def state_of(lab: Lab) -> str:
    """The fold's hash over everything that is published."""
    cursor = await lab.hub.projector.catch_up()
    assert cursor.size == lab.hub.log.size
    return format_state_hash(cursor.state_hash)


async def exported(lab: Lab, out: Path, *, with_content: bool = False) -> Path:
    hub = lab.hub
    cursor = await hub.projector.catch_up()
    description = hub.description()
    told = {
        "origin": description.origin,
        "vkey": description.vkey,
        "protocol": description.protocol,
        "fold": description.fold,
        "exported_at": description.time,
        "projected_to": cursor.size,
        "state_hash": format_state_hash(cursor.state_hash),
        "totals": (await hub.projection.totals())[1],
    }
    published = hub.log.published
    await export_log(
        hub.store, size=published.size, note=published.note, description=told, out=out, with_content=with_content
    )
    return out


async def audited(lab: Lab, out: Path) -> None:
    """An auditor who reads an export finds nothing wrong."""
    source = DirectorySource(await exported(lab, out))
    report = await run_audit(source, trusted=lab.hub.log.roster.vkey)
    assert (report["findings"], report["ok"]) == ([], True)
