"""Importing a file into a local node: idempotent by (source system, its number), repeatable after a crash at any point.

Rows go in by bunches, each bunch one transaction of the target; what a bunch recorded is known by its numbers the next
time. Nothing about the progress is stored beside the complaints themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from node.local.arrival import is_ahead
from node.local.importers.detect import ImportFile, open_import
from node.local.importers.rows import LISTED_REFUSALS_MAX, ImportedRow, RefusedRow, Row, SourceKey, refused_row
from node.local.importers.sp4n import AreaOf
from node.ports import Clock

BUNCH_ROWS: Final = 500  # a commit's cost is spread, and other callers of the node wait a moment only


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What became of a bunch of rows: how many were recorded, how many were known already, and who was refused why."""

    imported: int
    already_there: int
    refused: Sequence[RefusedRow] = ()


class ImportTarget(Protocol):
    """Where rows go: the local node's service.

    `import_rows` records one `imported` change for each row whose source is not known yet, durably and all in one
    transaction; a row that cannot be recorded is refused by itself. It may be called again with the same rows for ever.
    `known_sources` tells which of the sources have a complaint already, and changes nothing.
    """

    async def import_rows(self, rows: Sequence[ImportedRow]) -> ImportOutcome:
        """Raises what the store raises (a full disk, a damaged file); then nothing of the bunch is recorded."""
        ...

    async def known_sources(self, sources: Collection[SourceKey]) -> set[SourceKey]:
        """The known ones among `sources`."""
        ...


@dataclass(slots=True)
class ImportTotals:
    """Totals so far; `refused` lists the first LISTED_REFUSALS_MAX, `refused_count` counts all; `fraction` is 0 … 1."""

    dry_run: bool = False
    read: int = 0
    imported: int = 0
    already_there: int = 0
    refused_count: int = 0
    refused: list[RefusedRow] = field(default_factory=list)
    fraction: float = 0.0

    def refuse(self, rows: Iterable[RefusedRow]) -> None:
        """Counts refused rows and lists them as long as there is room."""
        for row in rows:
            self.refused_count += 1
            if len(self.refused) < LISTED_REFUSALS_MAX:
                self.refused.append(row)

    def document(self) -> dict[str, object]:
        """The JSON document of `simpul node import`; of a dry run, what would have become of the rows."""
        listed = sorted(self.refused, key=lambda row: row.line)
        return {
            "read": self.read,
            "imported": self.imported,
            "already_there": self.already_there,
            "refused": [{"line": row.line, "reason": row.reason} for row in listed],
            "refused_count": self.refused_count,
            "dry_run": self.dry_run,
        }


Progress = Callable[[ImportTotals], None]


def _no_progress(_: ImportTotals) -> None:
    """For callers that do not watch."""


@dataclass(frozen=True, slots=True)
class ImportRun:
    """One import of one file. `zone` and `clock` are the agency's own; `area_of` finds an area code by names."""

    target: ImportTarget
    zone: tzinfo
    area_of: AreaOf
    clock: Clock
    progress: Progress = _no_progress

    async def run(
        self, path: Path, *, format_name: str | None = None, map_file: Path | None = None, dry_run: bool = False
    ) -> ImportTotals:
        """Reads the whole file and records what is new in it. A dry run judges every row and records nothing.

        Raises Refused(configuration) for a file, header or map of no use, before anything is recorded.
        """
        totals = ImportTotals(dry_run=dry_run)
        with open_import(
            path, zone=self.zone, area_of=self.area_of, format_name=format_name, map_file=map_file
        ) as file:
            recorder = _DryRun(self.target) if dry_run else self.target
            while bunch := await asyncio.to_thread(_take, file.rows):
                await self._bunch(bunch, recorder, totals, file)
        totals.fraction = 1.0
        self.progress(totals)
        return totals

    async def _bunch(
        self, bunch: Sequence[Row], recorder: ImportTarget, totals: ImportTotals, file: ImportFile
    ) -> None:
        now_ms = self.clock.now_ms()
        judged = [_not_ahead(row, now_ms) for row in bunch]
        rows = [row for row in judged if isinstance(row, ImportedRow)]
        totals.refuse(row for row in judged if isinstance(row, RefusedRow))
        if rows:
            outcome = await recorder.import_rows(rows)
            totals.imported += outcome.imported
            totals.already_there += outcome.already_there
            totals.refuse(outcome.refused)
        totals.read += len(bunch)
        totals.fraction = file.fraction_read()
        self.progress(totals)


class Comparison:
    """A target that records nothing and notes whose number is not here: what is only in the old system."""

    def __init__(self, target: ImportTarget) -> None:
        self._target = target
        self.missing: list[SourceKey] = []
        self.count = 0

    async def import_rows(self, rows: Sequence[ImportedRow]) -> ImportOutcome:
        sources = list(dict.fromkeys(row.source for row in rows))
        known = await self._target.known_sources(sources)
        missing = [source for source in sources if source not in known]
        self.count += len(missing)
        self.missing += missing[: LISTED_REFUSALS_MAX - len(self.missing)]
        return ImportOutcome(imported=0, already_there=len(rows) - len(missing))

    async def known_sources(self, sources: Collection[SourceKey]) -> set[SourceKey]:
        return await self._target.known_sources(sources)


class _DryRun:
    """Counts what the target would do, and touches nothing."""

    def __init__(self, target: ImportTarget) -> None:
        self._target = target
        self._seen: set[SourceKey] = set()

    async def import_rows(self, rows: Sequence[ImportedRow]) -> ImportOutcome:
        sources = [row.source for row in rows]
        known = await self._target.known_sources(sources) | self._seen
        fresh = {source for source in sources if source not in known}
        self._seen |= fresh
        return ImportOutcome(imported=len(fresh), already_there=len(rows) - len(fresh))

    async def known_sources(self, sources: Collection[SourceKey]) -> set[SourceKey]:
        return await self._target.known_sources(sources) | self._seen & set(sources)


def _not_ahead(row: Row, now_ms: int) -> Row:
    """The row, or why not: a date still to come is a slip, and in no figure of deadlines until that day."""
    if isinstance(row, ImportedRow):
        for name in ("received_at", "closed_at"):
            moment = row.data.get(name)
            if isinstance(moment, str) and is_ahead(moment, now_ms):
                return refused_row(row.line, f"{name} {moment} lies more than a day ahead of this node's clock")
    return row


def _take(rows: Iterator[Row]) -> list[Row]:
    """The next bunch; runs in a thread, because parsing a workbook takes a while and the node may be serving."""
    return list(islice(rows, BUNCH_ROWS))
