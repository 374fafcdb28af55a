"""The bench's figures for people: one table of systems beside each other, one of claims."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.contest import middle
from tests.bench.machine import machine
from tests.bench.systems import PEER, System

WIDTH_MIN = 150  # where the output is no terminal, a narrow one would break every line


@dataclass(frozen=True)
class Claim:
    """A target, and what was found: None if it was not. `at_least` False: the figure is to stay below."""

    what: str
    unit: str
    target: float
    found: float | None
    at_least: bool = True

    @property
    def ratio(self) -> float | None:
        """1 or more is well."""
        if self.found is None:
            return None
        return self.found / self.target if self.at_least else self.target / self.found

    def document(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "what": self.what,
            "unit": self.unit,
            "target": self.target,
            "found": self.found,
            "ratio": self.ratio,
        }


def console() -> Console:
    """For stdout."""
    return Console(width=max(shutil.get_terminal_size().columns, WIDTH_MIN))


def systems_table(systems: list[System], ratios: dict[str, dict[str, Any]]) -> Table:
    """Medians of the warm rounds, changes a second; × is to PostgreSQL logical replication in the same run."""
    table = Table(
        "system", "accepted/s", "×", "visible/s", "×", "fresh: accepted, visible", "CPU µs", "bytes", "leaf µs", "lacks"
    )
    table.title = f"changes a second beside the peers · {machine()}"
    for system in systems:
        said = system.document()
        ratio = ratios.get(system.key, {})
        if reason := system.absent or system.failure:
            table.add_row(system.name, f"[yellow]{reason}" if system.absent else f"[red]FAILED: {reason}")
            if not (said["accepted_per_s"] or said["visible_per_s"]):
                continue
        table.add_row(
            system.name,
            number(said["accepted_per_s"]),
            times(ratio.get("accepted_vs_pg_logical"), is_peer=system.key == PEER),
            number(said["visible_per_s"]),
            times(ratio.get("visible_vs_pg_logical"), is_peer=system.key == PEER),
            ", ".join(number(said["fresh"][what]) for what in ("accepted_per_s", "visible_per_s")),
            ", ".join(number(rate, 1) for rate in dict.fromkeys(said["cpu_us_a_change"].values())),
            number(said["wire_bytes"]),
            number(middle([each.leaf_hash_us for lane in system.lanes for each in lane.rounds]), 2),
            system.lacks,
        )
    return table


def claims_table(claims: list[Claim]) -> Table:
    """What was promised, and what was found."""
    table = Table("what", "found", "target", "unit", "ratio", title=machine())
    for claim in claims:
        sign = "≥" if claim.at_least else "≤"
        digits = 0 if claim.target >= 10 else 2
        style = "green" if (claim.ratio or 0) >= 1 else "red"
        target = f"{sign} {number(claim.target, digits)}"
        table.add_row(
            claim.what, number(claim.found, digits), target, claim.unit, f"[{style}]{number(claim.ratio, 2)}[/]"
        )
    return table


def number(value: float | None, digits: int = 0) -> str:
    """With thousands set apart; a dash for what was not measured."""
    return "–" if value is None else f"{value:,.{digits}f}"


def times(value: float | None, *, is_peer: bool = False) -> str:
    """A ratio."""
    return "1" if is_peer else number(value, 2)
