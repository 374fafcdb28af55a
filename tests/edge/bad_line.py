"""A bad line between a node and its hub: a TCP relay that swallows, resets, stalls, breaks off and drips.

Bytes and sockets only; what is said over it, it does not know. Threads, so that it has nothing in common with the
program on either side. (meddler.py does harm to requests; this one to what carries them.)
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

PIECE_BYTES: Final = 16_384
CONNECT_S: Final = 10.0
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST


class Broken(Exception):
    """This connection is over; how it ended is done already."""


@dataclass
class Talk:
    """One connection of the node's, and ours to the hub; `put_seen`: a set is on its way over it."""

    near: socket.socket
    far: socket.socket
    put_seen: threading.Event = field(default_factory=threading.Event)
    down: int = 0  # bytes of the hub's answer since a set began
    is_reset: bool = False

    def reset(self) -> None:
        """RST to both sides, once they are closed: no good-bye."""
        self.is_reset = True
        for end in (self.near, self.far):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RD)  # whoever reads it wakes up, and closes it
        raise Broken


Harm = Callable[[Talk, bytes, bool], bytes]
"""What goes on of a piece. `bool`: towards the hub. It may wait, or end the talk."""


def through(_talk: Talk, piece: bytes, _up: bool) -> bytes:
    """A sound line."""
    return piece


def swallow(_talk: Talk, _piece: bytes, _up: bool) -> bytes:
    """A black hole: it takes everything, and nothing ever comes back."""
    return b""


def swallow_reply(talk: Talk, piece: bytes, up: bool) -> bytes:
    """The hub hears the set, and answers; nobody hears that."""
    return piece if up or not talk.put_seen.is_set() else b""


def reset_in_request(talk: Talk, piece: bytes, up: bool) -> bytes:
    """In the middle of a set."""
    if up and talk.put_seen.is_set():
        talk.far.sendall(piece[: len(piece) // 2])
        talk.reset()
    return piece


def reset_in_reply(talk: Talk, piece: bytes, up: bool) -> bytes:
    """In the middle of the receipt."""
    if not up and talk.put_seen.is_set():
        talk.near.sendall(piece[: len(piece) // 2])
        talk.reset()
    return piece


def half_reply(talk: Talk, piece: bytes, up: bool) -> bytes:
    """Half of the receipt, and then silence."""
    if up or not talk.put_seen.is_set():
        return piece
    return piece[: len(piece) // 2] if talk.down == len(piece) else b""


def drip(size: int, every_s: float) -> Harm:
    """Slow, and alive: so many bytes at a time."""

    def dripping(talk: Talk, piece: bytes, up: bool) -> bytes:
        end = talk.far if up else talk.near
        for start in range(0, len(piece), size):
            end.sendall(piece[start : start + size])
            time.sleep(every_s)
        return b""

    return dripping


@dataclass
class BadLine:
    """Relays to the hub at `port`; the next `times` connections that carry anything meet `harm` (None: all of them)."""

    port: int
    url: str = ""
    harm: Harm = through
    times: int | None = None
    refuses: bool = False
    met: int = 0  # connections that met it
    lock: threading.Lock = field(default_factory=threading.Lock)

    def do(self, harm: Harm, times: int | None = None) -> None:
        """From now on, for connections that are made."""
        with self.lock:
            self.harm, self.times, self.met = harm, times, 0

    def heal(self) -> None:
        """A sound line for connections that are made from now on."""
        self.do(through)

    def take(self) -> Harm:
        """What this connection meets."""
        with self.lock:
            if self.harm is through or (self.times is not None and self.met >= self.times):
                return through
            self.met += 1
            return self.harm

    def talk(self, near: socket.socket) -> None:
        """One connection, until either side has ended."""
        if self.refuses:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            near.close()
            return
        with near, socket.create_connection(("127.0.0.1", self.port), CONNECT_S) as far:
            far.settimeout(None)
            talk, harm = Talk(near, far), self.take()
            back = threading.Thread(target=carry, args=(talk, harm, False), daemon=True)
            back.start()
            carry(talk, harm, True)
            back.join()


def carry(talk: Talk, harm: Harm, up: bool) -> None:
    """One direction."""
    source, sink = (talk.near, talk.far) if up else (talk.far, talk.near)
    with suppress(OSError, Broken):
        while piece := source.recv(PIECE_BYTES):
            if up and piece.startswith(b"PUT "):
                talk.put_seen.set()
                talk.down = 0
            talk.down += 0 if up else len(piece)
            if passed := harm(talk, piece, up):
                sink.sendall(passed)
    for end in () if talk.is_reset else (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def bad_line(port: int) -> Iterator[BadLine]:
    """A line to the hub at that port of this machine; `url` is what the node is told."""
    line = BadLine(port)
    listening = socket.create_server(("127.0.0.1", 0))
    line.url = f"http://127.0.0.1:{listening.getsockname()[1]}"

    def serve() -> None:
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                threading.Thread(target=_quietly, args=(line.talk, near), daemon=True).start()

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    try:
        yield line
    finally:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        serving.join(5)


def _quietly(talk: Callable[[socket.socket], None], near: socket.socket) -> None:
    with suppress(OSError):  # the hub is not there: neither is the line
        talk(near)
