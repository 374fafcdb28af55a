"""What the contract suites of a local node's store share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from node.local.ports import LocalStore
from node.store.local_store import open_local_store
from tests.sim.disk import Disk, Mount
from tests.sim.local_state import LocalState
from tests.sim.memory_local import MemoryLocalStore
from tests.store.local_samples import IDENTITY, SEEN

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


@pytest.fixture
async def store(local_opener: LocalOpener) -> AsyncIterator[LocalStore]:
    """A local node's, enrolled. A module about another kind of store has its own of the same name."""
    opened = await local_opener()
    await opened.enrol(IDENTITY, [], SEEN)
    yield opened
    await opened.close()
