"""Serving an application until SIGTERM: a listener, TLS if asked for, a drain of bounded length."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from sync_protocol.errors import Refused

BACKLOG: Final = 1_024  # a whole country's nodes may come back in the same second
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
    runner = web.AppRunner(app, **{"access_log": None, "shutdown_timeout": DRAIN_S, **(options or {})})
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls, backlog=BACKLOG)
        await site.start()
        bound = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else host
        yield f"{'https' if tls else 'http'}://{shown}:{bound}"
    finally:
        await runner.cleanup()


async def until_told_to_stop() -> None:
    """Returns at SIGTERM or SIGINT."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    try:
        await told.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def announce(words: str) -> None:
    """One line on stderr: stdout belongs to a command's document."""
    print(words, file=sys.stderr, flush=True)  # noqa: T201 - the one line that says where we listen
