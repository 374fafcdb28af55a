"""`make bench-growth`: what a hub can do when its log holds 10⁵, 10⁶ and 10⁷ changes (docs/performance.md).

One log grows from size to size, on SQLite and then on PostgreSQL; at each size everything is measured anew. The changes
that make it grow are signed ahead and go the way of every set, over HTTP (growth_log.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from node.wiring import hub as hub_wiring
from sync_protocol.values import AgencyId
from tests.bench.growth_log import disk_bytes, grow, hear_all, measure_opened, measure_serving
from tests.bench.growth_queries import QUERIES, measure_queries
from tests.bench.growth_signers import Signers, enrol
from tests.bench.machine import leaf_hash_us, machine, note
from tests.bench.national import COUNTRY, agencies, database
from tests.bench.national_hub import NationalHub

SIZES = (100_000, 1_000_000, 10_000_000)
SAID_EVERY_S = 10.0
BYTES_A_CHANGE = 900  # on the disk while it grows: both planes, and write-ahead logs; more than was ever measured


async def measure(
    folder: Path, url: str | None, postgres_pid: int | None, sizes: list[int], chosen: argparse.Namespace
) -> dict[str, Any]:
    """One database: its figures by size."""
    hub = NationalHub(folder / "hub", processes=1, postgres_pid=postgres_pid)
    signers: Signers | None = None
    found: dict[str, Any] = {}
    try:
        await hub.found(url, [])
        async with hub_wiring.opened(hub.directory) as opened:
            enrolled = [await enrol(opened, AgencyId.parse(code)) for code in agencies(chosen.agencies)]
        signers = Signers(enrolled, chosen.signers)
        held = await hear_all(hub, signers)
        for size in sizes:
            note(f"growing to {size:,}")
            begun = time.perf_counter()
            grown = await grow(hub, signers, size - held, _said(held)) if size > held else 0
            seconds = time.perf_counter() - begun
            held += grown
            note(f"measuring at {held:,}")
            serving = await measure_serving(hub, signers, chosen.rounds)
            opened_found = await measure_opened(hub.directory, serving["backlog"])
            queries = await measure_queries(hub, signers.agencies[0])
            held += serving["backlog"]
            disk = await disk_bytes(hub.directory, url)
            more = {"changes": held, "disk_bytes_a_change": disk / held, "leaf_hash_us": round(leaf_hash_us(), 2)}
            found[str(size)] = measured = {**more, "grown_per_s": grown / seconds, **serving, **opened_found}
            measured["queries_ms"] = queries
            note(json.dumps(measured))  # what an interrupted run found stays to be read
        return found
    finally:
        hub.kill()
        if signers is not None:
            signers.close()


def _said(held: int) -> Any:
    """Progress, every few seconds."""
    last = [time.monotonic()]

    def say(grown: int) -> None:
        if time.monotonic() > last[0] + SAID_EVERY_S:
            last[0] = time.monotonic()
            print(f"         {held + grown:,} changes", file=sys.stderr, flush=True)

    return say


ROWS = (
    ("changes in the log at the end", "changes", None, ",.0f"),
    ("accepted, changes/s", "accepted_per_s", None, ",.0f"),
    ("projected, changes/s", "projected_per_s", None, ",.0f"),
    ("one change to its receipt, p50, ms", "single_ms", "p50", ",.2f"),
    ("one change to its receipt, p99, ms", "single_ms", "p99", ",.2f"),
    ("receipt made, p50, ms", "receipt_ms", "p50", ",.3f"),
    ("consistency proof made, p50, ms", "consistency_ms", "p50", ",.3f"),
    ("hashes in a proof, most", "proof_hashes_max", None, ",.0f"),
    ("tiles read for a proof, most", "proof_tiles_max", None, ",.0f"),
    ("GET /checkpoint, ms", "checkpoint_ms", None, ",.2f"),
    ("GET a hash tile, ms", "hash_tile_ms", None, ",.2f"),
    ("GET an entry tile, ms", "entry_tile_ms", None, ",.2f"),
    ("GET /v1/consistency, ms", "consistency_http_ms", None, ",.2f"),
    ("hub status, ms", "status_ms", None, ",.1f"),
    ("opening the hub, ms", "open_ms", None, ",.0f"),
    ("disk, bytes a change", "disk_bytes_a_change", None, ",.0f"),
    ("hub resident at most, MiB", "hub_peak_mib", None, ",.0f"),
    ("grown (all verified and projected), changes/s", "grown_per_s", None, ",.0f"),
    ("one leaf hash, µs (how fast the machine was)", "leaf_hash_us", None, ",.2f"),
)


def show(document: dict[str, Any]) -> None:
    """A table for each database; in brackets the ratio to the smallest size."""
    for kind, by_size in document["databases"].items():
        table = Table("", *(f"{int(size):,}" for size in by_size), title=f"{kind}\n{document['machine']}")
        for words, name, part, form in ROWS:
            values = [found[name] if part is None else found[name][part] for found in by_size.values()]
            rates = name.endswith("_per_s") and values[0]
            cells = [f"{value:{form}}" + (f" ({value / values[0]:.2f})" if rates else "") for value in values]
            table.add_row(words, *cells)
        for name in QUERIES:
            spreads = [found["queries_ms"][name] for found in by_size.values()]
            table.add_row(f"{name}, p50 / p99, ms", *(f"{each['p50']:,.1f} / {each['p99']:,.1f}" for each in spreads))
        Console().print(table)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench-growth", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--databases", type=lambda text: text.split(","), default=["sqlite", "postgresql"])
    parser.add_argument("--sizes", type=lambda text: [int(float(part)) for part in text.split(",")], default=[*SIZES])
    parser.add_argument("--until", type=lambda text: int(float(text)), default=SIZES[-1], help="no size beyond, as 1e6")
    parser.add_argument("--agencies", type=int, default=COUNTRY, help="enrolled and heard; 16 of them do the rest")
    parser.add_argument("--rounds", type=int, default=5, help="of acceptance at each size, after one to warm up")
    parser.add_argument("--signers", type=int, default=2, help="processes that sign ahead")
    parser.add_argument("--folder", type=Path, help="where the databases lie meanwhile (the system's temporary folder)")
    return parser.parse_args(words)


def main() -> int:
    """Entry point; 2 if there is no room for the log."""
    chosen = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything is stopped and removed
    sizes = sorted(size for size in chosen.sizes if size <= chosen.until)
    base = chosen.folder or Path(tempfile.gettempdir())
    free, needed = shutil.disk_usage(base).free, sizes[-1] * BYTES_A_CHANGE
    note(f"{machine()}; {free / 1e9:,.0f} GB free in {base}, {needed / 1e9:,.1f} GB needed at most")
    if free < needed:
        note("not enough: free some, name another --folder, or stop earlier, as with --until 1e6")
        return 2
    begun = time.monotonic()
    databases: dict[str, Any] = {}
    for kind in chosen.databases:
        note(kind)
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="simpul-growth-", dir=base))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            url, pid = stack.enter_context(database(kind, folder))
            databases[kind] = asyncio.run(measure(folder, url, pid, sizes, chosen))
    document = {"machine": machine(), "databases": databases}
    print(json.dumps(document, indent=2)) if chosen.json else show(document)
    note(f"done in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        note("interrupted; everything was stopped")
        sys.exit(130)
