"""Wiring of the SMS channel: off until simpul.toml says who may call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from node.beside import beside
from node.directory import load_directory
from node.local.abroad import Abroad
from node.local.http import RUNNER_OPTIONS
from node.local.hub_ports import TrackingLink
from node.local.ports import LocalStore
from node.local.service import LocalService
from node.ports import Clock
from node.settings import NodeSettings, networks_in
from node.store.local_store import SqlLocalStore
from sync_protocol.values import AgencyId


def add_sms(
    app: web.Application,
    service: LocalService,
    store: LocalStore,
    clock: Clock,
    settings: NodeSettings,
    abroad: Abroad,
    hub: TrackingLink,
) -> dict[str, Any]:
    """Mounts the channel if it is on. Options for the runner: those of the intake, with room for a long SMS."""
    if not settings.sms_secret and not settings.sms_allow:
        return RUNNER_OPTIONS
    from node.channels.guesses import GuessLimit
    from node.channels.kannel import LINE_MAX_BYTES, Gate, add_routes
    from node.channels.routing import Router
    from node.channels.sms import Refill, SmsChannel
    from node.channels.sms_keywords import load_keywords
    from node.channels.sms_status import StatusDesk

    directory = load_directory()
    statuses = StatusDesk(store, hub, service.minting.agency, directory, clock, GuessLimit(clock))
    router, refill = Router(service, abroad, clock), Refill(store, clock)
    channel = SmsChannel(service, store, clock, load_keywords(), directory, router, statuses, refill)
    add_routes(app, channel, Gate(settings.sms_secret, networks_in(settings.sms_allow)))
    return {**RUNNER_OPTIONS, "max_line_size": LINE_MAX_BYTES}


@asynccontextmanager
async def telling_reporters(store: SqlLocalStore, settings: NodeSettings, clock: Clock) -> AsyncIterator[None]:
    """Tells reporters by SMS until the end, if the settings say how. Raises Refused(configuration, unsafe-key-file)."""
    if settings.sms_send_url is None or settings.sms_send_password_file is None:
        yield
        return
    import aiohttp

    from node.channels.connector.settings import read_secret
    from node.channels.sms_answers import Gateway, SmsAnswers

    secret = await asyncio.to_thread(read_secret, settings.file(settings.sms_send_password_file))
    password = secret.decode("utf-8", "replace")
    gateway = Gateway(settings.sms_send_url, settings.sms_send_user, password, settings.sms_send_from)
    async with aiohttp.ClientSession() as session:
        answers = SmsAnswers(store, store, gateway, AgencyId(settings.agency), load_directory(), clock, session)
        async with beside(answers.run()):
            yield
