"""`simpul hub serve --processes N`: a parent that holds the sockets, and children that serve them (ADR 0010).

The parent binds, starts a process for each share of the connections, starts another one when one dies, and ends them
when it is told to end. It runs no event loop, no thread and no database connection: so it may fork, and hardly anything
can happen to it. Each child is what `serve` with one process is. A child whose parent is gone ends by itself: nobody is
left behind holding the port.
"""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from node.logs import configure_logs
from node.serving import announce, bind_shares, listening_on, server_tls, shown_address, until_told_to_stop
from node.settings import HubSettings
from node.settings_file import load_settings
from node.wiring.hub import taking_in
from sync_protocol.errors import Refused

STOP_S: Final = 9.0  # SIGTERM ends the whole within 10 s; a child lets requests finish for 5
PAUSE_FIRST_S: Final = 0.1  # before a child that died is replaced; doubled each time that it dies young
PAUSE_MAX_S: Final = 5.0
YOUNG_S: Final = 10.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_READY: Final = b"1"

Run = Callable[[Coroutine[Any, Any, None]], int]
"""Runs a command's coroutine to its end, says what went wrong, and gives the exit code."""

_logger = structlog.get_logger("simpul.hub.processes")


def serve_in_processes(directory: Path, *, host: str | None, port: int | None, processes: int, run: Run) -> int:
    """Until SIGTERM; the exit code. Raises Refused(configuration), and OSError where the address is taken."""
    settings = load_settings(directory, HubSettings)
    if settings.database.startswith("sqlite"):
        step = "Leave --processes out, or give the hub a PostgreSQL database (docs/operations.md, 'Several processes')."
        raise Refused("configuration", "SQLite serves one process", members={"next": step})
    configure_logs(settings.log_level)
    host, port = host or settings.host, settings.port if port is None else port
    children = [_Child(number, shares) for number, shares in enumerate(bind_shares(host, port, processes), 1)]
    address = shown_address(children[0].sockets[0], host, is_tls=settings.tls is not None)
    words = f"hub {settings.origin} listens on {address}"
    _load_what_children_need()
    return _Parent(settings, children, words, run).serve()


def _load_what_children_need() -> None:
    """Loaded once, and shared by all of them."""
    from node.hub import http
    from node.store import postgres_announcements, postgres_hub

    del http, postgres_announcements, postgres_hub
    gc.freeze()


async def _serve_share(settings: HubSettings, sockets: Sequence[socket.socket], ready: int, life: int) -> None:
    """What a child does. `ready` is told when it listens; it ends when `life` does, also while it still begins."""
    from node.hub.http import RUNNER_OPTIONS

    loop, beginning = asyncio.get_running_loop(), asyncio.current_task()
    assert beginning is not None

    def give_up() -> None:
        loop.remove_reader(life)
        _close(sockets)  # they listen already, if this child follows another one
        beginning.cancel()

    loop.add_reader(life, give_up)
    async with taking_in(settings) as application:
        loop.remove_reader(life)
        async with listening_on(application, sockets, tls=server_tls(settings.tls), options=RUNNER_OPTIONS):
            os.write(ready, _READY)
            await until_told_to_stop(life)


@dataclass
class _Child:
    """A share of the connections, and the process that serves it now (`pid` 0: none)."""

    number: int
    sockets: Sequence[socket.socket]
    pid: int = 0
    begun_s: float = 0.0
    pause_s: float = PAUSE_FIRST_S
    due_s: float = 0.0


class _Parent:
    """Waits for signals, for children that are ready, and for the time to start another one."""

    def __init__(self, settings: HubSettings, children: list[_Child], words: str, run: Run) -> None:
        self._settings = settings
        self._children = children
        self._words = words
        self._run = run
        self._selector = selectors.DefaultSelector()
        self._life, self._life_end = os.pipe()  # nobody writes there: it ends with this process
        self._signals, self._signalled = os.pipe()
        self._has_served = False
        self._is_over = False
        self._code = 0

    def serve(self) -> int:
        """The exit code: that of the first child if it never came to serve."""
        for end in (self._signals, self._signalled):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        self._selector.register(self._signals, selectors.EVENT_READ)
        while not self._is_over:
            for child in self._wanting():
                if child.due_s <= time.monotonic():
                    self._start(child)
            self._wait()
            self._bury()
        self._stop()
        return self._code

    def _wanting(self) -> list[_Child]:
        """Those without a process. Until one has served there is only the first: what is wrong is said once."""
        return [child for child in self._children if not child.pid and (self._has_served or child.number == 1)]

    def _wait(self) -> None:
        due_s = min((child.due_s for child in self._wanting()), default=None)
        for key, _ in self._selector.select(None if due_s is None else max(0.0, due_s - time.monotonic())):
            if key.fd == self._signals:
                told = os.read(self._signals, 4_096)
                self._is_over = self._is_over or signal.SIGTERM in told or signal.SIGINT in told
            else:
                self._hear(key.fd)

    def _hear(self, ready: int) -> None:
        is_ready = os.read(ready, 1) == _READY
        self._selector.unregister(ready)
        os.close(ready)
        if is_ready and not self._has_served:
            self._has_served = True
            announce(self._words)

    def _bury(self) -> None:
        """A child that ended is replaced, after a pause that grows while it keeps dying young."""
        for child in self._children:
            pid, status = os.waitpid(child.pid, os.WNOHANG) if child.pid else (0, 0)
            if not pid:
                continue
            code = os.waitstatus_to_exitcode(status)
            now_s = time.monotonic()
            is_young = now_s - child.begun_s < YOUNG_S
            child.pause_s = min(child.pause_s * 2, PAUSE_MAX_S) if is_young else PAUSE_FIRST_S
            child.pid, child.due_s = 0, now_s + child.pause_s
            if self._has_served:
                _logger.warning("a process ended", process=child.number, pid=pid, code=code)
            else:
                self._code, self._is_over = (code if code > 0 else 1), True

    def _start(self, child: _Child) -> None:
        ready, ready_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            os._exit(self._be(child, ready_end))
        os.close(ready_end)
        child.pid, child.begun_s = pid, time.monotonic()
        self._selector.register(ready, selectors.EVENT_READ)
        _logger.info("a process begins", process=child.number, pid=pid)

    def _be(self, child: _Child, ready: int) -> int:
        """In the child: lets go of what is the parent's and of what is the others', and serves. The exit code."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()
        for end in (self._signalled, self._life_end):
            os.close(end)
        for other in self._children:
            if other is not child:
                _close(other.sockets)
        structlog.contextvars.bind_contextvars(process=child.number)
        try:
            return self._run(_serve_share(self._settings, child.sockets, ready, self._life))
        except asyncio.CancelledError:  # the parent was gone before it served
            return 0
        except BaseException:  # noqa: BLE001 - nothing goes back into what the parent was doing
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def _stop(self) -> None:
        """Nobody is let in any more; what is under way may finish."""
        for child in self._children:
            _close(child.sockets)
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        while any(child.pid for child in self._children):
            for child in self._children:
                if child.pid and time.monotonic() > deadline_s:
                    os.kill(child.pid, signal.SIGKILL)
                if child.pid and os.waitpid(child.pid, os.WNOHANG)[0]:
                    child.pid = 0
            time.sleep(0.01)


def _close(sockets: Sequence[socket.socket]) -> None:
    for one in sockets:
        one.close()
