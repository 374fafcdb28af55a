"""Wiring of other complaint systems: there if `connectors_file` names them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web

from node.channels.connector.reports import MESSAGE_MAX_BYTES, REPLIES, REPORTS, Reports
from node.channels.connector.settings import read_connectors
from node.channels.connector.webhooks import Webhooks
from node.local.http import BODY_TIMEOUT_S
from node.local.http_middleware import OPEN_ROUTES
from node.local.http_requests import read_body
from node.local.service import LocalService
from node.ports import Clock
from node.store.local_store import SqlLocalStore


@asynccontextmanager
async def connecting(
    app: web.Application, service: LocalService, store: SqlLocalStore, table: Path | None, clock: Clock
) -> AsyncIterator[None]:
    """Takes reports in, by the application before it runs, and tells what becomes of them until the end.

    Raises Refused(configuration).
    """
    if table is None:
        yield
        return
    connectors = await asyncio.to_thread(read_connectors, table)
    reading = partial(read_body, timeout_s=BODY_TIMEOUT_S, limit=MESSAGE_MAX_BYTES)
    reports = Reports(service, {one.system: one for one in connectors}, reading)
    app.router.add_post(REPORTS, reports.report)
    app.router.add_post(REPLIES, reports.reply)
    app[OPEN_ROUTES].update((REPORTS, REPLIES))
    async with aiohttp.ClientSession() as session:
        telling = asyncio.create_task(Webhooks(store, connectors, clock, session).run(), name="webhooks")
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
