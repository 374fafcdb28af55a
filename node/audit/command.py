"""`simpul audit`: walks a source from the first entry to the last and reports (docs/operations.md, exit codes)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node.audit.source import AuditSource
from sync_protocol.audit import LogAudit
from sync_protocol.checkpoint import claimed_size
from sync_protocol.compression import decode_body
from sync_protocol.errors import Refused
from sync_protocol.note import VerifierKey
from sync_protocol.tiles import TILE_WIDTH, entry_tiles_of, tiles_of, unpack_entries
from sync_protocol.values import b64_encode

Progress = Callable[[int, int], None]
"""(entries done, entries in all)"""


async def run_audit(
    source: AuditSource,
    *,
    trusted: VerifierKey | None = None,
    since: bytes | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Audit `source`; `trusted` is the auditor's key of the log, `since` a checkpoint note that somebody kept.

    Raises Refused for a source that cannot be read at all, Unavailable when it is away.
    """
    audit = LogAudit()
    await read_log(source, audit, trusted=trusted, since=since, progress=progress)
    claimed = await source.claimed_figures()
    if claimed is None:
        audit.unproven.append("the hub's own figures: it did not hand any over")
    else:
        audit.compare_claims(claimed.size, claimed.state_hash, claimed.totals)
    return report(audit)


async def read_log(
    source: AuditSource,
    audit: LogAudit,
    *,
    trusted: VerifierKey | None = None,
    since: bytes | None = None,
    progress: Progress | None = None,
) -> None:
    """The whole log into `audit`, from its entries to its tiles. Raises as `run_audit`."""
    note = await source.checkpoint()
    size = claimed_size(note)
    is_whole = await _read_entries(source, audit, size, progress)
    audit.close(note, trusted)
    if since is not None:
        audit.compare_earlier(since)
    if is_whole:
        await _check_hash_tiles(source, audit, size)


def report(audit: LogAudit) -> dict[str, Any]:
    """The document of `simpul audit --json`."""
    totals = audit.totals()
    unproven = list(audit.unproven)
    if totals.hidden_leaves:
        unproven.append(
            f"what was said in {totals.hidden_leaves} hidden content lines (their place and hash are proven)"
        )
    unproven.append("what an agency never recorded: nobody can prove that from a log")
    return {
        "ok": not audit.findings,
        "log": {"size": totals.size, "root": b64_encode(totals.root)},
        "state_hash": totals.state_hash,
        "agencies": totals.agencies,
        "change_sets": totals.change_sets,
        "changes": totals.changes,
        "complaints": totals.complaints,
        "refused": totals.refused,
        "by_state": dict(totals.by_state),
        "complete": audit.complete,
        "findings": [finding.as_dict() for finding in audit.findings],
        "unproven": unproven,
    }


async def _read_entries(source: AuditSource, audit: LogAudit, size: int, progress: Progress | None) -> bool:
    """Whether there were as many as the checkpoint claims; the first that is missing ends it, whatever it claims."""
    for reference in entry_tiles_of(size):
        bundle = await source.entry_bundle(reference)
        if bundle is None:
            detail = f"the checkpoint claims {size} entries; {reference.path} is not there"
            audit.note_lost_entries("missing-entries", detail)
            return False
        try:
            entries = unpack_entries(bundle, reference.width)
        except Refused as refused:
            audit.note_lost_entries(refused.kind, f"{reference.path} cannot be taken apart: {refused}")
            return False
        for entry in entries:
            await _read_entry(source, audit, entry)
        if progress is not None:
            progress(reference.index * TILE_WIDTH + reference.width, size)
    return True


async def _read_entry(source: AuditSource, audit: LogAudit, entry: bytes) -> None:
    signed = audit.read_entry(entry)
    if signed is None:
        return
    body = await source.change_set(signed.manifest.agency, signed.manifest.seq)
    if body is None and source.holds_every_set:
        audit.note_missing_lines()
        return
    if body is None:
        audit.read_lines(None)
        return
    try:
        parts = decode_body(body, "zstd")
    except Refused as refused:
        audit.note_unreadable_lines(refused)
        return
    audit.read_lines((parts.head, parts.contents))


async def _check_hash_tiles(source: AuditSource, audit: LogAudit, size: int) -> None:
    """That the published hash tiles are the ones that the entries make."""
    expected = audit.hash_tiles()
    missing: list[str] = []
    for reference in tiles_of(size):
        assert reference.level is not None
        published = await source.hash_tile(reference)
        if published is None:
            missing.append(reference.path)
        elif published != expected.get((reference.level, reference.index)):
            audit.find_wrong_tile(reference.path)
    if missing:
        audit.note_missing_tiles(missing, is_wrong=source.holds_every_tile)
