"""A local node at rest: enrolled, serving, nothing to do."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.bench.hub_bench import ORIGIN
from tests.bench.hub_process import ServingProcess, simpul

SETTLE_S = 5.0


async def idle_node_mib() -> float:
    """Resident memory of `simpul node serve` five seconds after its first heartbeat went out."""
    with tempfile.TemporaryDirectory(prefix="simpul-bench-") as folder:
        directory = Path(folder) / "hub"
        vkey = str(simpul("hub", "init", str(directory), "--origin", ORIGIN)["vkey"])
        hub = ServingProcess.start(directory)
        try:
            token = str(simpul("hub", "invite", str(directory), "33.75")["token"])
            home = Path(folder) / "node"
            words = ("--hub", hub.url, "--vkey", vkey, "--agency", "33.75", "--token", token)
            simpul("node", "enrol", str(home), *words)
            node = ServingProcess.start(home, role="node")
            try:
                await asyncio.sleep(SETTLE_S)
                return node.resident_mib()
            finally:
                node.stop()
        finally:
            hub.stop()
