"""`python -m tests.sim`: many seeds, or one with its trace. `make sim SEEDS=2000`.

Ends with 1 if a seed fails, and says how to see that seed again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from tests.sim.world import Outcome, run_seed

REPORT_EVERY = 50


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Simulated federations by seed.")
    parser.add_argument("--seeds", type=int, default=200, help="how many (200)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: everything that happened")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _one(asked.seed, with_trace=asked.trace)
    return _many(range(asked.first, asked.first + asked.seeds), asked.jobs)


def _one(seed: int, *, with_trace: bool) -> int:
    outcome = run_seed(seed)
    if with_trace:
        print("\n".join(outcome.trace))
    print(_line(outcome))
    for violation in outcome.violations:
        print(f"  {violation}")
    return bool(outcome.violations)


def _many(seeds: range, jobs: int) -> int:
    begun_s, failed, leaves = time.monotonic(), [], 0
    with _running(jobs, seeds) as outcomes:
        for count, outcome in enumerate(outcomes, 1):
            leaves += outcome.leaves
            if outcome.violations:
                failed.append(outcome.seed)
                print(_line(outcome), *outcome.violations[:3], sep="\n  ", flush=True)
                print(f"  again: python -m tests.sim --seed {outcome.seed} --trace", flush=True)
            if count % REPORT_EVERY == 0 or count == len(seeds):
                spent_s = time.monotonic() - begun_s
                print(f"{count} seeds, {len(failed)} failed, {leaves} leaves, {spent_s:.0f} s", flush=True)
    if failed:
        print(f"failed: {' '.join(map(str, failed))}")
    return bool(failed)


@contextmanager
def _running(jobs: int, seeds: range) -> Iterator[Iterator[Outcome]]:
    if jobs == 1:
        yield map(_without_trace, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield pool.map(_without_trace, seeds, chunksize=4)


def _without_trace(seed: int) -> Outcome:
    outcome = run_seed(seed)
    outcome.trace.clear()
    return outcome


def _line(outcome: Outcome) -> str:
    verdict = "FAILED" if outcome.violations else "ok"
    told = f"{outcome.nodes} nodes, {outcome.leaves} leaves, {outcome.virtual_s:.0f} s of its time"
    return f"seed {outcome.seed}: {verdict}, {told}, trace {outcome.digest}"


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets must not depend on the run
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
        )
    sys.exit(main())
