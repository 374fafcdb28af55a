"""What machines are made of. A planted bug (test_planted_bugs.py) puts something else in the place of one part."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from node.deadlines.tables import Deadlines, deadlines_of_tables
from node.hub.hub import Hub
from node.hub.statements import RulesDraft
from node.local.pusher import Pusher
from sync_protocol.values import AgencyId, Digest
from tests.sim.disk import Disk
from tests.sim.memory_hub import MemoryHubStore
from tests.sim.memory_local import MemoryLocalStore
from tests.sim.memory_locks import MemoryLockStore
from tests.sim.memory_projection import MemoryProjectionStore
from tests.sim.process import Process

ORIGIN: Final = "hub.example/log"
RULES: Final = RulesDraft(
    desk=AgencyId("kementerian-panrb"),
    deadlines=Digest(sha256(b"deadlines").digest()),
    calendar=Digest(sha256(b"calendar").digest()),
)


@lru_cache(maxsize=1)
def tables() -> Deadlines:
    """The deadlines of config/, read once: they keep what they computed, and nothing else."""
    return deadlines_of_tables()


class MemoryLease:
    """See Lease. `holders` are the processes that push from one directory."""

    def __init__(self, holders: dict[Process, None], process: Process) -> None:
        self._holders = holders
        self._process = process
        process.at_death(self.leave)

    def join(self) -> bool:
        is_alone = not any(holder is not self._process for holder in self._holders)
        self._holders[self._process] = None
        return is_alone

    def leave(self) -> None:
        self._holders.pop(self._process, None)


@dataclass(frozen=True)
class Parts:
    """Classes by what they do."""

    disk: type[Disk[Any]] = Disk
    local_store: type[MemoryLocalStore] = MemoryLocalStore
    hub_store: type[MemoryHubStore] = MemoryHubStore
    projection: type[MemoryProjectionStore] = MemoryProjectionStore
    lock: type[MemoryLockStore] = MemoryLockStore
    lease: type[MemoryLease] = MemoryLease
    pusher: type[Pusher] = Pusher
    hub: type[Hub] = Hub
    deadlines: Deadlines = field(default_factory=tables)
