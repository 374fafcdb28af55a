"""Wiring of attached files: where a hub and a node keep them, and what is at work on them while they serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from node.files.limits import MIB, FileLimits
from node.files.store import FileStore
from node.hub.file_turn import FileTurn
from node.hub.files import HubFiles
from node.hub.hub import Hub
from node.link.hub_client import HubClient
from node.local.file_fetching import FileFetching
from node.local.file_sending import FileSending
from node.local.files import NodeFiles
from node.ports import Clock, Randomness
from node.settings import HubSettings, NodeSettings
from node.store.local_store import SqlLocalStore

GIB = 1_024 * MIB


def file_store(settings: HubSettings | NodeSettings) -> FileStore:
    """Where a directory's files are. Opens and makes nothing."""
    limits = FileLimits(
        file_max=settings.file_max_mib * MIB,
        store_max=settings.files_max_gib * GIB,
        free_min=settings.files_free_mib * MIB,
    )
    return FileStore(settings.file(settings.files_directory), limits)


def hub_files(settings: HubSettings, hub: Hub) -> HubFiles:
    """Of a hub; its processes share the directory, on all its machines."""
    store = file_store(settings)
    turn = FileTurn(store.directory / "turn.lock")
    return HubFiles(hub, store, turn, agency_max_bytes=settings.files_agency_max_gib * GIB)


@asynccontextmanager
async def files_at_work(
    settings: NodeSettings, register: SqlLocalStore, link: HubClient, clock: Clock, randomness: Randomness
) -> AsyncIterator[NodeFiles]:
    """Of a node: kept, tidied, on their way to the hub and from it. Nothing of it outlives the block."""
    store = file_store(settings)
    fetching = FileFetching(link, store)
    files = NodeFiles(store, register, clock, randomness, fetching)
    keep_back = settings.files_keep_back_confidential
    sending = FileSending(register, store, link, clock, randomness, keep_back_confidential=keep_back)
    tasks = [
        asyncio.create_task(files.run(), name="files"),
        asyncio.create_task(sending.run(), name="file sending"),
    ]
    try:
        yield files
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await fetching.close()
