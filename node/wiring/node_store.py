"""Wiring of the node's commands that ask its store and nobody else: status, what is due, tokens.

They load neither the link to the hub nor a server, so that they answer quickly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from node.deadlines.slot import DUE_WORDS, slots_due
from node.deadlines.tables import deadlines_of_tables
from node.local import tokens
from node.local.api_answers import summary_of
from node.local.measuring import measure
from node.local.status import node_status as status_of
from node.settings import NodeSettings
from node.settings_file import load_settings
from node.store.local_records import ComplaintFilter
from node.store.local_store import SqlLocalStore, open_local_store
from node.system import SystemClock, SystemRandomness
from sync_protocol.values import format_timestamp


@asynccontextmanager
async def store_of(directory: Path) -> AsyncIterator[SqlLocalStore]:
    """The store of a directory's node. Raises Refused(configuration) if there is none."""
    store = await open_local_store(load_settings(directory, NodeSettings).database)
    try:
        yield store
    finally:
        await store.close()


async def node_status(directory: Path) -> dict[str, Any]:
    """`simpul node status`."""
    async with store_of(directory) as store:
        document: dict[str, Any] = msgspec.to_builtins(await status_of(store, SystemClock()))
        return document


async def what_is_due(directory: Path, limit: int) -> dict[str, Any]:
    """`simpul node due`: `more` says that there are others beyond the limit."""
    settings = load_settings(directory, NodeSettings)
    async with store_of(directory) as store:
        await measure(store, deadlines_of_tables(), settings.agency)
        now_ms = SystemClock().now_ms()
        document: dict[str, Any] = {"agency": str(settings.agency), "time": format_timestamp(now_ms)}
        for which in DUE_WORDS:
            wanted = ComplaintFilter(slots=slots_due(which, now_ms), limit=limit + 1)
            found = [msgspec.to_builtins(summary_of(held, now_ms)) for held in await store.complaints(wanted)]
            document |= {which: found[:limit], f"more_{which}": len(found) > limit}
        return document


async def create_token(directory: Path, name: str) -> dict[str, Any]:
    """`simpul node token create`."""
    async with store_of(directory) as store:
        return {"name": name, "token": await tokens.create_token(store, SystemClock(), SystemRandomness(), name)}


async def revoke_token(directory: Path, name: str) -> dict[str, Any]:
    """`simpul node token revoke`."""
    async with store_of(directory) as store:
        return {"name": name, "revoked": await tokens.revoke_token(store, SystemClock(), name)}
