"""`python -m tests.sim`: many seeds, one with its trace, or the planted bugs. `make sim SEEDS=2000`.

Progress goes to stderr, the summary to stdout: with `--json` one document. Ends with 1 if a seed fails, and says how to
see that seed again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, Final

from tests.sim.planted_bugs import BUGS, SEEDS_MAX
from tests.sim.world import Outcome, run_seed

REPORT_EVERY_S: Final = 10.0
SHOWN_MAX: Final = 3  # violations of one seed; the first is the cause, more or less


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Simulated federations by seed.")
    parser.add_argument("--seeds", type=int, default=200, help="how many (200)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: everything that happened")
    parser.add_argument("--bugs", action="store_true", help="plants each known bug, and says which seed caught it")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON document")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _one(asked.seed, with_trace=asked.trace)
    if asked.bugs:
        return _planted(asked.jobs, as_json=asked.json)
    return _many(range(asked.first, asked.first + asked.seeds), asked.jobs, as_json=asked.json)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _one(seed: int, *, with_trace: bool) -> int:
    outcome = run_seed(seed)
    if with_trace:
        print("\n".join(outcome.trace))
    print(_line(outcome))
    for violation in outcome.violations:
        print(f"  {violation}")
    return bool(outcome.violations)


def _many(seeds: range, jobs: int, *, as_json: bool) -> int:
    begun_s, told_s = time.monotonic(), time.monotonic()
    failed: dict[int, list[str]] = {}
    done = leaves = nodes = restores = 0
    cpu_s = virtual_s = 0.0
    with _running(jobs, seeds) as outcomes:
        for outcome in outcomes:
            done, leaves, nodes = done + 1, leaves + outcome.leaves, nodes + outcome.nodes
            cpu_s, virtual_s, restores = (
                cpu_s + outcome.cpu_s,
                virtual_s + outcome.virtual_s,
                restores + outcome.restores,
            )
            if outcome.violations:
                failed[outcome.seed] = outcome.violations[:SHOWN_MAX]
                _say("\n  ".join([_line(outcome), *failed[outcome.seed]]))
                _say(f"  again: python -m tests.sim --seed {outcome.seed} --trace")
            if time.monotonic() > told_s + REPORT_EVERY_S or done == len(seeds):
                told_s = time.monotonic()
                _say(f"{done} of {len(seeds)} seeds, {len(failed)} failed, {told_s - begun_s:.0f} s")
    summary: dict[str, Any] = {
        "seeds": done,
        "first": seeds.start,
        "failed": {str(seed): found for seed, found in sorted(failed.items())},
        "nodes": nodes,
        "leaves": leaves,
        "hub_restores": restores,
        "virtual_days": round(virtual_s / 86_400, 1),
        "seconds": round(time.monotonic() - begun_s, 1),
        "cpu_seconds": round(cpu_s, 1),
        "jobs": jobs,
    }
    print(json.dumps(summary) if as_json else _in_words(summary))
    return bool(failed)


def _in_words(summary: dict[str, Any]) -> str:
    told = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in summary.items() if name != "failed")
    failed = " ".join(summary["failed"])
    return f"{told}\nfailed: {failed or 'none'}"


def _planted(jobs: int, *, as_json: bool) -> int:
    begun_s = time.monotonic()
    found: dict[str, int | None] = {}
    with ProcessPoolExecutor(jobs) as pool:
        waiting = {pool.submit(_caught_at, bug): bug for bug in BUGS}
        for done in as_completed(waiting):
            bug, seed = waiting[done], done.result()
            found[bug] = seed
            _say(f"{bug}: {'NOT CAUGHT' if seed is None else f'seed {seed}'}, {time.monotonic() - begun_s:.0f} s")
    summary = {"caught_at_seed": {bug: found[bug] for bug in BUGS}, "seconds": round(time.monotonic() - begun_s, 1)}
    print(json.dumps(summary) if as_json else f"{len(BUGS)} bugs, {list(found.values()).count(None)} not caught")
    return None in found.values()


def _caught_at(name: str) -> int | None:
    """The first seed that finds anything; None if what the witness says there is not what this bug does."""
    bug = BUGS[name]
    for seed in range(1, SEEDS_MAX + 1):
        violations = run_seed(seed, bug.make()).violations
        if violations:
            return seed if re.search(bug.signs, "\n".join(violations)) else None
    return None


@contextmanager
def _running(jobs: int, seeds: range) -> Iterator[Iterator[Outcome]]:
    """Outcomes as they come."""
    if jobs == 1:
        yield map(_without_trace, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield (done.result() for done in as_completed([pool.submit(_without_trace, seed) for seed in seeds]))


def _without_trace(seed: int) -> Outcome:
    outcome = run_seed(seed)
    outcome.trace.clear()
    return outcome


def _line(outcome: Outcome) -> str:
    verdict = "FAILED" if outcome.violations else "ok"
    told = f"{outcome.nodes} nodes, {outcome.leaves} leaves, {outcome.virtual_s:.0f} s of its time"
    return f"seed {outcome.seed}: {verdict}, {told}, {outcome.cpu_s:.1f} s of ours, trace {outcome.digest}"


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets must not depend on the run
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
        )
    sys.exit(main())
