"""The simulator finds what it is there for: a bug of each kind, planted here, is caught within 200 seeds."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

import pytest

from node.hub.draft import Place
from node.hub.hub import Hub
from node.hub.intake import Intake, Taken
from node.hub.options import HubOptions
from node.hub.ports import HubPorts
from node.hub.turns import Caller
from node.local.hub_session import HubSession
from node.local.pusher import Pusher
from node.store.hub_records import Commit
from node.store.local_records import Seen
from node.store.projection_records import ProjectionStep, step_is_stale
from sync_protocol.statement import Role
from sync_protocol.wire import Entered
from tests.sim.disk import Disk
from tests.sim.memory_hub import MemoryHubStore
from tests.sim.memory_projection import MemoryProjectionStore
from tests.sim.parts import MemoryLease, Parts
from tests.sim.world import run_seed

SEEDS_MAX: Final = 200
UNFLUSHED_S: Final = 1.0


class EagerHubStore(MemoryHubStore):
    """Says that it is done, and begins."""

    async def append(self, commit: Commit) -> None:
        asyncio.get_running_loop().create_task(super().append(commit))


class ForgetfulDisk(Disk[Any]):
    """Skips the flush: what was written in the last second is gone with the power."""

    def put(self, what: str, state: Any) -> None:
        self._before = (asyncio.get_running_loop().time(), self.state)
        super().put(what, state)

    def power_cut(self) -> None:
        at_s, before = getattr(self, "_before", (-UNFLUSHED_S, self.state))
        if asyncio.get_running_loop().time() - at_s < UNFLUSHED_S:
            self.state = before


class SeqOnlyIntake(Intake):
    """Takes for a repeat whatever comes for a seq that is there."""

    async def submit(self, url_agency: str, url_seq: int, body: bytes, encoding: str | None, caller: Caller) -> Taken:
        stored = (await self._log.store.find_sets([(url_agency, url_seq)])).get((url_agency, url_seq))
        if stored is not None and stored.index < self._log.size:
            return Taken(Place(stored.index, self._log.published, is_new=False), stored.hidden, stored.erased)
        return await super().submit(url_agency, url_seq, body, encoding, caller)


class SeqOnlyHub(Hub):
    """A hub with that intake."""

    def __init__(self, options: HubOptions, ports: HubPorts) -> None:
        super().__init__(options, ports)
        self.intake = SeqOnlyIntake(self.log, self.appender, lambda: self.speaking(Role.REGISTRAR), self.clock)


class CarelessLease(MemoryLease):
    """Never alone: a directory that comes into use keeps its epoch, whoever else may sign in it."""

    def join(self) -> bool:
        super().join()
        return False


class TrustingSession(HubSession):
    """Keeps receipts as they come."""

    async def entered(self, entered: Entered, entry: bytes, seen: Seen) -> Seen | None:
        return None


class TrustingPusher(Pusher):
    """A pusher with that session."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._hub = TrustingSession(self.store, self.link, self.keys, self.agency)


class TornProjection(MemoryProjectionStore):
    """Moves its cursor in a transaction of its own."""

    async def commit(self, step: ProjectionStep) -> None:
        async with self._mount.writing("rows") as draft:
            if draft.cursor.size != step.begins:
                raise step_is_stale(step)
            draft.add_rows(step)
        async with self._mount.writing("cursor") as draft:
            draft.cursor = step.cursor


BUGS: Final[dict[str, tuple[Callable[[], Parts], str]]] = {
    "acknowledges before the commit": (lambda: Parts(hub_store=EagerHubStore), "published|shown"),
    "skips the flush": (lambda: Parts(disk=ForgetfulDisk), "rewritten or cut|not in the log|lost something|never came"),
    "compares seq without digest": (lambda: Parts(hub=SeqOnlyHub), "no honest hub takes|hub-contradicts"),
    "reuses an epoch after a restore": (lambda: Parts(lease=CarelessLease), "signed two sets"),
    "keeps receipts unverified": (lambda: Parts(pusher=TrustingPusher), "is acknowledged at index|does not hold"),
    "moves the cursor apart from the rows": (lambda: Parts(projection=TornProjection), "hub never came|projection"),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", list(BUGS))
def test_a_planted_bug_is_caught(bug: str) -> None:
    make, signs = BUGS[bug]
    for seed in range(1, SEEDS_MAX + 1):
        found = run_seed(seed, make()).violations
        if found:
            assert re.search(signs, "\n".join(found)), found
            return
    raise AssertionError(f"{SEEDS_MAX} seeds did not find it")
