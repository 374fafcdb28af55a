"""`simpul audit deadlines`: how many duties were done in time, from the log and the tables alone (docs/deadlines.md).

The whole audit runs beside it: figures are worth what the log is worth. Nothing of the hub's is used; what it says of
itself is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from node.audit.command import claims_of, read_log, report
from node.audit.source import AuditSource
from node.deadlines.clocks import Clocks, Duty, due_words, follow
from node.deadlines.duties import ended, last_hour, running
from node.deadlines.outages import Outages
from node.deadlines.report import AgencyFigures, Tables, agency_figures, hub_absences, unreachable
from node.deadlines.slot import due_of, slots_due
from node.deadlines.tables import Deadlines
from node.ports import Progress, no_progress
from sync_protocol.audit import LogAudit
from sync_protocol.complaint import ComplaintState
from sync_protocol.errors import Refused
from sync_protocol.findings import Finding
from sync_protocol.ledger import FoldedLeaf
from sync_protocol.note import VerifierKey
from sync_protocol.roster import Roster
from sync_protocol.statement import Rules
from sync_protocol.values import b64u_encode, format_timestamp

OVERDUE_MAX: Final = 1_000  # complaints named, the longest overdue; the counts are of all


@dataclass(slots=True)
class DutyBook:
    """What one pass over a log says of duties. `note` is handed every leaf, in order."""

    deadlines: Deadlines
    roster: Roster
    outages: Outages = field(default_factory=Outages)
    clocks: dict[str, Clocks] = field(default_factory=dict)
    births: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def note(self, folded: FoldedLeaf) -> None:
        """What a leaf ended and began."""
        self.outages.follow(folded, self.roster)
        before = dict(folded.touched)
        applied = zip(folded.verdicts, folded.changes, folded.states, strict=False)  # no states: none was applied
        for position, (verdict, change, after) in enumerate(applied):
            if verdict or change is None or after is None:
                continue
            name = change.complaint
            was = before.get(name)
            if was is None:
                self.births[name] = folded.index << 16 | position
            else:
                ends = self.deadlines.ends(was, self.clocks[name])
                self.counts.update(() if ends is None else ended(self.outages, was, self.clocks[name], ends, change))
            self.clocks[name] = follow(self.clocks.get(name), change)
            before[name] = after

    def named(self, complaints: Mapping[str, ComplaintState]) -> Counter[str]:
        """What ended, and what runs on the complaints as they are now: counts by name."""
        counts = self.counts.copy()
        for name, complaint in complaints.items():
            counts.update(running(complaint, self.deadlines.ends(complaint, self.clocks[name])))
        return counts

    def figures(self, audit: LogAudit) -> dict[str, AgencyFigures]:
        """By agency, as of the newest tick."""
        hour = last_hour(self.outages.newest_ms or None)
        counts = self.named(audit.ledger.complaints)
        named = [(name.split("/"), count) for name, count in counts.items()]
        rows = [(agency, key, at <= hour, count) for (_, agency, key, at), count in named]
        agencies = [str(record.agency) for record in self.roster.agencies]
        return agency_figures(rows, agencies, self.outages, audit.ledger.last_heard)

    def overdue(self, audit: LogAudit) -> Iterator[dict[str, Any]]:
        """Every complaint whose limit has passed, the longest overdue first; but what closes by itself."""
        last, newest_ms = slots_due("overdue", self.outages.newest_ms)[1], self.outages.newest_ms
        found = []
        for name, complaint in audit.ledger.complaints.items():
            slot = self.deadlines.slot(complaint, self.clocks[name])
            if slot <= last and slot & 3 != Duty.CLOSE:
                found.append((slot, self.births[name], name, complaint.owner))
        for slot, _, name, owner in sorted(found):
            due = due_of(slot)
            assert due is not None  # it would be behind `last`
            due_at, duty, _ = due_words(slot, newest_ms)
            spans = self.outages.node(owner, audit.ledger.last_heard.get(owner))
            away = unreachable(self.outages, spans, self.clocks[name], due)
            yield {
                "complaint": name,
                "agency": str(owner),
                "duty": duty,
                "due_at": due_at,
                "unreachable": msgspec.to_builtins(away),
            }


async def audit_deadlines(
    source: AuditSource, deadlines: Deadlines, *, trusted: VerifierKey | None = None, progress: Progress = no_progress
) -> dict[str, Any]:
    """The document of `simpul audit deadlines`.

    Raises Refused(other-tables) if these are not the tables of the rules in force at the log's end; else as an audit.
    """
    audit = LogAudit()
    book = DutyBook(deadlines, audit.roster)
    audit.on_folded = book.note
    size = await read_log(source, audit, trusted=trusted, progress=progress)
    check_tables(audit.roster.rules_at(audit.totals().size), deadlines)
    found: dict[str, Any] = {
        "tables": msgspec.to_builtins(Tables.of(deadlines.digests)),
        "tick": format_timestamp(book.outages.newest_ms) if book.outages.newest_ms else None,
    }
    if audit.complete:
        found |= {
            "hub": msgspec.to_builtins(hub_absences(book.outages)),
            "agencies": msgspec.to_builtins(book.figures(audit)),
        }
        told, size_max = source.claimed_deadlines(), None if source.may_grow else size
        claimed = await claims_of(audit, told, "figures of deadlines", lambda figures: int(figures["size"]), size_max)
        if claimed is not None:
            _compare(audit, claimed, found)
        overdue = list(book.overdue(audit))
        found |= {"overdue": overdue[:OVERDUE_MAX], "overdue_count": len(overdue)}
    whole = report(audit)
    kept = ("ok", "log", "state_hash", "complete", "findings", "unproven")
    return found | {name: whole[name] for name in kept}


def check_tables(rules: Rules | None, deadlines: Deadlines) -> None:
    """Raises Refused(other-tables) if the rules name other tables than these."""
    if rules is None:
        raise Refused("other-tables", "the log has no rules, and so no tables to measure with")
    named = {"deadlines.toml": rules.deadlines, "calendar.toml": rules.calendar}
    held = {"deadlines.toml": deadlines.digests.deadlines, "calendar.toml": deadlines.digests.calendar}
    for name, digest in named.items():
        if digest != held[name]:
            detail = f"the log's rules name another {name}: {b64u_encode(digest)}, here is {b64u_encode(held[name])}"
            step = "Use the version of the program whose tables the rules name, or hand these over: --tables FOLDER."
            raise Refused("other-tables", detail, where=name, members={"next": step})


def _compare(audit: LogAudit, claimed: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Hold the hub's figures against the audit's."""
    if claimed["size"] != audit.totals().size:
        audit.unproven.append(f"the hub's own figures of deadlines: they are as of log size {claimed['size']}")
    else:
        wrong = [name for name in ("tables", "tick", "hub") if claimed[name] != mine[name]]
        theirs, ours = claimed["agencies"], mine["agencies"]
        wrong += sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
        if wrong:
            detail = "the hub's figures of deadlines differ from the log's: " + ", ".join(wrong[:20])
            audit.findings.append(Finding("deadlines-mismatch", detail, None, None, None))
