"""Processes of this machine, as /proc tells of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def children_of(parent: int) -> list[int]:
    """Living child processes."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, fields = stat.read_text().rpartition(") ")
            if fields.split()[:2] != ["Z", str(parent)] and int(fields.split()[1]) == parent:
                found.append(int(name.split(" ", 1)[0]))
    return found


def is_alive(pid: int) -> bool:
    """Whether it runs, or could: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
