"""Wiring of `simpul node doctor` and `simpul hub doctor`: gathers what the checks look at, and changes nothing.

One thing that fails does not hide the others: each check that cannot be made says why.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from yarl import URL

from keys.key_directory import KeyDirectory
from node.doctor import hub_checks, machine, node_checks
from node.doctor.certificates import check_own, check_remote
from node.doctor.findings import Finding, Words, does_not_open, report
from node.doctor.keys import check_key
from node.doctor.serving import check_serving
from node.hub.hub import Hub
from node.hub.status import agency_lines
from node.link.hub_client import HubClient
from node.link.transport import proxy_for, tls_context
from node.local.hub_evidence import roster_of
from node.local.status import node_status
from node.logs import words_of
from node.settings import HubSettings, NodeSettings
from node.settings_file import load_settings
from node.store.hub_tables import HUB_REVISION
from node.store.local_tables import LOCAL_REVISION
from node.system import SystemClock
from node.wiring.backup import LAST_BACKUP
from node.wiring.hub import opened as opened_hub
from node.wiring.local import NodeParts
from node.wiring.local import opened as opened_node
from node.wiring.named_files import check_channels
from sync_protocol.checkpoint import claimed_size
from sync_protocol.ed25519 import kid_of
from sync_protocol.errors import Corrupt, Refused, SimpulError, Unavailable
from sync_protocol.statement import Role

Settings = HubSettings | NodeSettings

_HUB: Final = ("log", Words("the hub", "hub"))
_NODE: Final = ("node", Words("the node", "node"))


async def node_doctor(directory: Path) -> dict[str, Any]:
    """`simpul node doctor`. Raises Refused(configuration) where DIR is no node's."""
    settings = load_settings(directory, NodeSettings)
    findings = await asyncio.to_thread(_of_machine, settings, "node", LOCAL_REVISION)
    if not _is_failed(findings, "database"):
        findings += await _guarded(lambda: _of_opened_node(directory), *_NODE)
    findings += await asyncio.to_thread(check_channels, settings)
    findings.append(await check_serving(settings.host, settings.port, is_tls=settings.tls is not None))
    return report("node", findings)


async def hub_doctor(directory: Path) -> dict[str, Any]:
    """`simpul hub doctor`. Raises Refused(configuration) where DIR is no hub's."""
    settings = load_settings(directory, HubSettings)
    findings = await asyncio.to_thread(_of_machine, settings, "hub", HUB_REVISION)
    if not settings.lock_url:
        findings += await asyncio.to_thread(_of_lock_folder, settings)
    if not _is_failed(findings, "database") and not _is_failed(findings, "lock"):
        findings += await _guarded(lambda: _of_hub(directory, settings), *_HUB, hub_checks.server_away)
    findings += await asyncio.to_thread(check_channels, settings)
    findings.append(await check_serving(settings.host, settings.port, is_tls=settings.tls is not None))
    return report("hub", findings)


def _is_failed(findings: list[Finding], check: str) -> bool:
    return any(finding.check == check and finding.level != "ok" for finding in findings)


def _of_machine(settings: Settings, role: str, revision: str) -> list[Finding]:
    """Runs in a thread: the disk may be slow."""
    now_ms = SystemClock().now_ms()
    directory = settings.directory
    findings = [machine.check_disk(directory), machine.check_permissions(directory)]
    if make_url(settings.database).get_backend_name() == "sqlite":
        findings.append(machine.check_database(Path(make_url(settings.database).database or ""), revision))
    command = f"simpul {role} backup {directory} OUT"
    findings.append(machine.check_backup(directory / LAST_BACKUP, now_ms, command))
    if settings.tls is not None:
        public = getattr(settings, "public_url", None)
        findings.append(check_own(settings.tls[0], urlsplit(public).hostname if public else None, now_ms))
    return findings


def _of_lock_folder(settings: HubSettings) -> list[Finding]:
    """That it is there at all, before a hub is opened, which would make an empty one."""
    folder = settings.file(settings.lock_directory)
    if not (folder / "checkpoint").is_file():
        return [hub_checks.check_lock(None, 0)]
    if folder.is_relative_to(settings.directory):
        return []
    return [machine.check_disk(folder), machine.check_permissions(folder)]


async def _of_opened_node(directory: Path) -> list[Finding]:
    async with opened_node(directory) as parts:
        findings = await _of_node(parts)
        return findings + await _guarded(lambda: _of_link(parts), *_NODE)


async def _of_node(parts: NodeParts) -> list[Finding]:
    settings, held = parts.settings, parts.key_directory
    status = await node_status(parts.store, parts.clock)
    record = roster_of(await parts.store.statements()).agency(parts.agency)
    findings = [
        *node_checks.check_pusher(status),
        node_checks.check_receipts(status, settings.stale_after_s),
        node_checks.check_files(*await parts.store.files_waiting()),
    ]
    speaking = record.kid if record is not None else None
    kids = _pending(held, Role.AGENCY)
    findings.append(
        await asyncio.to_thread(
            check_key, "agency", lambda: held.load(Role.AGENCY), _public_key_of(parts, speaking), kids
        )
    )
    sealing = record.sealing if record is not None else None
    findings.append(
        await asyncio.to_thread(
            check_key, "sealing", lambda: held.load(Role.SEALING), sealing, _pending(held, Role.SEALING)
        )
    )
    return findings


