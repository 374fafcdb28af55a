"""Wiring of other complaint systems, and of mentions on X: there if the settings name them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web

from node.beside import beside
from node.channels.connector.reports import MESSAGE_MAX_BYTES, PAPER, REPLIES, REPORTS, Reports
from node.channels.connector.settings import read_connectors, read_secret
from node.channels.connector.webhooks import Webhooks
from node.channels.mentions import Account, Mentions
from node.local.http import BODY_TIMEOUT_S
from node.local.http_middleware import OPEN_ROUTES, PAPERS
from node.local.http_requests import read_body
from node.local.service import LocalService
from node.ports import Clock
from node.settings import NodeSettings
from node.store.local_store import SqlLocalStore


@asynccontextmanager
async def reading_mentions(
    service: LocalService, store: SqlLocalStore, settings: NodeSettings, clock: Clock
) -> AsyncIterator[None]:
    """Takes in mentions on X until the end, if an account is named. Raises Refused(configuration, unsafe-key-file)."""
    if settings.mentions_user_id is None or settings.mentions_token_file is None:
        yield
        return
    path = settings.file(settings.mentions_token_file)
    token = (await asyncio.to_thread(read_secret, path)).decode("ascii", "replace")
    account = Account(settings.mentions_api_url, settings.mentions_user_id, token)
    async with aiohttp.ClientSession() as session, beside(Mentions(service, store, account, clock, session).run()):
        yield


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
    app[PAPERS].update({REPORTS: PAPER, REPLIES: PAPER})
    agency = service.minting.agency
    async with (
        aiohttp.ClientSession() as session,
        beside(Webhooks(store, store, connectors, agency, clock, session).run()),
    ):
        yield
