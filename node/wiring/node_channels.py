"""Every channel of a node, mounted on its application as far as the settings turn it on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import web

from node.local.abroad import Abroad
from node.local.hub_ports import TrackingLink
from node.local.service import LocalService
from node.ports import Clock
from node.settings import NodeSettings
from node.store.local_store import SqlLocalStore
from node.wiring.connectors import connecting, reading_mentions
from node.wiring.sms import add_sms, telling_reporters


@asynccontextmanager
async def channels(
    app: web.Application,
    service: LocalService,
    store: SqlLocalStore,
    settings: NodeSettings,
    clock: Clock,
    abroad: Abroad,
    hub: TrackingLink,
) -> AsyncIterator[dict[str, Any]]:
    """Before the application runs; gives the runner's options. What has to run beside it ends with it.

    Raises Refused (configuration, unsafe-key-file).
    """
    async with AsyncExitStack() as stack:
        table = settings.file(settings.connectors_file) if settings.connectors_file else None
        await stack.enter_async_context(connecting(app, service, store, table, clock))
        await stack.enter_async_context(reading_mentions(service, store, settings, clock))
        await stack.enter_async_context(telling_reporters(store, settings, clock))
        if settings.open311_services is not None:
            from node.wiring.open311 import add_to_node

            add_to_node(app, service, settings.file(settings.open311_services), clock)
        yield add_sms(app, service, store, clock, settings, abroad, hub)
