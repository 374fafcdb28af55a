"""What stands between a node and its hub and does harm: an HTTP relay that loses, delays, breaks and changes.

Threads and sockets only, so that it has nothing in common with the program on either side.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

PROBLEM_TYPE: Final = "application/problem+json"
_LENGTH: Final = "Content-Length"


@dataclass
class Meddler:
    """Relays to `hub_url`; while `times` is above 0, each PUT of a change set meets `harm` instead."""

    hub_url: str
    harm: Callable[[Handler], None] | None = None
    times: int = 0
    is_down: bool = False
    met: int = 0
    order: list[int] = field(default_factory=list)
    before_get: Callable[[str], None] = lambda _path: None
    url: str = ""

    def do(self, harm: Callable[[Handler], None], times: int) -> None:
        """From now on."""
        self.harm, self.times, self.met = harm, times, 0

    def take(self) -> Callable[[Handler], None] | None:
        """What this PUT meets."""
        if self.harm is None or self.times <= 0:
            return None
        self.times -= 1
        self.met += 1
        return self.harm


class Handler(BaseHTTPRequestHandler):
    """One connection of the node's."""

    protocol_version = "HTTP/1.1"
    meddler: Meddler

    def handle_one_request(self) -> None:
        if self.meddler.is_down:
            self.reset()
            return
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        self.meddler.before_get(self.path)
        self.answer(*self.forward(b""))

    def do_POST(self) -> None:
        self.answer(*self.forward(self.body()))

    def do_PUT(self) -> None:
        harm = self.meddler.take()
        if harm is not None:
            harm(self)
        else:
            self.answer(*self.forward(self.body()))

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get(_LENGTH, "0")))

    def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the hub says to the request with this body."""
        hub = urlsplit(self.meddler.hub_url)
        connection = http.client.HTTPConnection(str(hub.hostname), hub.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name != _LENGTH}
        try:
            if self.command == "PUT":
                self.meddler.order.append(int(urlsplit(self.path).path.rsplit("/", 1)[1]))
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name not in (_LENGTH, "Connection", "Transfer-Encoding"):
                self.send_header(name, value)
        self.send_header(_LENGTH, str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def problem(self, status: int, kind: str, headers: list[tuple[str, str]] | None = None, **members: Any) -> None:
        body = {"type": f"urn:simpul:problem:{kind}", "title": kind, "status": status, "detail": kind} | members
        self.answer(status, [("Content-Type", PROBLEM_TYPE), *(headers or [])], json.dumps(body).encode())

    def reset(self) -> None:
        """RST: no good-bye."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Says nothing."""


def reset_in_mid_body(handler: Handler) -> None:
    """Half of the set arrives here, nothing at the hub."""
    handler.rfile.read(int(handler.headers[_LENGTH]) // 2)
    handler.reset()


def lose_reply(handler: Handler) -> None:
    """The hub took it in and said so; nobody hears."""
    handler.forward(handler.body())
    handler.reset()


def cut_reply(handler: Handler) -> None:
    """Half of what the hub said arrives."""
    status, headers, body = handler.forward(handler.body())
    handler.send_response_only(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header(_LENGTH, str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    handler.reset()
    assert headers


def busy(handler: Handler) -> None:
    """A proxy's 503, with a page for people."""
    handler.body()
    handler.answer(503, [("Content-Type", "text/html"), ("Retry-After", "1")], b"<h1>Service Unavailable</h1>")


def foreign(handler: Handler) -> None:
    """A captive portal: 200 and something else."""
    handler.body()
    handler.answer(200, [("Content-Type", "text/html")], b"<html>Selamat datang. Silakan masuk.</html>")


def behind(handler: Handler) -> None:
    """A hub that says that a set is missing before this one."""
    handler.body()
    handler.problem(409, "behind", expected_seq=1, head_digest="A" * 43, head_epoch=1)


def delay(seconds: float) -> Callable[[Handler], None]:
    """The hub took it in; the answer takes its time."""

    def late(handler: Handler) -> None:
        answer = handler.forward(handler.body())
        time.sleep(seconds)
        handler.answer(*answer)

    return late


@contextmanager
def meddling(hub_url: str) -> Iterator[Meddler]:
    """A meddler that serves; `url` is what the node is told."""
    meddler = Meddler(hub_url)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"meddler": meddler}))
    server.daemon_threads = True
    meddler.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield meddler
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
