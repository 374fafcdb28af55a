"""What the figures were measured on, how fast it was at the moment, and progress on stderr."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path

from sync_protocol.merkle import leaf_hashes


def machine() -> str:
    """What the figures were measured on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return (
        f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, {platform.system()} {platform.release()}"
    )


def leaf_hash_us() -> float:
    """How fast the machine is right now: µs for one SHA-256 of a change line, as everything here needs them.

    Machines that are shared swing by a factor of two within a minute; a rate without this beside it says little.
    """
    lines = [number.to_bytes(4, "big") * 100 for number in range(20_000)]
    begun = time.perf_counter()
    leaf_hashes(lines)
    return (time.perf_counter() - begun) / len(lines) * 1e6


def note(words: str) -> None:
    """Progress, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {words} …", file=sys.stderr, flush=True)
