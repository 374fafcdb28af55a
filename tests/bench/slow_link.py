"""A slow, long, lossy link between two network namespaces, with the kernel's own TCP on both ends.

Each end is a TUN device in a namespace of its own; between them this process carries IP packets: one after the other at
the link's rate, later by its delay, some of them lost, and none that finds the queue full. What netem does where the
kernel has it; this needs root and TUN alone. Linux only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import selectors
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

QUEUE_BYTES: Final = 64 * 1024  # before the link at each end: half a second of 1 Mbit/s, as modems have it
PACKET_BYTES: Final = 65_536  # more than any MTU
NEAR_ADDRESS: Final = "10.77.0.1"
FAR_ADDRESS: Final = "10.77.0.2"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
_TCP, _SYN, _ACK = 6, 0x02, 0x10


@dataclass(frozen=True)
class Quality:
    """Of a link, the same in both directions. `loss` is the share of packets; the round trip is of an empty link."""

    kbit_s: int
    round_trip_ms: int
    loss: float = 0.0

    def __str__(self) -> str:
        lost = f", {self.loss:.0%} lost" if self.loss else ""
        return f"{self.kbit_s:,} kbit/s, {self.round_trip_ms} ms{lost}"


@dataclass
class Carried:
    """What went one way since a time. Bytes with IP and TCP headers; `dropped` found the queue full."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    dropped: int = 0
    connections: int = 0
    first_at: float | None = None
    last_at: float = 0.0


@dataclass
class Direction:
    """From one end to the other."""

    quality: Quality
    chance: random.Random
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)  # when it arrives
    is_free_at: float = 0.0
    carried: Carried = field(default_factory=Carried)

    def take(self, packet: bytes, now: float) -> None:
        """A packet enters here."""
        rate, carried = self.quality.kbit_s * 1000 / 8, self.carried
        carried.first_at, carried.last_at = carried.first_at or now, now
        if (self.is_free_at - now) * rate > QUEUE_BYTES:
            carried.dropped += 1
            return
        self.is_free_at = max(now, self.is_free_at) + len(packet) / rate
        carried.packets += 1
        carried.bytes += len(packet)
        carried.connections += _begins_connection(packet)
        if self.chance.random() < self.quality.loss:
            carried.lost += 1
        else:
            self.waiting.append((self.is_free_at + self.quality.round_trip_ms / 2000, packet))


def _begins_connection(packet: bytes) -> bool:
    """A TCP SYN without ACK, over IPv4."""
    if packet[0] >> 4 != 4 or packet[9] != _TCP:
        return False
    flags = packet[(packet[0] & 0x0F) * 4 + 13]
    return flags & _SYN != 0 and flags & _ACK == 0


@dataclass
class Link:
    """Names of the two namespaces, and what went over the link so far: `up` from the far end to the near one."""

    near: str
    far: str
    up: Direction
    down: Direction
    is_over: threading.Event = field(default_factory=threading.Event)

    def count_anew(self) -> None:
        """What was carried until now is of no interest."""
        self.up.carried, self.down.carried = Carried(), Carried()

    def carry(self, near: int, far: int) -> None:
        """Until it is over. The two are descriptors of the devices."""
        ways = {far: (self.up, near), near: (self.down, far)}
        with selectors.DefaultSelector() as selector:
            for end in ways:
                os.set_blocking(end, False)
                selector.register(end, selectors.EVENT_READ)
            while not self.is_over.is_set():
                dues = [way.waiting[0][0] for way, _ in ways.values() if way.waiting]
                wait_s = min(max(0.0, min(dues) - time.monotonic()), 0.05) if dues else 0.05
                for key, _ in selector.select(wait_s):
                    ways[key.fd][0].take(os.read(key.fd, PACKET_BYTES), time.monotonic())
                for way, sink in ways.values():
                    while way.waiting and way.waiting[0][0] <= time.monotonic():
                        os.write(sink, way.waiting.popleft()[1])


@contextmanager
def slow_link(quality: Quality, seed: int = 1) -> Iterator[Link]:
    """A link while the block runs. Raises OSError or CalledProcessError where the machine does not allow it."""
    names = [f"simpul-{os.getpid()}-{end}" for end in ("near", "far")]
    up, down = (Direction(quality, random.Random(seed + number)) for number in range(2))
    link = Link(names[0], names[1], up, down)
    with ExitStack() as stack:
        ends = []
        for name, address, peer in zip(names, (NEAR_ADDRESS, FAR_ADDRESS), (FAR_ADDRESS, NEAR_ADDRESS), strict=True):
            stack.enter_context(_namespace(name))
            ends.append(_device_in(name))
            stack.callback(os.close, ends[-1])
            _ip("-n", name, "addr", "add", address, "peer", peer, "dev", "link0")
            for device in ("lo", "link0"):
                _ip("-n", name, "link", "set", device, "up")
        carrying = threading.Thread(target=link.carry, args=ends)
        carrying.start()
        try:
            yield link
        finally:
            link.is_over.set()
            carrying.join()


@contextmanager
def _namespace(name: str) -> Iterator[None]:
    _ip("netns", "add", name)
    try:
        yield
    finally:
        _ip("netns", "del", name)


def _device_in(name: str) -> int:
    """A TUN device `link0` in that namespace: its descriptor works from anywhere."""
    with Path("/proc/thread-self/ns/net").open("rb") as home, Path(f"/run/netns/{name}").open("rb") as there:
        _enter(there.fileno())
        try:
            device = os.open("/dev/net/tun", os.O_RDWR)
            try:
                fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", b"link0", _IFF_TUN | _IFF_NO_PI))
            except OSError:
                os.close(device)
                raise
            return device
        finally:
            _enter(home.fileno())


def _enter(namespace: int) -> None:
    """This thread alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
