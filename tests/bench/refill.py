"""An empty disk refilled from the hub: `python -m tests.bench.refill [--changes 10000] [--json]` (protocol §10.3).

A hub serves; an agency has pushed so many changes, once in sets of 1,000 and once in sets of one. Then nothing is left
of its node but simpul.toml and keys/, and `simpul node recover` runs, as an operator types it: the time is the whole
command's, from its start to its last word, with Python's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from keys.key_file import save_key
from tests.bench.hub_bench import AGENCY_CODES, CHANGES_A_SET, ORIGIN, enrol, invite_all, push_all
from tests.bench.hub_process import ServingProcess, simpul
from tests.bench.load import LoadAgency
from tests.bench.machine import leaf_hash_us, note

CHANGES = 10_000
TARGET_S = 10.0


@dataclass(frozen=True)
class RefillFigures:
    """One refill; `log_size` is that of the whole log then."""

    changes: int
    sets: int
    seconds: float
    log_size: int
    leaf_hash_us: float


async def bench_refill(*, changes: int = CHANGES) -> list[RefillFigures]:
    """In sets of 1,000, then in sets of one, each by an agency of its own at one hub."""
    with tempfile.TemporaryDirectory(prefix="simpul-bench-") as folder:
        directory = Path(folder) / "hub"
        vkey = str(simpul("hub", "init", str(directory), "--origin", ORIGIN)["vkey"])
        tokens = await invite_all(directory)
        hub = ServingProcess.start(directory)
        try:
            figures = []
            for seed, changes_a_set in enumerate((CHANGES_A_SET, 1)):
                agency = await enrol(hub.url, vkey, AGENCY_CODES[seed], tokens[seed], seed)
                note(f"{changes} changes in sets of {changes_a_set}")
                bodies = [(agency.seq + 1, agency.sign_set(changes_a_set)) for _ in range(changes // changes_a_set)]
                await push_all(hub.url, [agency], [bodies])
                figures.append(await asyncio.to_thread(_refill, Path(folder), hub.url, vkey, agency, len(bodies)))
            return figures
        finally:
            hub.stop()


def _refill(folder: Path, url: str, vkey: str, agency: LoadAgency, sets: int) -> RefillFigures:
    """A directory with nothing but keys and settings, and the command that fetches the rest."""
    directory = folder / str(agency.agency)
    (directory / "keys").mkdir(mode=0o700, parents=True)
    save_key(directory / "keys" / "agency.pem", agency.signer, None)
    simpul("node", "enrol", str(directory), "--hub", url, "--vkey", vkey, "--agency", agency.agency)
    for file in directory.glob("node.db*"):
        file.unlink()
    hashed = leaf_hash_us()
    begun = time.perf_counter()
    document = simpul("node", "recover", str(directory))
    seconds = time.perf_counter() - begun
    assert document["adopted_sets"] == sets, document
    with closing(sqlite3.connect(directory / "node.db")) as database:
        ((held,),) = database.execute("SELECT count(*) FROM change WHERE content IS NOT NULL")
        ((size,),) = database.execute("SELECT seen_size FROM node")
    assert held == agency.made, f"{held} of {agency.made} changes came back with their words"
    return RefillFigures(held, sets, round(seconds, 2), size, round(hashed, 2))


def main() -> int:
    """Entry point; the exit code is 1 where the target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=CHANGES)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    chosen = parser.parse_args()
    figures = asyncio.run(bench_refill(changes=chosen.changes))
    if chosen.json:
        print(json.dumps([asdict(one) for one in figures], indent=2))
    else:
        for one in figures:
            print(f"{one.changes} changes in {one.sets} sets: {one.seconds} s (target: {TARGET_S:g} s)")
    return int(any(one.seconds > TARGET_S for one in figures))


if __name__ == "__main__":
    sys.exit(main())
