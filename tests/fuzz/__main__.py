"""`make fuzz`: all readers of foreign bytes under fire for some minutes (ADR 0016).

With atheris where it is installed, else with the fuzzer that is built in; it says which. What it finds it writes into
tests/fuzz/found/, where the tests replay it. Exit code 1 if something was found.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.fuzz import guided
from tests.fuzz.hunt import Hunt
from tests.fuzz.targets import TARGETS

TURN_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing found."""
    asked = _parse(arguments)
    names = asked.target or list(TARGETS)
    seconds = asked.minutes * 60
    engine = "atheris" if asked.engine == "atheris" or (asked.engine == "auto" and guided.is_there()) else "built-in"
    print(f"fuzzing {len(names)} readers for {asked.minutes:g} minutes with {engine}, seed {asked.seed}", flush=True)
    return _guided(names, seconds) if engine == "atheris" else _built_in(names, seconds, asked.seed)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="in all, shared by the targets")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="this one alone; may be repeated")
    parser.add_argument("--engine", choices=("auto", "atheris", "built-in"), default="auto")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the built-in one, to repeat a run")
    return parser.parse_args(arguments)


def _built_in(names: Sequence[str], seconds: float, seed: int) -> int:
    """In turns of a second, so that a short run reaches every target."""
    hunts = [Hunt(TARGETS[name], seed) for name in names]
    end_s = time.monotonic() + seconds
    turn_s = min(TURN_S, seconds / len(hunts))
    while time.monotonic() < end_s:
        for hunt in hunts:
            until_s = min(end_s, time.monotonic() + turn_s)
            hunt.go_on(lambda _tried, until_s=until_s: time.monotonic() >= until_s)  # type: ignore[misc]
    for hunt in hunts:
        print(f"{hunt.target.name:24} {hunt.tried:10,} tried {hunt.taken:9,} taken in {hunt.slowest_s * 1000:8.1f} ms")
    findings = [finding for hunt in hunts for finding in hunt.findings]
    for finding in findings:
        print(f"\nFOUND {finding.target}: {finding.place}, kept as {finding.save().name}\n{finding.error}")
    print(f"{sum(hunt.tried for hunt in hunts):,} inputs, {len(findings)} findings, seed {seed}")
    return 1 if findings else 0


def _guided(names: Sequence[str], seconds: float) -> int:
    """A process for each target: libFuzzer ends the one that it runs in."""
    tried, failed = 0, []
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(max(1, round(seconds / len(names))))]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        counted = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
        tried += int(counted[1]) if counted else 0
        print(f"{name:24} {int(counted[1]) if counted else 0:10,} tried, exit {done.returncode}", flush=True)
        if done.returncode != 0:
            failed.append(name)
            print(done.stdout[-4_000:] + done.stderr[-4_000:])
    print(f"{tried:,} inputs, findings in: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
