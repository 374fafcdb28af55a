"""The hub of the national bench: `simpul hub serve` in processes of its own, stopped and brought back, and watched.

Watched means: once in a while somebody asks the query that an auditor asks (`GET /v1/totals`) and notes as of which log
size it was answered; memory and processor time of all its processes, and of PostgreSQL's, are read beside it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from node.wiring import hub as hub_wiring
from sync_protocol.values import AgencyId
from tests.bench.hub_process import SIMPUL, simpul
from tests.bench.national_measures import cpu_s, process_tree, proportional_mib, resident_mib

ORIGIN = "bench.simpul.example/log"
START_TIMEOUT_S = 60.0
LOOK_S = 0.05  # the resolution of "visible"; asking costs the hub some 3 ms each time
WEIGH_S = 0.5


@dataclass
class Watched:
    """What was seen during one phase. `sizes`: (when it was answered, the log size it was as of)."""

    sizes: list[tuple[float, int]] = field(default_factory=list)
    hub_mib: float = 0.0
    postgres_mib: float = 0.0
    hub_cpu_s: float = 0.0
    postgres_cpu_s: float = 0.0

    def visible_at(self, index: int) -> float | None:
        """When a query first showed the leaf at `index`; None if none did."""
        place = bisect_right(self.sizes, index, key=lambda seen: seen[1])
        return self.sizes[place][0] if place < len(self.sizes) else None


class NationalHub:
    """One hub on one port. `postgres_pid` is its server's, None where it is SQLite or somebody else's server."""

    def __init__(self, directory: Path, *, processes: int, postgres_pid: int | None) -> None:
        self.directory = directory
        self.processes = processes
        self.postgres_pid = postgres_pid
        self.vkey = self.auditor = ""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    async def found(self, database_url: str | None, agencies: list[str]) -> list[str]:
        """`hub init`, an auditor's token for the one who watches, and an invitation for each agency."""
        words = ["hub", "init", str(self.directory), "--origin", ORIGIN]
        words += ["--database-url", database_url] if database_url else []
        self.vkey = str((await asyncio.to_thread(simpul, *words))["vkey"])
        async with hub_wiring.opened(self.directory) as hub:
            self.auditor = await hub.grant("bench")
            return [await hub.invite(AgencyId.parse(agency)) for agency in agencies]

    async def start(self, **environment: str) -> float:
        """Serves; when it answered first. Raises RuntimeError if it does not."""
        words = ["hub", "serve", str(self.directory), "--port", str(self.port), "--processes", str(self.processes)]
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond, before anything is measured
            [*SIMPUL, *words],
            stdout=subprocess.DEVNULL,
            stderr=(self.directory / "bench.log").open("ab"),
            env={**os.environ, "SIMPUL_LOG_LEVEL": "warning", **environment},
            start_new_session=True,
        )
        begun = time.monotonic()
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < begun + START_TIMEOUT_S and self._process.poll() is None:
                with suppress(aiohttp.ClientError):
                    async with session.get(f"{self.url}/healthz") as response:
                        if response.status == 200:
                            return time.monotonic()
                await asyncio.sleep(0.01)
        raise RuntimeError(f"the hub did not start: {(self.directory / 'bench.log').read_text()[-2000:]}")

    async def stop(self) -> None:
        """SIGTERM, then wait."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(process.wait, 30)
            except subprocess.TimeoutExpired:
                process.kill()

    def kill(self) -> None:
        """At once, for a bench that was interrupted."""
        if self._process is not None:
            for pid in reversed(process_tree(self._process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pids(self) -> list[int]:
        """All its processes."""
        return process_tree(self._process.pid) if self._process is not None else []

    def _postgres(self) -> list[int]:
        return process_tree(self.postgres_pid) if self.postgres_pid else []

    async def watch(self, seen: Watched) -> None:
        """Until cancelled; what is seen goes into `seen`, the processor times as differences from now."""
        hub_before, postgres_before = cpu_s(self.pids()), cpu_s(self._postgres())
        weighed_at = 0.0
        try:
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.auditor}"}) as session:
                while True:
                    with suppress(aiohttp.ClientError, TimeoutError):
                        size = await self._as_of(session)
                        seen.sizes.append((time.monotonic(), max(size, seen.sizes[-1][1] if seen.sizes else 0)))
                    if time.monotonic() > weighed_at + WEIGH_S:
                        weighed_at = time.monotonic()
                        self._weigh(seen)
                    await asyncio.sleep(LOOK_S)
        finally:
            self._weigh(seen)
            seen.hub_cpu_s = cpu_s(self.pids()) - hub_before
            seen.postgres_cpu_s = cpu_s(self._postgres()) - postgres_before

    def _weigh(self, seen: Watched) -> None:
        seen.hub_mib = max(seen.hub_mib, resident_mib(self.pids()))
        seen.postgres_mib = max(seen.postgres_mib, proportional_mib(self._postgres()))

    async def _as_of(self, session: aiohttp.ClientSession) -> int:
        async with session.get(f"{self.url}/v1/totals") as response:
            response.raise_for_status()
            return int((await response.json())["as_of"]["size"])

    async def until_visible(self, seen: Watched, size: int, timeout_s: float) -> None:
        """A query as of at least that size was seen by `watch`. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not seen.sizes or seen.sizes[-1][1] < size:  # noqa: ASYNC110 - as often as `watch` looks
                await asyncio.sleep(LOOK_S)

    async def audit(self, out: Path) -> dict[str, Any]:
        """`hub export`, then `audit`: the report, with how long both took."""
        begun = time.monotonic()
        await asyncio.to_thread(simpul, "hub", "export", str(self.directory), str(out))
        exported = time.monotonic()
        report = await asyncio.to_thread(_audit, out, self.vkey)
        return {**report, "export_s": exported - begun, "audit_s": time.monotonic() - exported}

    def peak_mib(self) -> float:
        """The most that each of its processes had resident so far, summed."""
        return resident_mib(self.pids(), "VmHWM")


def _audit(out: Path, vkey: str) -> dict[str, Any]:
    try:
        return simpul("audit", str(out), "--vkey", vkey)
    except subprocess.CalledProcessError as error:
        return {"ok": False, "stderr": error.stderr.decode(errors="replace")[-2000:]}
