"""The national bench's figures as one table for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

Cell = Callable[[dict[str, Any]], str]


def _spread(name: str) -> Cell:
    return lambda found: f"{found[name]['p50']:,.0f} / {found[name]['p99']:,.0f} ms" if name in found else ""


def _number(name: str, form: str = ",.0f") -> Cell:
    return lambda found: f"{found[name]:{form}}" if name in found else ""


def _inner(name: str, part: str, form: str = ",.1f") -> Cell:
    return lambda found: f"{found[name][part]:{form}}" if name in found else ""


ROWS: tuple[tuple[str, Cell], ...] = (
    ("changes", _number("changes")),
    ("change sets", _number("change_sets")),
    ("until the last receipt, s", _number("seconds", ",.1f")),
    ("until all visible, s", _number("all_visible_s", ",.1f")),
    ("changes/s", _number("changes_per_s")),
    ("change sets/s", _number("sets_per_s")),
    ("commit → receipt, p50 / p99", _spread("receipt_ms")),
    ("commit → visible, p50 / p99", _spread("visible_ms")),
    ("timetable kept to, s late at most", _number("timetable_late_s", ".2f")),
    ("slowest node ÷ median", _number("slowest_vs_median", ".2f")),
    ("bytes a change, sent", _inner("wire_bytes_a_change", "sent", ",.0f")),
    ("bytes a change, received", _inner("wire_bytes_a_change", "received", ",.0f")),
    ("CPU of the hub, s", _inner("cpu_s", "hub")),
    ("CPU of PostgreSQL, s", _inner("cpu_s", "postgresql")),
    ("CPU of the nodes, s", _inner("cpu_s", "nodes")),
    ("hub resident, MiB", _number("hub_mib")),
    ("hub resident at most so far, MiB", _number("hub_peak_mib")),
    ("PostgreSQL (proportional), MiB", _number("postgresql_mib")),
    ("all nodes resident, MiB", _number("nodes_mib")),
    ("threads of the nodes", _number("nodes_threads")),
)


def show(document: dict[str, Any]) -> None:
    """On stdout."""
    phases = {name: found for name, found in document["phases"].items() if name != "opening"}
    options, opening = document["options"], document["phases"]["opening"]
    title = f"{opening['nodes']} nodes, hub on {options['database']}, {options['processes']} process(es)"
    table = Table("", *phases, title=f"{title}\n{document['machine']}")
    for words, cell in ROWS:
        cells = [cell(found) for found in phases.values()]
        if any(cells):
            table.add_row(words, *cells)
    console = Console()
    console.print(table)
    audit = document["audit"]
    verdict = "exact" if audit["exact"] else "NOT EXACT"
    console.print(
        f"enrolled in {opening['enrolled_s']:.0f} s, all heard once after {opening['all_heard_s']:.0f} s more"
    )
    console.print(f"audit: {verdict}; recorded {audit['counts']['recorded']}, audited {audit['counts']['audited']}")
    if not audit["exact"]:
        console.print(audit.get("findings"), audit.get("stderr", ""))
