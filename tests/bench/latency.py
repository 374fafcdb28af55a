"""How long one change takes: `python -m tests.bench.latency` (issue 3, done when 2).

Ten local nodes commit single changes, 300 a second together, against `simpul hub serve` with default settings on
PostgreSQL, everything the program's own. commit → receipt ends when the receipt is durable at the node; commit →
visible when the projection's cursor stands behind the change, which is looked up in the database every few
milliseconds. Nodes, hub, PostgreSQL and the one who looks share this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg
from sqlalchemy.engine import make_url

from tests.bench.national import agencies, database
from tests.bench.national_country import Country
from tests.bench.national_hub import NationalHub, Watched
from tests.bench.national_measures import cpu_s
from tests.postgres import driver_dsn

LOOK_S: Final = 0.005
_CURSOR: Final = "SELECT size FROM simpul_projection.cursor"


class LatencyHub(NationalHub):
    """Looks at the projection's cursor itself, so that looking costs the hub nothing."""

    database_url: str | None = None

    async def found(self, database_url: str | None, agencies: list[str]) -> list[str]:
        self.database_url = database_url
        return await super().found(database_url, agencies)

    async def watch(self, seen: Watched) -> None:
        """Until cancelled; as the one it replaces."""
        assert self.database_url is not None
        hub_before, postgres_before = cpu_s(self.pids()), cpu_s(self._postgres())
        connection = await asyncpg.connect(driver_dsn(make_url(self.database_url)))
        try:
            while True:
                size = await connection.fetchval(_CURSOR)
                seen.sizes.append((time.monotonic(), max(size or 0, seen.sizes[-1][1] if seen.sizes else 0)))
                await asyncio.sleep(LOOK_S)
        finally:
            connection.terminate()
            self._weigh(seen)
            seen.hub_cpu_s = cpu_s(self.pids()) - hub_before
            seen.postgres_cpu_s = cpu_s(self._postgres()) - postgres_before


async def measure(chosen: argparse.Namespace, folder: Path, url: str, postgres_pid: int | None) -> dict[str, Any]:
    """The figures of the steady phase."""
    hub = LatencyHub(folder / "hub", processes=chosen.processes, postgres_pid=postgres_pid)
    country = Country(hub, folder, agencies(chosen.nodes), workers=chosen.workers)
    try:
        await country.open(url)
        steady = argparse.Namespace(seconds=chosen.seconds, every=chosen.nodes / chosen.rate)
        await country.phase("steady", argparse.Namespace(seconds=3.0, every=steady.every))  # warm
        return await country.phase("steady", steady)
    finally:
        hub.kill()
        await country.end()


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=300.0, help="changes a second, of all nodes together")
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1, help="processes that the nodes share")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=1, help="of the hub")
    return parser.parse_args(words)


def main() -> None:
    """The figures as JSON on stdout."""
    chosen = parse()
    folder = Path(tempfile.mkdtemp(prefix="simpul-latency-"))
    try:
        with database("postgresql", folder) as (url, pid):
            assert url is not None
            found = asyncio.run(measure(chosen, folder, url, pid))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    json.dump({"options": vars(chosen), **found}, sys.stdout, indent=2, default=str)


if __name__ == "__main__":
    main()
