"""Wiring of the commands that work on a node beside its serving: files, inbox, closing, evidence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgspec

from node.local.api_answers import summary_of
from node.local.evidence import make_evidence
from node.local.import_service import Comparison, ImportRun, ImportTotals
from node.local.importers.areas import area_finder
from node.local.measuring import measure
from node.local.sweeper import sweep as sweep_once
from node.store.complaint_keys import complaint_of
from node.store.local_records import ComplaintFilter
from node.wiring.local import opened
from sync_protocol.errors import Refused
from sync_protocol.values import format_timestamp

SHOWN_MAX: Final = 200  # offers and refusals on one screen


async def import_file(
    directory: Path,
    file: Path,
    *,
    format_name: str | None,
    map_file: Path | None,
    dry_run: bool,
    progress: Callable[[ImportTotals], None],
) -> dict[str, Any]:
    """`simpul node import`."""
    async with opened(directory) as parts, parts.service() as service:
        run = ImportRun(service, parts.zone, area_finder(), parts.clock, progress)
        totals = await run.run(file, format_name=format_name, map_file=map_file, dry_run=dry_run)
        return totals.document()


async def compare_file(
    directory: Path,
    file: Path,
    *,
    format_name: str | None,
    map_file: Path | None,
    progress: Callable[[ImportTotals], None],
) -> dict[str, Any]:
    """`simpul node compare`."""
    async with opened(directory) as parts, parts.service() as service:
        comparison = Comparison(service)
        run = ImportRun(comparison, parts.zone, area_finder(), parts.clock, progress)
        totals = await run.run(file, format_name=format_name, map_file=map_file)
        return {
            "read": totals.read,
            "here": totals.already_there,
            "only_there_count": comparison.count,
            "only_there": [asdict(one) for one in comparison.missing],
            "unreadable": [{"line": row.line, "reason": row.reason} for row in totals.refused],
        }


async def sweep(directory: Path) -> dict[str, Any]:
    """`simpul node sweep`: what `serve` does by itself, once."""
    async with opened(directory) as parts, parts.service() as service:
        await measure(parts.store, parts.deadlines, str(parts.agency))
        closes = parts.settings.close_by_itself
        return {"closed": await sweep_once(parts.store, service, parts.clock) if closes else 0, "closes": closes}


async def read_inbox(directory: Path) -> dict[str, Any]:
    """`simpul node inbox`."""
    async with opened(directory) as parts:
        link = parts.link()
        try:
            told = await parts.inbox(link).drain()
        finally:
            await link.close()
        offered = await parts.store.complaints(ComplaintFilter(offered_to=str(parts.agency), limit=SHOWN_MAX))
        return {
            "told": told,
            "offered": [msgspec.to_builtins(summary_of(held, parts.clock.now_ms())) for held in offered],
            "refused": [
                {
                    "complaint": None if one.key is None else str(complaint_of(one.key)),
                    "change": one.change_id,
                    "verdict": one.verdict,
                    "at": format_timestamp(one.at_ms),
                }
                for one in await parts.store.refusals(SHOWN_MAX)
            ],
        }


async def write_excerpt(directory: Path, complaint: str, out: Path, *, with_content: bool) -> dict[str, Any]:
    """`simpul node receipt` and `excerpt`. Never overwrites a file."""
    async with opened(directory) as parts:
        data, evidence = await make_evidence(parts.store, complaint, with_content=with_content)
    try:
        await asyncio.to_thread(_write_new, out, data)
    except FileExistsError:
        step = "Choose another name."
        raise Refused("configuration", f"{out} exists already", members={"next": step}) from None
    return {"complaint": str(evidence.complaint), "lines": len(evidence.changes), "file": str(out)}


def _write_new(out: Path, data: bytes) -> None:
    with out.open("xb") as file:
        file.write(data)
