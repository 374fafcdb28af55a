"""Wiring of a hub's files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from node.beside import beside
from node.hub.file_turn import FileTurn
from node.hub.files import HubFiles
from node.hub.hub import Hub
from node.settings import HubSettings
from node.wiring.file_store import GIB, file_store


def hub_files(settings: HubSettings, hub: Hub) -> HubFiles:
    """Processes of one hub share the directory, on all its machines."""
    store = file_store(settings)
    turn = FileTurn(store.directory / "turn.lock")
    return HubFiles(hub, store, turn, agency_max_bytes=settings.files_agency_max_gib * GIB)


@asynccontextmanager
async def tidied(files: HubFiles) -> AsyncIterator[HubFiles]:
    """While the block lasts; nothing of it outlives the block."""
    try:
        async with beside(files.run()):
            yield files
    finally:
        files.close()
