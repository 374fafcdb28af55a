"""`simpul audit`: walks a source from the first entry to the last and reports (docs/operations.md, exit codes)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from node.audit.source import MALFORMED_FIGURES, AuditSource
from node.ports import Progress, no_progress
from sync_protocol.audit import LogAudit
from sync_protocol.checkpoint import claimed_size
from sync_protocol.compression import decode_body
from sync_protocol.errors import Refused
from sync_protocol.findings import Finding
from sync_protocol.note import VerifierKey
from sync_protocol.tiles import TILE_WIDTH, entry_tiles_of, tiles_of, unpack_entries
from sync_protocol.values import b64_encode

T = TypeVar("T")


async def run_audit(
    source: AuditSource,
    *,
    trusted: VerifierKey | None = None,
    since: bytes | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Audit `source`; `trusted` is the auditor's key of the log, `since` a checkpoint note that somebody kept.

    Raises Refused for a source that cannot be read at all, Unavailable when it is away.
    """
    audit = LogAudit()
    size = await read_log(source, audit, trusted=trusted, since=since, progress=progress)
    size_max = None if source.may_grow else size
    claimed = await claims_of(audit, source.claimed_figures(), "figures", lambda figures: figures.size, size_max)
    if claimed is not None:
        audit.compare_claims(claimed.size, claimed.state_hash, claimed.totals)
    return report(audit)


async def claims_of(
    audit: LogAudit, asked: Awaitable[T | None], name: str, size_of: Callable[[T], int], size_max: int | None
) -> T | None:
    """What the hub says of itself, of a log of at most `size_max`; None, and said so, where that cannot be compared.

    Raises as the source does, but for figures that have not their form: these are a finding.
    """
    try:
        claimed = await asked
    except Refused as refused:
        if refused.kind != MALFORMED_FIGURES:
            raise
        audit.findings.append(Finding(refused.kind, refused.detail))
        return None
    if claimed is None:
        audit.unproven.append(f"the hub's own {name}: it did not hand any over")
        return None
    if size_max is not None and size_of(claimed) > size_max:
        detail = f"the hub's own {name} are as of log size {size_of(claimed)}, and the log beside them is of {size_max}"
        audit.findings.append(Finding("figures-beyond-log", detail))
        return None
    return claimed


async def read_log(
    source: AuditSource,
    audit: LogAudit,
    *,
    trusted: VerifierKey | None = None,
    since: bytes | None = None,
    progress: Progress = no_progress,
) -> int:
    """The whole log into `audit`, from its entries to its tiles. The size that its checkpoint claims.

    Raises as `run_audit`.
    """
    note = await source.checkpoint()
    size = claimed_size(note)
    is_whole = await _read_entries(source, audit, size, progress)
    audit.close(note, trusted)
    if since is not None:
        audit.compare_earlier(since)
    if is_whole:
        await _check_hash_tiles(source, audit, size)
        _compare_description(await source.described(), audit, size)
    return size


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


async def _read_entries(source: AuditSource, audit: LogAudit, size: int, progress: Progress) -> bool:
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


def _compare_description(described: Mapping[str, Any] | None, audit: LogAudit, size: int) -> None:
    """That the log is the one that the export says it is; its key may have been followed by others since."""
    if described is None or not audit.roster.has_genesis:
        return
    fits = {
        "origin": described.get("origin") == audit.roster.origin,
        "vkey": described.get("vkey") in [vkey.format() for vkey in audit.roster.vkeys],
        "size": type(described.get("size")) is int and described["size"] == size,
    }
    wrong = [name for name, is_right in fits.items() if not is_right]
    if wrong:
        detail = "hub.json speaks of another log than the one beside it: " + ", ".join(wrong)
        audit.findings.append(Finding("wrong-description", detail))
