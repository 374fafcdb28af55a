"""Wiring of the node's commands that ask its store and nobody else: status, what is due, tokens.

They load neither the link to the hub nor a server, so that they answer quickly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.engine import make_url

from node.deadlines.slot import DUE_WORDS, slots_due
from node.deadlines.tables import deadlines_of_tables
from node.doctor.machine import check_disk
from node.local import tokens
from node.local.api_answers import summary_of
from node.local.measuring import measure
from node.local.status import node_status as status_of
from node.settings import NodeSettings
from node.settings_file import load_settings
from node.store.local_records import ComplaintFilter
from node.store.local_store import SqlLocalStore, open_local_store
from node.store.sqlite_copy import rows_of
from node.system import SystemClock, SystemRandomness
from sync_protocol.errors import Refused
from sync_protocol.values import format_timestamp


async def check_database(settings: NodeSettings) -> None:
    """Raises Refused(configuration) for a directory whose database is gone, naming what is still there."""
    if not await asyncio.to_thread(is_database_gone, settings):
        return
    if (settings.keys_directory / "agency.pem").is_file():
        detail = "this node's database is gone, its keys are there"
        step = f"Run `simpul node recover {settings.directory}`: what was pushed comes back from the hub."
    else:
        detail = "this node's database and its keys are gone: what was never pushed is lost"
        step = (
            "Put the newest backup back (`simpul node restore`). Without one, ask the national desk for a fresh token"
            " and run `simpul node enrol` with it in a new directory: what was pushed comes back from the hub."
        )
    raise Refused("configuration", detail, where=str(settings.directory), members={"next": step})


def is_database_gone(settings: NodeSettings) -> bool:
    """Whether there is no file, or an empty one, or one that was never told who it is of. Waits for the disk."""
    file = Path(make_url(settings.database).database or "")
    return not file.is_file() or not rows_of(file, "SELECT agency FROM node")


@asynccontextmanager
async def store_of(directory: Path) -> AsyncIterator[SqlLocalStore]:
    """The store of a directory's node. Raises Refused(configuration) if there is none."""
    settings = load_settings(directory, NodeSettings)
    await check_database(settings)
    store = await open_local_store(settings.database)
    try:
        yield store
    finally:
        await store.close()


async def node_status(directory: Path) -> dict[str, Any]:
    """`simpul node status`, with the files that the hub does not have yet, and whether its disk takes anything more."""
    settings = load_settings(directory, NodeSettings)
    async with store_of(directory) as store:
        document: dict[str, Any] = msgspec.to_builtins(await status_of(store, SystemClock()))
        waiting, trouble = await store.files_waiting()
        disk = await asyncio.to_thread(check_disk, Path(make_url(settings.database).database or "").parent)
        if disk.level == "fail":
            document["troubles"] = [f"{disk.detail}. {disk.next}", *document["troubles"]]
        return {**document, "files_waiting": waiting, "files_trouble": trouble}


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
