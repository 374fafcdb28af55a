"""`make bench-national`: one hub and a whole country's local nodes on this machine (docs/performance.md).

Every node is the program's own code with its own directory, database and key, enrolled for real; it reaches the hub by
HTTP over loopback. Left out are TLS, the nodes' own intake over HTTP (changes are recorded at the service behind it),
and the network between. Nodes share processes, and all share the cores with the hub: what a node costs is in every
figure.

Phases: `rest` (what idle nodes cost), `waiting` (the same while each waits in its inbox, as it does from then on),
`steady` (each commits a change every few seconds), `storm` (the hub was away, all come back at once), `year` (a city's
real year at every node, as fast as it goes). An audit of the hub ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from node.directory import load_directory
from tests.bench.machine import leaf_hash_us, machine, note
from tests.bench.national_country import Country
from tests.bench.national_hub import NationalHub
from tests.bench.national_table import show
from tests.postgres import fresh_database, running_server

COUNTRY = 727  # 34 ministries, 145 agencies, 34 provinces, 416 regencies, 98 cities: what was connected in 2019
PHASES = ("rest", "waiting", "steady", "storm", "year")


def agencies(count: int) -> list[str]:
    """The directory's regions and ministries, filled up with slugs of agencies that do not exist."""
    known = [str(code) for code in load_directory()]
    return [*known, *(f"lembaga-{number:03d}" for number in range(max(0, count - len(known))))][:count]


@contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[str | None, int | None]]:
    """The hub's database URL, None for SQLite, and the process id of its server if it is ours."""
    if kind == "sqlite":
        yield None, None
        return
    with running_server(folder / "postgres") as server, fresh_database(server) as url:
        pids = list(folder.glob("postgres/**/postmaster.pid"))
        pid = int(pids[0].read_text().splitlines()[0]) if pids else None
        yield url.render_as_string(hide_password=False), pid


async def measure(
    chosen: argparse.Namespace, folder: Path, url: str | None, postgres_pid: int | None
) -> dict[str, Any]:
    """All chosen phases, then the audit."""
    hub = NationalHub(folder / "hub", processes=chosen.processes, postgres_pid=postgres_pid)
    country = Country(hub, folder, agencies(chosen.nodes), workers=chosen.workers)
    phases: dict[str, Any] = {}
    try:
        note(f"founding, inviting and enrolling {chosen.nodes} nodes")
        phases["opening"] = await country.open(url)
        for name in chosen.phases:
            note(name)
            phases[name] = await country.phase(name, chosen)
            note(json.dumps(phases[name]))  # what an interrupted run found stays to be read
        note("closing the nodes, then exporting and auditing")
        return {"phases": phases, "audit": await country.close()}
    finally:
        hub.kill()
        await country.end()


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench-national", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--nodes", type=int, default=COUNTRY)
    parser.add_argument("--workers", type=int, default=2, help="processes that the nodes share")
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--processes", type=int, default=1, help="of the hub")
    parser.add_argument("--phases", type=lambda text: text.split(","), default=list(PHASES), help=",".join(PHASES))
    parser.add_argument("--seconds", type=float, default=60.0, help="of the steady phase")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between a node's changes in it")
    parser.add_argument("--changes", type=int, default=1_000, help="held by each node when the storm begins")
    parser.add_argument("--batch", type=int, default=100, help="of them recorded in one transaction")
    parser.add_argument("--days", type=int, default=366, help="of the year")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    chosen = parser.parse_args(words)
    unknown = set(chosen.phases) - set(PHASES)
    if unknown:
        parser.error(f"no such phase: {', '.join(sorted(unknown))}")
    return chosen


def main() -> int:
    """Entry point; 1 if the audit finds anything but exactly what was recorded."""
    chosen = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything is stopped and removed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # some ten files a node
    note(f"{machine()}; open files {soft} → {hard}")
    begun, speed_before = time.monotonic(), leaf_hash_us()
    with ExitStack() as stack:
        if chosen.keep:
            chosen.keep.mkdir(parents=True, exist_ok=True)
            folder = chosen.keep.absolute()
        else:
            folder = Path(tempfile.mkdtemp(prefix="simpul-national-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        url, pid = stack.enter_context(database(chosen.database, folder))
        found = asyncio.run(measure(chosen, folder, url, pid))
    options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(chosen).items()}
    speeds = [round(speed_before, 2), round(leaf_hash_us(), 2)]
    document = {"machine": machine(), "leaf_hash_us": speeds, "options": options, **found}
    if chosen.json:
        print(json.dumps(document, indent=2))
    else:
        show(document)
    note(f"done in {time.monotonic() - begun:.0f} s")
    return 0 if found["audit"]["exact"] else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        note("interrupted; everything was stopped")
        sys.exit(130)