async def _of_link(parts: NodeParts) -> list[Finding]:
    """TLS by itself first: what is wrong with a certificate is told as such, not as a hub that is away."""
    settings = parts.settings
    link = parts.link()
    findings = []
    try:
        tls = await _of_tls(parts)
        if tls is not None:
            findings.append(tls)
        began_s = parts.clock.monotonic_s()
        told = await link.describe()
        identity = await parts.store.identity()
        assert identity is not None  # node_status would have raised
        findings.append(node_checks.check_hub(settings.hub_url, identity.origin, told))
        took_s = parts.clock.monotonic_s() - began_s
        findings.append(node_checks.check_clock(told, parts.clock.now_ms(), took_s))
        findings += await _of_admission(parts, link)
    except (Unavailable, Refused) as error:
        away = error if isinstance(error, Unavailable) else Unavailable(error.detail)
        findings.append(node_checks.hub_away(settings.hub_url, away))
    finally:
        await link.close()
    return findings


async def _of_admission(parts: NodeParts, link: HubClient) -> list[Finding]:
    """Whether the hub takes our key; nothing without a key, which is another check's to tell."""
    try:
        parts.keys.current()
    except (SimpulError, OSError):
        return []
    try:
        await link.head()
    except Refused as refused:
        return [node_checks.check_admission(refused)]
    return [node_checks.check_admission(None)]


async def _of_tls(parts: NodeParts) -> Finding | None:
    settings = parts.settings
    url = URL(settings.hub_url)
    if url.scheme != "https" or proxy_for(url, None) is not None:  # through a proxy: whoever connects, verifies
        return None
    context = tls_context(settings.file(settings.ca_file) if settings.ca_file else None)
    return await check_remote(url.host or "", url.port or 443, context, parts.clock.now_ms())


async def _of_hub(directory: Path, settings: HubSettings) -> list[Finding]:
    async with opened_hub(directory) as hub:
        log, now_ms = hub.log, hub.clock.now_ms()
        note = await hub.lock.read()
        await log.follow()  # takes in what that note leads to: others append meanwhile
        findings = [hub_checks.check_signing(log.recovering, log.size)]
        if log.recovering is None:
            findings.append(hub_checks.check_lock(None if note is None else claimed_size(note), log.size))
        findings += _of_hub_keys(hub)
        cursor = await hub.projection.cursor()
        behind = max(0, log.size - cursor.size)
        waiting = await hub.store.checkpoint_covering(cursor.size) if behind else None
        oldest_s = 0.0 if waiting is None else (now_ms - waiting.at_ms) / 1000
        findings.append(hub_checks.check_projection(behind, oldest_s))
        tick_ms = log.roster.tick_before(log.size)
        findings += hub_checks.check_ticks(tick_ms, now_ms, settings.tick_interval_s)
        findings.append(hub_checks.check_agencies(await agency_lines(log, hub.clock)))
        return findings


def _of_hub_keys(hub: Hub) -> list[Finding]:
    """Read, never promoted: a doctor looks."""
    if not hub.log.size:
        return []
    speaking = {
        Role.REGISTRAR: hub.log.roster.registrar.public_key,
        Role.LOG: hub.log.roster.vkey.public_key,
    }
    return [
        check_key(role.value, partial(hub.keys.load, role), public_key, _pending(hub.keys, role))
        for role, public_key in speaking.items()
    ]


def _pending(held: KeyDirectory, role: Role) -> list[bytes]:
    try:
        key = held.pending(role)
    except (SimpulError, OSError):
        return []  # whatever is wrong with it is wrong with the directory, and told by the key in use
    return [] if key is None else [key.public_key]


def _public_key_of(parts: NodeParts, kid: str | None) -> bytes | None:
    """The key behind the log's `kid` if it is ours; empty for a stranger's, None if nobody can tell."""
    if kid is None:
        return None
    try:
        own = [parts.key_directory.load(Role.AGENCY).public_key]
    except (SimpulError, OSError):
        return None
    for public_key in own + _pending(parts.key_directory, Role.AGENCY):
        if kid_of(public_key) == kid:
            return public_key
    return b""


async def _guarded(
    gather: Callable[[], Awaitable[list[Finding]]],
    check: str,
    what: Words,
    server_away: Callable[[str], Finding] | None = None,
) -> list[Finding]:
    """What keeps a hub or a node from being opened is a finding as well, and hides no other."""
    try:
        return await gather()
    except (SimpulError, OSError, sqlite3.Error, DBAPIError) as error:
        if isinstance(error, Unavailable) and server_away is not None:
            return [server_away(error.detail)]
        words = error.detail if isinstance(error, Corrupt | Refused) else words_of(error)
        return [does_not_open(check, what, error, words)]
