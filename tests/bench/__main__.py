"""`make bench`: the measured claims, and ours beside what people would use instead, in one run (docs/performance.md).

Two tables, or with `--json` one document alone on stdout. `--quick` takes a few minutes and is only good for comparing.
A part that fails is reported with its reason, ends no other and makes the exit code 1; a missed claim does not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.bench.audit_bench import AuditFigures, bench_audit
from tests.bench.contest import Lane, hold, middle, reason
from tests.bench.hub_bench import AGENCY_CODES, CHANGES_A_SET
from tests.bench.idle_bench import idle_node_mib
from tests.bench.load import Drawing, check_load
from tests.bench.machine import leaf_hash_us, machine, note
from tests.bench.node_bench import NodeFigures, bench_node
from tests.bench.refill import CHANGES, TARGET_S, RefillFigures, bench_refill
from tests.bench.systems import PEER, System, logical_replication, nats, ours, ratios
from tests.bench.tables import Claim, claims_table, console, systems_table

__all__ = ["leaf_hash_us", "machine", "main", "note"]

T = TypeVar("T")
PART_LIMIT_S = 240.0  # a part takes a minute; the whole run is to end within twenty


@dataclass
class Run:
    """What one run found. A part that failed left nothing but its reason."""

    systems: list[System]
    fresh_peers: list[Lane] = field(default_factory=list)
    node: NodeFigures | None = None
    audit: AuditFigures | None = None
    idle_mib: float | None = None
    refills: list[RefillFigures] | None = None
    leaf_hash_us: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    async def part(self, name: str, work: Coroutine[Any, Any, T]) -> T | None:
        """One of the parts that stand alone."""
        note(name)
        self.leaf_hash_us[name] = round(leaf_hash_us(), 2)
        try:
            async with asyncio.timeout(PART_LIMIT_S):
                return await work
        except Exception as error:  # noqa: BLE001 - whatever it is, the other parts go on
            self.failed[name] = reason(error)
            note(f"{name} FAILED: {self.failed[name]}")
            return None


async def measure(folder: Path, chosen: argparse.Namespace) -> Run:
    """Every part in one run."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _own_task().cancel)  # as Ctrl-C: everything is ended
    rounds, sets = (2, 3) if chosen.quick else (5, 8)
    run = Run([*ours(folder, processes=chosen.processes), logical_replication(folder), *nats(folder)])
    if not chosen.peers:
        run.systems = [system for system in run.systems if system.key in ("sqlite", "postgresql", PEER)]
    drawing = Drawing(AGENCY_CODES, sets, CHANGES_A_SET)
    held = await hold([lane for system in run.systems for lane in system.lanes], drawing, rounds=rounds)
    if held < rounds:
        run.failed["the comparison"] = f"{held} of {rounds} warm rounds in the time there is: the machine is too busy"
    for number in range(0 if chosen.quick else 2):  # with the contest's own first round, three fresh pairs of clusters
        run.fresh_peers += logical_replication(folder, f"l{number}").lanes
        await hold(run.fresh_peers[-1:], drawing, rounds=0)
    run.failed |= {lane.key: lane.failure for lane in _lanes(run) if lane.failure}
    run.leaf_hash_us |= {lane.key: round(middle([e.leaf_hash_us for e in lane.rounds]) or 0, 2) for lane in _lanes(run)}
    node = bench_node(rounds=rounds, complaints=2_000 if chosen.quick else 8_000, sets=10 if chosen.quick else 40)
    run.node = await run.part("the local node", node)
    run.audit = await run.part("the audit", bench_audit(rounds=rounds, sets=sets))
    run.idle_mib = await run.part("memory at rest", idle_node_mib())
    refilled = bench_refill(changes=CHANGES // 5 if chosen.quick else CHANGES)
    run.refills = await run.part("an empty disk refilled", refilled)
    return run


def _own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task
    return task


def _lanes(run: Run) -> list[Lane]:
    return [lane for system in run.systems for lane in system.lanes] + run.fresh_peers


def claims(run: Run) -> list[Claim]:
    """The targets of both milestones, and what was found."""
    sqlite, found = run.systems[0], ratios(run.systems)
    on_postgres = found["postgresql"]
    accepting, projecting = sqlite.accepting, sqlite.projecting
    return [
        Claim("accepted durably, projector paused", "changes/s", 120_000, middle(sqlite.accepted)),
        Claim("accepted and projected", "changes/s", 50_000, middle(sqlite.visible)),
        Claim(
            "node: single complaints, 32 callers", "complaints/s", 800, run.node.recorded_per_s if run.node else None
        ),
        Claim("node: cut, signed, stored", "changes/s", 120_000, run.node.cut_per_s if run.node else None),
        Claim("audit, one core", "changes/s", 120_000, run.audit.audited_per_s if run.audit else None),
        Claim("on the wire, sets of 1,000", "bytes/change", 200, accepting.fact("wire_bytes"), at_least=False),
        Claim("idle local node, resident", "MiB", 120, run.idle_mib, at_least=False),
        Claim("idle hub, resident", "MiB", 140, accepting.fact("idle_mib"), at_least=False),
        Claim("hub under load, resident at most", "MiB", 400, projecting.fact("peak_mib"), at_least=False),
        *(
            Claim(f"refill: {one.changes} changes in {one.sets} sets", "s", TARGET_S, one.seconds, at_least=False)
            for one in run.refills or ()
        ),
        Claim("PostgreSQL: accepted ÷ logical replication", "×", 1.5, on_postgres["accepted_vs_pg_logical"]),
        Claim("PostgreSQL: visible ÷ logical replication", "×", 0.6, on_postgres["visible_vs_pg_logical"]),
    ]


def document(run: Run) -> dict[str, Any]:
    """What `--json` prints."""
    systems = {system.key: system.document() for system in run.systems}
    fresh = [lane.rounds[0].accepted_per_s for lane in run.fresh_peers if lane.rounds]
    first = systems[PEER]["fresh"]["accepted_per_s"]
    sqlite, projecting = systems["sqlite"], run.systems[0].projecting
    return {
        "machine": machine(),
        "claims": [claim.document() for claim in claims(run)],
        "ratios": ratios(run.systems),
        "systems": systems,
        "pg_logical_fresh_per_s": [round(rate) for rate in (first, *fresh) if rate is not None],
        "bytes_a_pair": check_load(),
        "refills": [asdict(one) for one in run.refills or ()],
        "leaf_hash_us": run.leaf_hash_us,
        "hub_cpu_us_a_change": sqlite["cpu_us_a_change"],
        "rounds": {
            "accepted_per_s": sqlite["rounds"]["accepted_per_s"],
            "projected_per_s": sqlite["rounds"]["visible_per_s"],
        },
        "hub_mib": {
            "after_first_round": projecting.fact("resident_mib", of_first=True),
            "peak": projecting.fact("peak_mib"),
        },
        "audited_changes": run.audit and run.audit.changes,
        "disk_bytes_a_change": run.audit and run.audit.disk_bytes,
        "failed": run.failed,
        "absent": {system.key: system.absent for system in run.systems if system.absent},
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--processes", type=int, default=2, help="of a hub on PostgreSQL, beside one (default: 2)")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="logical replication alone beside ours")
    return parser.parse_args()


def main() -> int:
    """Entry point; the exit code."""
    chosen = _arguments()
    begun = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="simpul-bench-", ignore_cleanup_errors=True) as folder:
            run = asyncio.run(measure(Path(folder), chosen))
    except (KeyboardInterrupt, asyncio.CancelledError):
        note("interrupted")
        return 130
    found = document(run)
    found["seconds"] = round(time.perf_counter() - begun)
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        out = console()
        out.print(systems_table(run.systems, found["ratios"]))
        out.print(claims_table(claims(run)))
        print(json.dumps({name: found[name] for name in found if name not in ("claims", "machine")}, indent=2))
    for name, why in run.failed.items():
        note(f"{name} FAILED: {why}")
    note(f"done in {found['seconds']} s")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
