"""What an auditor makes of the scene: an export, and from it alone the owner, every verdict, total and deadline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node.audit.command import read_log, run_audit
from node.audit.deadlines import audit_deadlines
from node.audit.source import open_directory
from node.deadlines.clocks import Clocks, due_words, follow
from node.deadlines.tables import Deadlines
from node.hub.export import export_log
from node.hub.http_deadlines import figures_of
from sync_protocol.audit import LogAudit
from sync_protocol.complaint_state import ComplaintState
from sync_protocol.ledger import FoldedLeaf, format_state_hash
from tests.edge.hub_lab import Lab

Due = tuple[str | None, str | None]
"""Until when, and what."""


@dataclass
class ComplaintBook:
    """One complaint as an auditor sees it: whose it was, and what was due, after each change that was applied."""

    complaint: str
    deadlines: Deadlines
    state: ComplaintState | None = None
    owners: list[str] = field(default_factory=list)
    due: dict[str, Due] = field(default_factory=dict)
    types: list[tuple[str, str]] = field(default_factory=list)
    _clocks: Clocks | None = None

    def note(self, folded: FoldedLeaf) -> None:
        """What a leaf of the log did to it."""
        for verdict, change, after in zip(folded.verdicts, folded.changes, folded.states, strict=False):
            if verdict or change is None or after is None or change.complaint != self.complaint:
                continue
            self._clocks = follow(self._clocks, change)
            self.state = after
            self.owners.append(after.owner)
            self.types.append((str(folded.agency), change.type))
            due_at, duty, _ = due_words(self.deadlines.slot(after, self._clocks), 0)
            self.due[change.id] = (due_at, duty)


@dataclass(frozen=True)
class Audited:
    """The reports of `simpul audit` and `simpul audit deadlines`, and the complaint's own book."""

    report: Mapping[str, Any]
    deadlines: Mapping[str, Any]
    book: ComplaintBook


async def audit(lab: Lab, out: Path, complaint: str, deadlines: Deadlines) -> Audited:
    """Exports the log into an empty folder, and audits that."""
    await _export(lab, out)
    source = open_directory(out)
    report = await run_audit(source, trusted=lab.vkey)
    figures = await audit_deadlines(source, deadlines, trusted=lab.vkey)
    book = ComplaintBook(complaint, deadlines)
    own = LogAudit(on_folded=book.note)
    await read_log(source, own, trusted=lab.vkey)
    return Audited(report, figures, book)


async def _export(lab: Lab, out: Path) -> None:
    hub = lab.hub
    async with hub.projector.settled() as cursor:
        claims = {
            "origin": hub.log.roster.origin,
            "vkey": lab.vkey.format(),
            "projected_to": cursor.size,
            "state_hash": format_state_hash(cursor.state_hash),
            "totals": (await hub.projection.totals())[1],
        }
        figures = await figures_of(hub, sorted(str(one.agency) for one in hub.log.roster.agencies))
    published = await hub.store.checkpoint_of(cursor.size) or hub.log.published
    await export_log(
        hub.store,
        size=published.size,
        note=published.note,
        description=claims,
        out=out,
        with_content=False,
        deadlines=figures,
    )
