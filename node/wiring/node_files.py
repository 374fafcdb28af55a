"""Wiring of a node's files, and what is at work on them while it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from node.beside import beside
from node.link.hub_client import HubClient
from node.local.file_fetching import FileFetching
from node.local.file_sending import FileSending
from node.local.files import NodeFiles
from node.ports import Clock, Randomness
from node.settings import NodeSettings
from node.store.local_store import SqlLocalStore
from node.wiring.file_store import file_store


@asynccontextmanager
async def files_at_work(
    settings: NodeSettings, register: SqlLocalStore, link: HubClient, clock: Clock, randomness: Randomness
) -> AsyncIterator[NodeFiles]:
    """Kept, tidied, on their way to the hub and from it. Nothing of it outlives the block."""
    store = file_store(settings)
    fetching = FileFetching(link, store)
    files = NodeFiles(store, register, clock, randomness, fetching)
    keep_back = settings.files_keep_back_confidential
    sending = FileSending(register, store, link, clock, randomness, keep_back_confidential=keep_back)
    try:
        async with beside(files.run(), sending.run()):
            yield files
    finally:
        await fetching.close()
