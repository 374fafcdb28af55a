"""Wiring of the node's commands that ask its store and nobody else: status, tokens.

They load neither the link to the hub nor a server, so that they answer quickly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from node.local import tokens
from node.local.status import node_status as status_of
from node.settings import NodeSettings
from node.settings_file import load_settings
from node.store.local_store import SqlLocalStore, open_local_store
from node.system import SystemClock, SystemRandomness


@asynccontextmanager
async def store_of(directory: Path) -> AsyncIterator[SqlLocalStore]:
    """The store of a directory's node. Raises Refused(configuration) if there is none."""
    store = await open_local_store(load_settings(directory, NodeSettings).database)
    try:
        yield store
    finally:
        await store.close()


async def node_status(directory: Path) -> dict[str, Any]:
    """`simpul node status`, with the files that the hub does not have yet."""
    async with store_of(directory) as store:
        document: dict[str, Any] = msgspec.to_builtins(await status_of(store, SystemClock()))
        waiting, trouble = await store.files_waiting()
        return {**document, "files_waiting": waiting, "files_trouble": trouble}


async def create_token(directory: Path, name: str) -> dict[str, Any]:
    """`simpul node token create`."""
    async with store_of(directory) as store:
        return {"name": name, "token": await tokens.create_token(store, SystemClock(), SystemRandomness(), name)}


async def revoke_token(directory: Path, name: str) -> dict[str, Any]:
    """`simpul node token revoke`."""
    async with store_of(directory) as store:
        return {"name": name, "revoked": await tokens.revoke_token(store, SystemClock(), name)}
