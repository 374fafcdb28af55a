"""What the kernel says of a process and all its descendants: memory and processor time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def tree(pid: int) -> Iterator[int]:
    """The process and its living descendants; none of those that end while we look."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text(encoding="ascii").split():
                yield from tree(int(child))


def tree_cpu_s(pid: int) -> float:
    """Processor seconds so far, in all threads, with those of the descendants that have ended."""
    ticks = 0
    for process in tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / float(os.sysconf("SC_CLK_TCK"))


def tree_resident_mib(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of all together now, or the sum of each one's peak since its start (`VmHWM`)."""
    kib = 0
    for process in tree(pid):
        with suppress(OSError):
            for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
                if line.startswith(field):
                    kib += int(line.split()[1])
    return kib / 1024
