"""What the contract suites of a local node's store share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from node.local.ports import LocalStore
from node.store.local_store import open_local_store
from tests.sim.disk import Disk, Mount
from tests.sim.local_state import LocalState
from tests.sim.memory_local import MemoryLocalStore

LocalOpener = Callable[[], Awaitable[LocalStore]]


@pytest.fixture(params=["sqlite", "memory"])
def local_opener(request: pytest.FixtureRequest, tmp_path: Path) -> LocalOpener:
    """Opens one and the same database, each time as another process would; the one in memory is the simulation's."""
    if request.param == "sqlite":
        return partial(open_local_store, tmp_path / "local.db", create=True)
    disk = Disk("node", LocalState())

    async def in_memory() -> LocalStore:
        return MemoryLocalStore(Mount(disk))

    return in_memory
