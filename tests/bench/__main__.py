"""`make bench`: the measured claims, on SQLite, one process each, over real HTTP on loopback (docs/performance.md).

One table, or with `--json` one document alone on stdout. `--quick` takes a minute and is only good for comparing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sync_protocol.merkle import leaf_hashes
from tests.bench.audit_bench import bench_audit
from tests.bench.hub_bench import bench_acceptance
from tests.bench.idle_bench import idle_node_mib
from tests.bench.load import check_load
from tests.bench.node_bench import bench_node


@dataclass(frozen=True)
class Claim:
    """A target of the first milestone, and what was found. `at_least` False: the figure is to stay below."""

    what: str
    unit: str
    target: float
    found: float
    at_least: bool = True

    @property
    def ratio(self) -> float:
        """1 or more is well."""
        return self.found / self.target if self.at_least else self.target / self.found


def machine() -> str:
    """What the figures were measured on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return (
        f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, {platform.system()} {platform.release()}"
    )


def leaf_hash_us() -> float:
    """How fast the machine is right now: µs for one SHA-256 of a change line, as everything here needs them.

    Machines that are shared swing by a factor of two within a minute; a rate without this beside it says little.
    """
    lines = [number.to_bytes(4, "big") * 100 for number in range(20_000)]
    begun = time.perf_counter()
    leaf_hashes(lines)
    return (time.perf_counter() - begun) / len(lines) * 1e6


async def measure(*, quick: bool) -> tuple[list[Claim], dict[str, Any]]:
    """Every claim in one run."""
    rounds = 2 if quick else 5
    sets = 3 if quick else 8
    speeds: list[float] = []

    def begin(words: str) -> None:
        note(words)
        speeds.append(round(leaf_hash_us(), 2))

    begin("accepting, projector paused")
    accepted = await bench_acceptance(rounds=rounds, sets_a_round=sets, project=False)
    begin("accepting and projecting")
    projected = await bench_acceptance(rounds=rounds, sets_a_round=max(sets // 2, 2), project=True)
    begin("the local node")
    node = await bench_node(rounds=rounds, complaints=2_000 if quick else 8_000, sets=10 if quick else 40)
    begin("the audit")
    audit = await bench_audit(rounds=rounds, sets=sets)
    begin("memory at rest")
    idle_mib = await idle_node_mib()
    claims = [
        Claim("accepted durably, projector paused", "changes/s", 120_000, accepted.accepted_per_s),
        Claim("accepted and projected", "changes/s", 50_000, projected.accepted_per_s),
        Claim("node: single complaints, 32 callers", "complaints/s", 800, node.recorded_per_s),
        Claim("node: cut, signed, stored", "changes/s", 120_000, node.cut_per_s),
        Claim("audit, one core", "changes/s", 120_000, audit.audited_per_s),
        Claim("on the wire, sets of 1,000", "bytes/change", 200, accepted.wire_bytes, at_least=False),
        Claim("idle local node, resident", "MiB", 120, idle_mib, at_least=False),
        Claim("idle hub, resident", "MiB", 140, accepted.idle_mib, at_least=False),
        Claim("hub under load, resident at most", "MiB", 400, projected.peak_mib, at_least=False),
    ]
    more = {
        "bytes_a_pair": check_load(),
        "leaf_hash_us": speeds,
        "hub_cpu_us_a_change": {"accepting": accepted.hub_cpu_us, "with_projection": projected.hub_cpu_us},
        "rounds": {"accepted_per_s": accepted.rounds, "projected_per_s": projected.rounds},
        "hub_mib": {"after_first_round": projected.first_round_mib, "peak": projected.peak_mib},
        "audited_changes": audit.changes,
        "disk_bytes_a_change": audit.disk_bytes,
    }
    return claims, more


def note(words: str) -> None:
    """Progress, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {words} …", file=sys.stderr, flush=True)


def show(claims: list[Claim]) -> None:
    """The table for people."""
    table = Table("what", "found", "target", "unit", "ratio", title=machine())
    for claim in claims:
        sign = "≥" if claim.at_least else "≤"
        style = "green" if claim.ratio >= 1 else "red"
        row = (
            claim.what,
            f"{claim.found:,.0f}",
            f"{sign} {claim.target:,.0f}",
            claim.unit,
            f"[{style}]{claim.ratio:.2f}[/]",
        )
        table.add_row(*row)
    Console().print(table)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    chosen = parser.parse_args()
    begun = time.perf_counter()
    claims, more = asyncio.run(measure(quick=chosen.quick))
    if chosen.json:
        figures = [
            {"what": c.what, "unit": c.unit, "target": c.target, "found": c.found, "ratio": c.ratio} for c in claims
        ]
        print(json.dumps({"machine": machine(), "claims": figures, **more}, indent=2))
    else:
        show(claims)
        print(json.dumps(more, indent=2))
    note(f"done in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
