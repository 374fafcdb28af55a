"""Wiring of `simpul hub recover`: what a copy of the log holds is gathered, and taken back if it suffices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from node.audit.source import AuditSource, DirectorySource
from node.hub.hub import Hub
from node.hub.options import HubOptions
from node.settings import HubSettings
from node.settings_file import load_settings
from node.system import SystemClock, SystemRandomness
from node.wiring.audit import open_source
from node.wiring.hub import hub_options
from node.wiring.hub_databases import hub_exists, open_locks
from node.wiring.hub_parts import hub_ports, opened_hub
from sync_protocol.errors import Refused


async def recover(directory: Path, *, source: str | None, token: str | None, ca_file: Path | None) -> dict[str, Any]:
    """`simpul hub recover`: also where the database is gone and only keys and lock are left."""
    options = hub_options(load_settings(directory, HubSettings))
    async with opened_or_empty(options) as hub:
        before = hub.log.size
        copy_size = None
        if source is not None:
            copy = _open_copy(source, token, ca_file)
            try:
                copy_size = await hub.gathering.take_copy(copy)
            finally:
                await copy.close()
        await hub.restoring.look(now=True)
        status = await hub.status()
        return {
            "recovered": hub.log.recovering is None,
            "size_before": before,
            "size": hub.log.size,
            "copy_size": copy_size,
            "recovery": status["recovery"],
            "missing_sets": status["missing_sets"],
            "troubles": status["troubles"],
        }


def _open_copy(source: str, token: str | None, ca_file: Path | None) -> AuditSource:
    """Also a folder that is no whole export: entries and a checkpoint suffice."""
    folder = Path(source)
    return DirectorySource(folder) if (folder / "checkpoint").is_file() else open_source(source, token, ca_file)


@asynccontextmanager
async def opened_or_empty(options: HubOptions) -> AsyncIterator[Hub]:
    """For a command: the hub, with an empty database if that is gone and the lock store says what was signed."""
    clock, randomness = SystemClock(), SystemRandomness()
    if await hub_exists(options):
        async with opened_hub(options, clock=clock, randomness=randomness) as hub:
            yield hub
        return
    await _check_lock(options)
    hub = await Hub.open(options, await hub_ports(options, clock=clock, randomness=randomness, create=True))
    try:
        yield hub
    finally:
        await hub.close()


async def _check_lock(options: HubOptions) -> None:
    """An empty database is made only for a hub that is known to have signed something. Raises Refused."""
    may_be_there = bool(options.lock_url) or await asyncio.to_thread(options.lock_folder.is_dir)
    locks = await open_locks(options) if may_be_there else None
    try:
        is_known = locks is not None and await locks.lock.read() is not None
    finally:
        if locks is not None:
            locks.close()
    if not is_known:
        step = "Put the lock folder of this hub there; without it nothing tells what was signed."
        raise Refused(
            "configuration", f"there is no hub in {options.directory}, and no lock of one", members={"next": step}
        )
