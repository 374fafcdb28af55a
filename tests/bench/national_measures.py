"""What the kernel says of processes and connections, and what is made of many samples (Linux: /proc, TCP_INFO)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_TICKS_S: Final = os.sysconf("SC_CLK_TCK")
_TCP_INFO_BYTES: Final = 136
_ACKED_AND_RECEIVED: Final = struct.Struct("=QQ")  # tcpi_bytes_acked, tcpi_bytes_received of <linux/tcp.h>
_ACKED_AT: Final = 120


def process_tree(root: int) -> list[int]:
    """A process and all that descend from it; empty if it is gone."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    if not Path(f"/proc/{root}").exists():
        return []
    tree = [root]
    for pid in tree:
        tree += children.get(pid, [])
    return tree


def cpu_s(pids: Iterable[int]) -> float:
    """Processor seconds of these processes and of their children that have ended."""
    return sum(sum(int(part) for part in fields[11:15]) for pid in pids if (fields := _stat(pid))) / _TICKS_S


def threads(pids: Iterable[int]) -> int:
    """How many threads they have."""
    return sum(int(fields[17]) for pid in pids if (fields := _stat(pid)))


def resident_mib(pids: Iterable[int], name: str = "VmRSS") -> float:
    """Resident memory now, or each one's most so far (`VmHWM`), summed."""
    return sum(_kib(f"/proc/{pid}/status", name) for pid in pids) / 1024


def proportional_mib(pids: Iterable[int]) -> float:
    """The same with shared pages divided among those that share them: for PostgreSQL, whose buffers are common."""
    return sum(_kib(f"/proc/{pid}/smaps_rollup", "Pss") for pid in pids) / 1024


def _stat(pid: int) -> list[str]:
    """The fields after the program's name: state, parent …; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _kib(path: str, name: str) -> int:
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


@dataclass
class WireCount:
    """Bytes that this process exchanged over TCP with one port, headers and all, as the kernel counted them.

    To be looked at more often than idle connections are closed (15 s); what a connection carried between the last
    look and its end is missed.
    """

    port: int
    _connections: dict[str, tuple[int, int]] = field(default_factory=dict)

    def look(self) -> None:
        """Brings the counts of all open connections up to date."""
        for entry in Path("/proc/self/fd").iterdir():
            try:
                target = str(entry.readlink())
                if target.startswith("socket:"):
                    self._look_at(target, int(entry.name))
            except OSError:
                continue

    def _look_at(self, inode: str, descriptor: int) -> None:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            peer = connection.getpeername()
            if not isinstance(peer, tuple) or peer[1] != self.port:
                return
            told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            self._connections[f"{inode} {connection.getsockname()[1]}"] = _ACKED_AND_RECEIVED.unpack_from(
                told, _ACKED_AT
            )

    @property
    def sent(self) -> int:
        """So far."""
        return sum(sent for sent, _ in self._connections.values())

    @property
    def received(self) -> int:
        """So far."""
        return sum(received for _, received in self._connections.values())


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """Of an ascending sequence; NaN of none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] if ordered else float("nan")
