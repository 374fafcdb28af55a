"""Ports that a test has to itself, also while nobody listens at them: a server that died comes back at its address."""

from __future__ import annotations

import random
import socket
from contextlib import closing
from pathlib import Path
from typing import Final

FIRST: Final = 10_000
LAST: Final = 65_000
ENOUGH: Final = 5_000  # that the kernel leaves to whoever asks for one by its number
TRIES_MAX: Final = 1_000
_KERNELS_OWN: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def own_port() -> int:
    """A port of this machine's loopback, given to nobody else.

    Not one that the kernel deals out to connections and to who asks for port 0 (if it leaves any); and among processes
    of tests it is kept, until this one ends, by a UDP socket at the same number, which is in no TCP server's way.
    """
    dealt_from = int(_KERNELS_OWN.read_text().split()[0]) if _KERNELS_OWN.exists() else LAST
    numbers = range(FIRST, dealt_from if dealt_from > FIRST + ENOUGH else LAST)
    for port in random.SystemRandom().sample(numbers, TRIES_MAX):
        with closing(socket.socket()) as probe, closing(socket.socket(type=socket.SOCK_DGRAM)) as kept:
            try:
                kept.bind(("127.0.0.1", port))
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            kept.detach()  # stays open
            return port
    raise AssertionError("there is no free port on this machine")
