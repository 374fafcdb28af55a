"""Wiring of `simpul audit`: which source, which trusted key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from node.audit.command import run_audit
from node.audit.deadlines import audit_deadlines as run_deadline_audit
from node.audit.source import AuditSource, open_directory
from node.deadlines.tables import deadlines_of_tables
from node.ports import Progress, no_progress
from sync_protocol.errors import Refused, too_large
from sync_protocol.evidence import EVIDENCE_MAX_BYTES, OpenEvidence, open_evidence
from sync_protocol.note import VerifierKey

_NAME_ANOTHER: Final = "Name the folder that `simpul hub export` wrote, or the address of a hub."


@contextmanager
def _of_a_hub(target: str) -> Iterator[None]:
    """An address without a checkpoint is something else than a hub, a node for example: Refused(configuration)."""
    try:
        yield
    except Refused as refused:
        if (refused.kind, refused.where) != ("not-found", "checkpoint"):
            raise
        detail = f"{target} is not the address of a hub: it has no checkpoint"
        raise Refused("configuration", detail, members={"next": _NAME_ANOTHER}) from None


def open_source(target: str, token: str | None, ca_file: Path | None = None) -> AuditSource:
    """An address that begins with http is a live hub, everything else a folder. Raises Refused(configuration)."""
    if not _is_address(target):
        try:
            return open_directory(Path(target))
        except Refused as refused:
            raise Refused("configuration", refused.detail, members={"next": _NAME_ANOTHER}) from None
    from node.audit.url_source import UrlSource
    from node.link.transport import check_base_url, is_loopback, tls_context

    url = check_base_url(target, allow_plain_http=True)  # what is public proves itself, whoever carries it
    if token and url.scheme == "http" and not is_loopback(url.host or ""):
        detail = f"{target} is not encrypted, and everybody on the way could take the token"
        raise Refused("configuration", detail, members={"next": "Use https, or leave the token out."})
    return UrlSource(target, token=token or None, tls=tls_context(ca_file))


def _is_address(target: str) -> bool:
    return target.startswith(("http://", "https://"))


def trusted_key(vkey: str | None) -> VerifierKey | None:
    """What `--vkey` names. Raises Refused(configuration)."""
    if vkey is None:
        return None
    try:
        return VerifierKey.parse(vkey)
    except Refused as refused:
        step = "Copy it whole: NAME+KEY-ID+KEY, as `simpul hub status` and the invitation give it."
        raise Refused("configuration", f"--vkey is no key of a log: {refused}", members={"next": step}) from None


async def audit(
    target: str,
    *,
    vkey: str | None,
    token: str | None,
    since: Path | None,
    ca_file: Path | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """`simpul audit DIR_OR_URL`."""
    trusted = trusted_key(vkey)
    kept = await asyncio.to_thread(since.read_bytes) if since is not None else None
    source = open_source(target, token, ca_file)
    try:
        with _of_a_hub(target):
            return await run_audit(source, trusted=trusted, since=kept, progress=progress)
    finally:
        await source.close()


async def audit_deadlines(
    target: str,
    *,
    vkey: str | None,
    token: str | None,
    tables: Path | None,
    ca_file: Path | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """`simpul audit deadlines DIR_OR_URL`. Raises Refused(configuration) for an address without a token: its public
    part has no change lines, and nothing could be measured.
    """
    trusted = trusted_key(vkey)
    if _is_address(target) and not token:
        step = "Give an auditor's --token (`simpul hub grant DIR auditor NAME` makes one), or an export in its place."
        detail = "deadlines are measured by change lines, and a hub shows those to auditors alone"
        raise Refused("configuration", detail, where="token", members={"next": step})
    deadlines = await asyncio.to_thread(deadlines_of_tables, tables)
    source = open_source(target, token, ca_file)
    try:
        with _of_a_hub(target):
            return await run_deadline_audit(source, deadlines, trusted=trusted, progress=progress)
    finally:
        await source.close()


async def audit_receipt(file: Path, *, vkey: str | None) -> dict[str, Any]:
    """`simpul audit receipt FILE`, offline."""
    trusted = trusted_key(vkey)
    size = (await asyncio.to_thread(file.stat)).st_size
    if size > EVIDENCE_MAX_BYTES:
        raise too_large(str(file), EVIDENCE_MAX_BYTES)
    data = await asyncio.to_thread(file.read_bytes)
    unproven = [] if trusted else ["that the log's key is the right one: no --vkey was given, the file's was believed"]
    try:
        opened = open_evidence(data, trusted)
    except Refused as refused:
        finding = {"kind": refused.kind, "agency": None, "seq": None, "detail": str(refused)}
        return {"ok": False, "file": str(file), "findings": [finding], "unproven": unproven}
    if opened.by_earlier_keys:
        unproven.append(
            f"{opened.by_earlier_keys} of its receipts, as far as the log's earlier keys may be in other hands by now: "
            "they are signed by keys before the trusted one"
        )
    return _evidence_report(file, opened, unproven)


def _evidence_report(file: Path, opened: OpenEvidence, unproven: list[str]) -> dict[str, Any]:
    changes = [
        {
            "index": proven.index,
            "agency": str(proven.agency),
            "seq": proven.seq,
            "type": proven.change.type,
            "at": proven.change.at,
            "said": proven.content,
        }
        for proven in opened.changes
    ]
    return {
        "ok": True,
        "file": str(file),
        "complaint": str(opened.complaint),
        "origin": opened.origin,
        "vkey": opened.vkey.format(),
        "log": {"size": opened.size},
        "changes": changes,
        "findings": [],
        "unproven": unproven,
    }
