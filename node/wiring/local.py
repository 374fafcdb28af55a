"""Wiring of a local node's commands: settings → store, keys, link, service, pusher → answer for the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from keys.key_directory import KeyDirectory
from node.beside import beside
from node.config_data import config_file
from node.deadlines.tables import Deadlines, deadlines_of_tables
from node.directory import Agency, load_directory
from node.link.hub_client import HubClient
from node.link.transport import Transport
from node.local.abroad import Abroad
from node.local.enrolment import enrol_node
from node.local.federation import Federation
from node.local.hub_session import HubSession
from node.local.inbox import Inbox
from node.local.lease import DirectoryLease
from node.local.pusher import Pusher
from node.local.recording import Minting
from node.local.recovery import recover_node
from node.local.returning import return_node
from node.local.service import LocalService
from node.local.signing import DirectoryKeys
from node.local.status import node_status as status_of
from node.local.suggestions import read_rules
from node.local.sweeper import sweep_forever
from node.logs import configure_logs
from node.memory import settle_objects
from node.serving import announce, listening, server_tls, until_told_to_stop
from node.settings import NodeSettings, networks_in
from node.settings_file import amend_settings, load_settings, write_settings
from node.store.local_store import SqlLocalStore, open_local_store
from node.system import SystemClock, SystemRandomness
from node.web.callers import TRUSTED_PROXIES
from node.wiring.escalations import watching
from node.wiring.node_channels import channels
from node.wiring.node_files import files_at_work
from node.wiring.node_store import check_database, is_database_gone
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.values import AgencyId

RECOVERY_TIMEOUT_S: Final = 3_600.0  # a year of sets over a bad line
FIRST_LOOK_S: Final = 3.0  # to learn that this directory is an old one, before anybody is shown what is in it
WIB: Final = "Asia/Jakarta"  # for an agency that is not in the directory: most of the country lives by it


class NodeParts:
    """What a node's commands share: settings, store, keys, clock. Closed by `opened`."""

    def __init__(self, settings: NodeSettings, store: SqlLocalStore) -> None:
        self.settings = settings
        self.store = store
        self.clock = SystemClock()
        self.randomness = SystemRandomness()
        self.agency = AgencyId.parse(settings.agency)
        self.key_directory = KeyDirectory(settings.keys_directory, settings.passphrase())
        self.keys = DirectoryKeys(self.key_directory)
        self.lease = DirectoryLease(settings.directory)
        self.federation = Federation()

    @property
    def listed(self) -> Agency | None:
        """The agency's line in the directory, if it has one."""
        return load_directory().get(self.agency)

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which the agency's days begin and end."""
        return self.listed.zone if self.listed else ZoneInfo(WIB)

    def minting(self) -> Minting:
        """What identifiers of this node are made from."""
        prefix = self.listed.prefix if self.listed else _prefix_of(self.agency)
        federation = self.federation
        return Minting(
            *(self.agency, prefix, self.clock, self.randomness, federation, federation.is_agency),
            deadlines=self.deadlines,
            is_silent=federation.is_silent,
        )

    @cached_property
    def deadlines(self) -> Deadlines:
        """By the tables of config/."""
        return deadlines_of_tables()

    def link(self) -> HubClient:
        """The way to the hub; opens nothing before it is used."""
        settings = self.settings
        transport = Transport(
            settings.hub_url,
            clock=self.clock,
            randomness=self.randomness,
            ca_file=settings.file(settings.ca_file) if settings.ca_file else None,
            allow_plain_http=settings.allow_plain_http,
            answer_timeout_s=settings.request_timeout_s,
        )
        return HubClient(transport, self.agency, self.keys.current)

    def pusher(self, link: HubClient) -> Pusher:
        """This process's pusher."""
        return Pusher(
            self.store,
            link,
            self.keys,
            self.clock,
            self.randomness,
            self.lease,
            agency=self.agency,
            target_changes=self.settings.set_changes_max,
            keep_days=self.settings.retention_days,
            keep_sets=self.settings.retention_sets,
        )

    def inbox(self, link: HubClient) -> Inbox:
        """What the hub tells this agency."""
        session = HubSession(self.store, link, self.keys, self.agency)
        return Inbox(self.store, link, session, self.federation, self.clock, self.agency)

    def service(self, on_recorded: Callable[[], None] = lambda: None) -> LocalService:
        """Records changes; to be entered as an async context."""
        return LocalService(self.store, self.minting(), on_recorded=on_recorded)


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[NodeParts]:
    """The node of a directory. Raises Refused(configuration) if there is none."""
    settings = load_settings(directory, NodeSettings)
    await check_database(settings)
    store = await open_local_store(settings.database)
    try:
        parts = NodeParts(settings, store)
        try:
            yield parts
        finally:
            parts.lease.leave()
    finally:
        await store.close()


