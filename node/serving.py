"""Serving an application until SIGTERM: a listener, TLS if asked for, a drain of bounded length."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from node.beside import beside
from node.connections import CONNECTIONS
from node.web.runner import Runner
from sync_protocol.errors import Refused

BACKLOG: Final = 1_024  # a whole country's nodes may come back in the same second
ADDRESS_FREE_S: Final = 5.0  # children of a parent that was killed let go of the address a moment later
DRAIN_S: Final = 5.0  # SIGTERM ends a process within 10 s: pusher, appender and stores need the rest


def server_tls(files: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    """A server context from certificate chain and key (PEM). Raises Refused(configuration)."""
    if files is None:
        return None
    certificate, key = files
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        detail = f"the TLS certificate {certificate} or its key cannot be used: {error}"
        raise Refused("configuration", detail, where="tls_cert") from None
    return context


@contextlib.asynccontextmanager
async def listening(
    app: web.Application,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    options: Mapping[str, Any] | None = None,
) -> AsyncIterator[str]:
    """The application, listening; yields its address. On leaving, requests under way get DRAIN_S to end.

    `options` are the application's own wishes of its runner. Raises OSError where the address is taken.
    """
    runner = Runner(app, **{"access_log": None, "shutdown_timeout": DRAIN_S, **(options or {})})
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls, backlog=BACKLOG)
        await site.start()
        bound = runner.addresses[0][1]
        async with _watched(app, runner):
            yield _shown(host, bound, is_tls=tls is not None)
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def listening_on(
    app: web.Application,
    sockets: Sequence[socket.socket],
    *,
    tls: ssl.SSLContext | None = None,
    options: Mapping[str, Any] | None = None,
) -> AsyncIterator[None]:
    """As `listening`, on sockets that are bound already; they are closed at the end."""
    runner = Runner(app, **{"access_log": None, "shutdown_timeout": DRAIN_S, **(options or {})})
    await runner.setup()
    try:
        for bound in sockets:
            await web.SockSite(runner, bound, ssl_context=tls, backlog=BACKLOG).start()
        async with _watched(app, runner):
            yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _watched(app: web.Application, runner: web.AppRunner) -> AsyncIterator[None]:
    """With an eye on the connections, where the application wants one."""
    connections, server = app.get(CONNECTIONS), runner.server
    if connections is None or server is None:
        yield
        return
    async with beside(connections.watch(server)):
        yield


def bind_shares(host: str, port: int, count: int) -> list[list[socket.socket]]:
    """For each of `count` processes a socket for each address of `host`, all at one port (0: a free one).

    The kernel deals new connections out among those that listen. Raises OSError where the address is taken: it may
    stay so for a moment after a crash.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    shares: list[list[socket.socket]] = [[] for _ in range(count)]
    for family, *_, address in found:
        # Taken exclusively first: sockets that share would also share with another hub that runs by mistake.
        with _bound_patiently(family, (address[0], port, *address[2:])) as alone:
            port = alone.getsockname()[1]
        for share in shares:
            share.append(_bound(family, (address[0], port, *address[2:]), is_shared=True))
    return shares


def _bound_patiently(family: int, address: tuple[Any, ...]) -> socket.socket:
    deadline_s = time.monotonic() + ADDRESS_FREE_S
    while True:
        try:
            return _bound(family, address, is_shared=False)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline_s:
                raise
        time.sleep(0.05)


def _bound(family: int, address: tuple[Any, ...], *, is_shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


def shown_address(bound: socket.socket, host: str, *, is_tls: bool) -> str:
    """The address of a bound socket, for a person to read."""
    return _shown(host, bound.getsockname()[1], is_tls=is_tls)


def _shown(host: str, port: int, *, is_tls: bool) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if is_tls else 'http'}://{shown}:{port}"


async def until_told_to_stop(life: int | None = None) -> None:
    """Returns at SIGTERM or SIGINT, and at the end of the pipe `life`: then whoever held the other end is gone."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    if life is not None:
        loop.add_reader(life, told.set)
    try:
        await told.wait()
    finally:
        if life is not None:
            loop.remove_reader(life)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def announce(words: str) -> None:
    """One line on stderr: stdout belongs to a command's document."""
    print(words, file=sys.stderr, flush=True)  # noqa: T201 - the one line that says where we listen
