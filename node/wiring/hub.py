"""Wiring of the hub's commands: settings → options → hub → answer for the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node.config_data import config_file
from node.directory import load_directory
from node.hub.export import export_log
from node.hub.hub import Hub
from node.hub.options import HubOptions
from node.hub.statements import RulesDraft
from node.logs import configure_logs
from node.memory import settle_memory
from node.ports import Progress, no_progress
from node.settings import HubSettings, networks_in
from node.settings_file import amend_settings, load_settings, write_settings
from node.system import SystemClock, SystemRandomness
from node.wiring.hub_databases import put_damaged_projection_aside, reach_databases
from node.wiring.hub_files import hub_files, tidied
from node.wiring.hub_parts import create_hub, open_hub, opened_hub
from sync_protocol.errors import Refused
from sync_protocol.ledger import format_state_hash
from sync_protocol.statement import Role
from sync_protocol.values import AgencyId, Digest

if TYPE_CHECKING:
    from aiohttp.web import Application


def hub_options(settings: HubSettings) -> HubOptions:
    """What the hub needs of its settings; paths absolute."""
    return HubOptions(
        directory=settings.directory,
        database_url=settings.database,
        projection_url=settings.projection,
        lock_url=settings.lock_url,
        lock_directory=settings.file(settings.lock_directory),
        passphrase=settings.passphrase(),
        public_url=settings.public_url,
        projector=settings.projector,
        requests_max=settings.requests_max,
        waiting_max=settings.waiting_max,
        connections_max=settings.connections_max,
        bodies_max_bytes=settings.bodies_max_mib * 1024 * 1024,
        verify_threads=settings.verify_threads,
        body_timeout_s=settings.body_timeout_s,
        group_commit_max=settings.group_commit_max,
        tick_interval_s=settings.tick_interval_s,
        projected_after_s=settings.projected_after_s,
        invitation_days=settings.invitation_days,
    )


def table_digest(name: str) -> Digest:
    """SHA-256 of a table of config/, as the rules name it."""
    return Digest(sha256(config_file(name).read_bytes()).digest())


def rules_draft(settings: HubSettings) -> RulesDraft:
    """The rules as settings and tables have them; they hold once they are in the log."""
    return RulesDraft(
        desk=AgencyId.parse(settings.desk),
        deadlines=table_digest("deadlines.toml"),
        calendar=table_digest("calendar.toml"),
        bounce_limit=settings.bounce_limit,
        silence_s=settings.silence_s,
    )


async def init_hub(directory: Path, *, origin: str, database_url: str | None) -> dict[str, Any]:
    """`simpul hub init`."""
    changes: dict[str, Any] = {"origin": origin}
    if database_url:
        changes["database_url"] = database_url
    settings = amend_settings(directory, HubSettings, changes, final=("origin", "database_url"))
    await reach_databases(hub_options(settings))
    # First the settings, then the log: an init that was cut off is finished by the same command.
    await asyncio.to_thread(settings.directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    await asyncio.to_thread(write_settings, settings, replace=True)
    document = await create_hub(
        hub_options(settings),
        origin=origin,
        rules=rules_draft(settings),
        clock=SystemClock(),
        randomness=SystemRandomness(),
    )
    return dict(document)


_NOT_LISTED = (
    "{code} is not in config/agencies.csv. If that is a mistype, do not hand the token over; whoever enrols with it is"
    " in the log for good."
)


def opened(directory: Path) -> AbstractAsyncContextManager[Hub]:
    """The hub of a directory, for one command: an async context manager."""
    settings = load_settings(directory, HubSettings)
    return opened_hub(hub_options(settings), clock=SystemClock(), randomness=SystemRandomness())


async def serve_hub(directory: Path, *, host: str | None, port: int | None) -> None:
    """`simpul hub serve`, one process: until SIGTERM."""
    from node.hub.http import RUNNER_OPTIONS
    from node.serving import announce, listening, server_tls, until_told_to_stop

    settings = load_settings(directory, HubSettings)
    configure_logs(settings.log_level)
    bound_port = settings.port if port is None else port
    tls = server_tls(settings.tls)
    async with (
        taking_in(settings) as application,
        listening(application, host or settings.host, bound_port, tls=tls, options=RUNNER_OPTIONS) as url,
    ):
        announce(f"hub {settings.origin} listens on {url}")
        await until_told_to_stop()


@asynccontextmanager
async def taking_in(settings: HubSettings) -> AsyncIterator[Application]:
    """A hub at work, and its application, not listening yet. Closed afterwards, whatever happens."""
    from node.hub.http import build_app
    from node.web.callers import TRUSTED_PROXIES

    hub = await open_hub(hub_options(settings), clock=SystemClock(), randomness=SystemRandomness())
    try:
        async with tidied(hub_files(settings, hub)) as files:
            application = build_app(hub, files)
            application[TRUSTED_PROXIES] = networks_in(settings.trusted_proxies)
            if settings.open311_services is not None:
                from node.wiring.open311 import add_to_hub

                add_to_hub(application, hub, settings.file(settings.open311_services), settings.open311_post_url)
            settle_memory()
            await hub.ensure_rules(rules_draft(settings))
            await hub.start()
            yield application
    finally:
        await hub.close()


async def invite(directory: Path, agency: str) -> dict[str, Any]:
    """`simpul hub invite`. An agency outside the directory is allowed and said so."""
    code = AgencyId.parse(agency)
    async with opened(directory) as hub:
        token = await hub.invite(code)
        known = load_directory().get(code)
        return {
            "token": token,
            "vkey": hub.log.roster.vkey.format(),
            "agency": str(code),
            "name": known.name if known else None,
            "warning": None if known else _NOT_LISTED.format(code=code),
        }


async def revoke(directory: Path, agency: str, *, kid: str | None, disputed_from: int, reason: str) -> dict[str, Any]:
    """`simpul hub revoke`."""
    async with opened(directory) as hub:
        ended, place = await hub.revoke(AgencyId.parse(agency), kid=kid, disputed_from=disputed_from, reason=reason)
        return {"agency": agency, "kid": ended, "index": place.index}


async def hub_status(directory: Path) -> dict[str, Any]:
    """`simpul hub status`."""
    async with opened(directory) as hub:
        document: dict[str, Any] = await hub.status()
        return document


async def rebuild(directory: Path, *, progress: Progress = no_progress) -> dict[str, Any]:
    """`simpul hub rebuild`; `progress` counts leaves.

    A damaged file is put `aside` first; then nobody knows what it held `before`.
    """
    aside = await put_damaged_projection_aside(hub_options(load_settings(directory, HubSettings)))
    async with opened(directory) as hub:
        if aside is not None:
            anew = await hub.projector.catch_up(progress)
            return {"before": None, "after": format_state_hash(anew.state_hash), "aside": str(aside)}
        before, after = await hub.rebuild(progress)
        return {"before": before, "after": after, "aside": None}


async def grant(directory: Path, *, role: str, name: str, with_content: bool, revoke: bool) -> dict[str, Any]:
    """`simpul hub grant DIR auditor NAME`."""
    if role != "auditor":
        step = "simpul hub grant DIR auditor NAME"
        raise Refused("configuration", f"there is no role {role!r} to grant", members={"next": step})
    async with opened(directory) as hub:
        if revoke:
            return {"name": name, "ended": await hub.end_grants(name)}
        token = await hub.grant(name, with_content=with_content)
        return {"name": name, "token": token, "with_content": with_content}


async def export(directory: Path, out: Path, *, with_content: bool, progress: Progress = no_progress) -> dict[str, Any]:
    """`simpul hub export`; `progress` counts leaves."""
    from node.hub.http_deadlines import figures_of

    async with opened(directory) as hub:
        if with_content:
            await hub.erase_again()
            await hub.store.record_content_read("export", str(out), hub.clock.now_ms())
        async with hub.projector.settled() as cursor:
            claims = {
                "projected_to": cursor.size,
                "state_hash": format_state_hash(cursor.state_hash),
                "totals": (await hub.projection.totals())[1],
            }
            deadlines = await figures_of(hub, sorted(str(one.agency) for one in hub.log.roster.agencies))
        published = await hub.store.checkpoint_of(cursor.size) or hub.log.published
        description = hub.description()
        told = {
            "origin": description.origin,
            "vkey": hub.log.roster.log_key_at(published.size).format(),
            "protocol": description.protocol,
            "fold": description.fold,
            "exported_at": description.time,
        }
        result = await export_log(
            hub.store,
            size=published.size,
            note=published.note,
            description=told | claims,
            out=out,
            with_content=with_content,
            deadlines=deadlines,
            progress=progress,
        )
        return {"out": str(out), "size": result.size, "change_sets": result.change_sets, "content": with_content}


async def rotate_hub_key(directory: Path, role: Role) -> dict[str, Any]:
    """`simpul keys rotate` in a hub's directory."""
    async with opened(directory) as hub:
        old = hub.speaking(role).kid
        place = await hub.rotate(role)
        return {"role": role.value, "old": old, "new": hub.speaking(role).kid, "index": place.index}