async def bring_back(directory: Path) -> None:
    """Where the database is gone and the key is there: makes it anew, and reads from the log who this node is.

    Raises what `return_node` raises; Refused(configuration) where the key is gone as well.
    """
    settings = load_settings(directory, NodeSettings)
    if not await asyncio.to_thread(is_database_gone, settings):
        return
    if not (settings.keys_directory / "agency.pem").is_file():
        await check_database(settings)
    store = await open_local_store(settings.database, create=True)
    try:
        parts = NodeParts(settings, store)
        link = parts.link()
        try:
            await return_node(
                store,
                link,
                parts.key_directory,
                parts.clock,
                parts.randomness,
                agency=parts.agency,
                vkey=settings.vkey,
            )
        finally:
            await link.close()
    finally:
        await store.close()


def _prefix_of(agency: AgencyId) -> str:
    """Of tracking numbers, for an agency that is not in the directory."""
    return "".join(character for character in agency.upper() if character.isalnum())[:8]


async def enrol(
    directory: Path,
    *,
    hub: str,
    vkey: str,
    agency: str,
    token: str | None,
    ca_file: Path | None,
    allow_plain_http: bool,
) -> dict[str, Any]:
    """`simpul node enrol`: keys first, then the hub; settings are written when both know each other.

    Without a token the key that is there already is looked up in the hub's log.
    """
    changes: dict[str, Any] = {"agency": agency, "hub_url": hub, "vkey": vkey}
    if ca_file is not None:
        changes["ca_file"] = str(await asyncio.to_thread(ca_file.absolute))
    if allow_plain_http:
        changes["allow_plain_http"] = True
    settings = amend_settings(directory, NodeSettings, changes, final=("agency",))
    if token is None and not (settings.keys_directory / "agency.pem").is_file():
        step = "Give the invitation's --token; or put the key files of your key backup there first."
        detail = f"there is no key of this node in {settings.keys_directory}"
        raise Refused("configuration", detail, where="token", members={"next": step})
    await asyncio.to_thread(settings.directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    store = await open_local_store(settings.database, create=True)
    try:
        parts = NodeParts(settings, store)
        link = parts.link()
        here = (store, link, parts.key_directory, parts.clock, parts.randomness)
        try:
            if token is None:
                index = await return_node(*here, agency=parts.agency, vkey=settings.vkey)
            else:
                index = await enrol_node(*here, agency=parts.agency, vkey=settings.vkey, token=token)
        finally:
            await link.close()
    finally:
        await store.close()
    await asyncio.to_thread(write_settings, settings, replace=True)
    return {"agency": agency, "hub": hub, "index": index, "kid": parts.keys.current().kid}


async def serve_node(directory: Path, *, host: str | None, port: int | None) -> None:
    """`simpul node serve`: intake and pusher, until SIGTERM."""
    await bring_back(directory)
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(opened(directory))
        settings = parts.settings
        configure_logs(settings.log_level)
        parts.keys.current()  # a node that cannot sign does not start: better said now than by a silent outbox
        link = parts.link()
        stack.push_async_callback(link.close)
        pusher = parts.pusher(link)
        stop = asyncio.Event()
        application, options = await _at_work(stack, parts, link, pusher, stop)
        settle_objects()
        await pusher.first_look(FIRST_LOOK_S)
        bound_port = settings.port if port is None else port
        tls = server_tls(settings.tls)
        url = await stack.enter_async_context(
            listening(application, host or settings.host, bound_port, tls=tls, options=options)
        )
        announce(f"node {parts.agency} listens on {url}")
        await until_told_to_stop()
        stop.set()  # the pusher ends its step while the intake answers what is under way


async def _at_work(
    stack: AsyncExitStack, parts: NodeParts, link: HubClient, pusher: Pusher, stop: asyncio.Event
) -> tuple[web.Application, dict[str, Any]]:
    """Everything that runs beside the listener, ended by the stack; the application and its runner's options."""
    from node.local.http import build_app

    settings = parts.settings
    service = await stack.enter_async_context(parts.service(pusher.wake))
    stack.push_async_callback(_end, asyncio.create_task(pusher.run(stop), name="pusher"), stop)
    files = await stack.enter_async_context(files_at_work(settings, parts.store, link, parts.clock, parts.randomness))
    inbox = parts.inbox(link)
    await parts.federation.read_rules(parts.store)
    await stack.enter_async_context(beside(inbox.run(stop)))  # what it was taking in comes again at the next start
    abroad = Abroad(inbox, parts.federation, link, link)
    sweeping = asyncio.create_task(
        sweep_forever(*(parts.store, service, parts.clock, parts.deadlines, stop), closes=settings.close_by_itself),
        name="sweeper",
    )
    stack.push_async_callback(_end, sweeping, stop)
    escalations = await stack.enter_async_context(watching(parts, link))
    application = build_app(
        service,
        parts.store,
        parts.clock,
        parts.randomness,
        stale_after_s=settings.stale_after_s,
        refused_after_s=settings.refused_after_s,
        files=files,
        is_pusher_failing=lambda: pusher.is_failing,
        abroad=abroad,
        routing=read_rules(config_file("routing.toml").read_text(encoding="utf-8")),
        escalations=escalations,
    )
    application[TRUSTED_PROXIES] = networks_in(settings.trusted_proxies)
    return application, await stack.enter_async_context(
        channels(application, service, parts.store, settings, parts.clock, abroad, link)
    )


async def _end(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    """A step under way is finished, if it takes less than three seconds; it may be repeated at the next start."""
    stop.set()
    _, unfinished = await asyncio.wait([task], timeout=3)
    for one in unfinished:
        one.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def push(directory: Path, *, until_drained: bool, timeout_s: float) -> dict[str, Any]:
    """`simpul node push`: without serving; `reached` says whether the hub answered at all."""
    await bring_back(directory)
    async with opened(directory) as parts:
        parts.keys.current()
        link = parts.link()
        try:
            drained = await parts.pusher(link).drain(timeout_s, until_drained=until_drained)
            told = await _take_in(parts, link) if drained.reached and not drained.halted else 0
        finally:
            await link.close()
        status = await status_of(parts.store, parts.clock)
        return {**msgspec.to_builtins(status), "drained": drained.drained, "reached": drained.reached, "told": told}


async def _take_in(parts: NodeParts, link: HubClient) -> int:
    """How many items of the inbox came; the hub gone meanwhile is no failure of what was pushed."""
    try:
        return await parts.inbox(link).drain()
    except Unavailable:
        return 0


async def recover(directory: Path, *, take_over: bool) -> dict[str, Any]:
    """`simpul node recover`: clears a halt if this copy is to stay, then compares and refills."""
    await bring_back(directory)
    async with opened(directory) as parts:
        parts.keys.current()
        link = parts.link()
        session = HubSession(parts.store, link, parts.keys, parts.agency)
        try:
            recovered = await recover_node(
                parts.store, parts.pusher(link), session, take_over=take_over, timeout_s=RECOVERY_TIMEOUT_S
            )
        finally:
            await link.close()
        document: dict[str, Any] = msgspec.to_builtins(recovered)
        return document
