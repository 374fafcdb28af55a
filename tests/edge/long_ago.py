"""A complaint that is old by its agency's own clock, in the directory of a node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from node.local.recording import Minting
from node.local.service import LocalService
from node.store.local_store import SqlLocalStore
from node.system import SystemRandomness
from sync_protocol.values import AgencyId, format_timestamp
from tests.edge.node_api import MovableClock

DAY_MS = 24 * 3_600_000


@asynccontextmanager
async def recording_long_ago(
    directory: Path, agency: AgencyId, unit: str, *, days: int
) -> AsyncIterator[tuple[LocalService, str]]:
    """What records in a node's directory, which nobody serves, by a clock of so many days ago; and that moment."""
    clock = MovableClock()
    clock.later_ms = -days * DAY_MS
    store = await SqlLocalStore.open(directory / "node.db")
    try:
        async with LocalService(store, Minting(agency, unit, clock, SystemRandomness())) as service:
            yield service, format_timestamp(clock.now_ms())
    finally:
        await store.close()
