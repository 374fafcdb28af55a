"""The audit of an export with hidden contents, on one core, as an auditor runs it by default."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from node.audit.command import run_audit
from node.audit.source import open_directory
from sync_protocol.note import VerifierKey
from tests.bench.hub_bench import CHANGES_A_SET, ORIGIN, enrol_all, invite_all, push_all
from tests.bench.hub_process import ServingProcess, simpul


@dataclass
class AuditFigures:
    """Changes a second, median; disk bytes a change of the hub's two databases."""

    audited_per_s: float
    changes: int
    disk_bytes: float


async def bench_audit(*, rounds: int, sets: int) -> AuditFigures:
    """`sets` sets for each agency are pushed, projected, exported; then audited `rounds` times."""
    with tempfile.TemporaryDirectory(prefix="simpul-bench-") as folder:
        directory, out = Path(folder) / "hub", Path(folder) / "export"
        vkey = str(simpul("hub", "init", str(directory), "--origin", ORIGIN)["vkey"])
        tokens = await invite_all(directory)
        hub = ServingProcess.start(directory)
        try:
            agencies = await enrol_all(hub.url, vkey, tokens)
            bodies = [[(agency.seq + 1, agency.sign_set(CHANGES_A_SET)) for _ in range(sets)] for agency in agencies]
            await push_all(hub.url, agencies, bodies)
        finally:
            hub.stop()
        await asyncio.to_thread(simpul, "hub", "export", str(directory), str(out))
        disk = sum(path.stat().st_size for path in directory.glob("*.db*"))
        return await _audit(out, vkey, rounds, disk)


async def _audit(out: Path, vkey: str, rounds: int, disk: int) -> AuditFigures:
    rates = []
    changes = 0
    for _ in range(rounds):
        begun = time.process_time()
        report = await run_audit(open_directory(out), trusted=VerifierKey.parse(vkey))
        assert report["ok"], report["findings"]
        assert report["complete"]
        changes = int(report["changes"])
        rates.append(changes / (time.process_time() - begun))
    return AuditFigures(median(rates), changes, disk / changes)
