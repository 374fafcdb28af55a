"""All nodes of the national bench, in their processes, and the phases that they go through together."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from array import array
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.national_hub import NationalHub, Watched
from tests.bench.national_measures import cpu_s, percentile, resident_mib, threads

PATIENCE_S = 900.0  # for what is pushed to be visible, on the slowest machine this should run on
REST_S = 60.0  # a quarter of what a node waits for in its inbox: a quarter of them ask anew
LINE_MAX_BYTES = 2**24  # of what a process of nodes says at once: a number for each of its nodes
_AUDIT_SHOWN = ("ok", "findings", "stderr", "export_s", "audit_s")
Share = Callable[[int], dict[str, Any]]
Answers = Awaitable[list[dict[str, Any]]]


class Country:
    """Made with a hub that does not serve yet; `open`, then any phases, then `close`."""

    def __init__(self, hub: NationalHub, folder: Path, agencies: list[str], *, workers: int) -> None:
        self.hub = hub
        self.folder = folder
        self.shares = [agencies[number::workers] for number in range(workers) if agencies[number::workers]]
        self._workers: list[Process] = []
        self._wire = (0, 0)
        self._begun_at = 0.0

    async def open(self, database_url: str | None) -> dict[str, Any]:
        """The hub founded and serving, every node enrolled, running and heard once."""
        agencies = [agency for share in self.shares for agency in share]
        tokens = dict(zip(agencies, await self.hub.found(database_url, agencies), strict=True))
        await self.hub.start()
        for _ in self.shares:
            words = (sys.executable, "-m", "tests.bench.national_nodes")
            pipes = {"stdin": PIPE, "stdout": PIPE, "limit": LINE_MAX_BYTES, "start_new_session": True}
            self._workers.append(await asyncio.create_subprocess_exec(*words, **pipes))  # type: ignore[arg-type]

        def invitations(number: int) -> dict[str, Any]:
            return {"invitations": [[agency, tokens[agency], self._home(agency)] for agency in self.shares[number]]}

        enrolled = await self._ask("enrol", invitations, hub=self.hub.url, vkey=self.hub.vkey)
        opened = await self._ask("open", lambda number: {"directories": [*map(self._home, self.shares[number])]})
        self._wire = _wire(opened)
        return {
            "nodes": len(agencies),
            "enrolled_s": max(answer["seconds"] for answer in enrolled),
            "all_heard_s": max(answer["seconds"] for answer in opened),
        }

    def _home(self, agency: str) -> str:
        return str(self.folder / f"node-{agency}")

    async def phase(self, name: str, chosen: argparse.Namespace) -> dict[str, Any]:
        """One of `rest`, `waiting`, `steady`, `storm`, `year`: its figures."""
        match name:
            case "rest":
                return await self._watched(self._ask("rest", seconds=min(REST_S, chosen.seconds)))
            case "waiting":
                await self._ask("waiting", seconds=0)  # each has begun
                return await self._watched(self._ask("waiting", seconds=min(REST_S, chosen.seconds)))
            case "steady":
                return await self._watched(self._sampled("steady", seconds=chosen.seconds, every_s=chosen.every))
            case "storm":
                return await self._storm(chosen)
            case _:
                return await self._watched(self._sampled("year", days=chosen.days, first=self._first))

    def _first(self, number: int) -> int:
        return sum(map(len, self.shares[:number]))

    async def _watched(self, answering: Answers, begun_at: float | None = None) -> dict[str, Any]:
        """Waits for the answers to an order while hub and nodes are watched, until all that was pushed is visible."""
        seen = Watched()
        pids = [worker.pid for worker in self._workers]
        nodes_before = cpu_s(pids)
        self._begun_at = time.monotonic() if begun_at is None else begun_at
        watching = asyncio.create_task(self.hub.watch(seen))
        try:
            answers = await answering
            ended_at = time.monotonic()
            samples = self._samples()
            if samples:
                await self.hub.until_visible(seen, max(int(index) for _, _, index in samples) + 1, PATIENCE_S)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        found = self._figures(samples, answers, seen, ended_at)
        found["cpu_s"] = {
            "hub": round(seen.hub_cpu_s, 2),
            "postgresql": round(seen.postgres_cpu_s, 2),
            "nodes": round(cpu_s(pids) - nodes_before, 2),
        }
        found["nodes_mib"], found["nodes_threads"] = round(resident_mib(pids)), threads(pids)
        return found

    async def _storm(self, chosen: argparse.Namespace) -> dict[str, Any]:
        """The clock of this phase begins when the hub answers again; what the nodes did before is not in it."""
        await self.hub.stop()
        begun_at = time.monotonic()
        await self._ask("hold", changes=chosen.changes, batch=chosen.batch)
        returned_at = await self.hub.start()
        found = await self._watched(self._sampled("come_back"), returned_at)
        return {**found, "hub_away_s": returned_at - begun_at}

    async def _sampled(self, order: str, **words: Any) -> list[dict[str, Any]]:
        first = words.pop("first", None)

        def share(number: int) -> dict[str, Any]:
            return {"samples": str(self._samples_file(number)), **({"first": first(number)} if first else {})}

        return await self._ask(order, share, **words)

    def _samples_file(self, number: int) -> Path:
        return self.folder / f"samples-{number}"

    def _samples(self) -> list[tuple[float, float, float]]:
        """(committed, receipt durable, log index) of every change of this phase; taken away."""
        found: list[tuple[float, float, float]] = []
        for number in range(len(self.shares)):
            values = array("d")
            file = self._samples_file(number)
            if file.exists():
                values.frombytes(file.read_bytes())
                file.unlink()
            found += zip(values[::3], values[1::3], values[2::3], strict=True)
        return found

    def _figures(
        self, samples: list[tuple[float, float, float]], answers: list[dict[str, Any]], seen: Watched, ended_at: float
    ) -> dict[str, Any]:
        seconds = (max(receipted for _, receipted, _ in samples) if samples else ended_at) - self._begun_at
        found: dict[str, Any] = {"seconds": seconds, "hub_mib": round(seen.hub_mib), "hub_peak_mib": 0}
        found["hub_peak_mib"] = round(self.hub.peak_mib())
        found["postgresql_mib"] = round(seen.postgres_mib)
        if not samples:
            return found
        visible = [(committed, seen.visible_at(int(index)) or ended_at) for committed, _, index in samples]
        wire = _wire(answers)
        found |= {
            "changes": len(samples),
            "change_sets": sum(answer["sets"] for answer in answers),
            "changes_per_s": len(samples) / seconds,
            "sets_per_s": sum(answer["sets"] for answer in answers) / seconds,
            "receipt_ms": _spread([receipted - committed for committed, receipted, _ in samples]),
            "visible_ms": _spread([at - committed for committed, at in visible]),
            "all_visible_s": max(at for _, at in visible) - self._begun_at,
            "wire_bytes_a_change": {
                "sent": (wire[0] - self._wire[0]) / len(samples),
                "received": (wire[1] - self._wire[1]) / len(samples),
            },
        }
        self._wire = wire
        if "late_s" in answers[0]:
            found["timetable_late_s"] = max(answer["late_s"] for answer in answers)
        finished = sorted(at - self._begun_at for answer in answers for at in answer.get("finished", ()))
        if finished:
            found["node_finished_s"] = {"first": finished[0], "median": median(finished), "last": finished[-1]}
            found["slowest_vs_median"] = finished[-1] / median(finished)
        return found

    async def close(self) -> dict[str, Any]:
        """All nodes ended, the hub audited: its report, and whether its counts are exactly what was recorded."""
        held = await self._ask("close")
        wanted = {
            "agencies": sum(map(len, self.shares)),
            "changes": sum(answer["recorded"] for answer in held),
            "complaints": sum(answer["complaints"] for answer in held),
            "change_sets": sum(answer["sets"] for answer in held),
            "refused": 0,
        }
        report = await self.hub.audit(self.folder / "export")
        await self.hub.stop()
        found = {name: report.get(name) for name in wanted}
        counts = {"recorded": wanted, "audited": found, "refused_at_nodes": sum(answer["refused"] for answer in held)}
        more = {name: value for name, value in report.items() if name in _AUDIT_SHOWN}
        log = report.get("log", {})
        return {"exact": bool(report.get("ok")) and found == wanted, **more, "log": log, "counts": counts}

    async def end(self) -> None:
        """At once, whatever the processes of the nodes are doing."""
        for worker in self._workers:
            with suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()

    async def _ask(self, order: str, share: Share = lambda _: {}, **words: Any) -> list[dict[str, Any]]:
        """The same order to every process, each with its share of it; their answers."""
        progress = _Progress(order)
        return await asyncio.gather(
            *(
                _ask_one(worker, {"do": order, **words, **share(number)}, progress)
                for number, worker in enumerate(self._workers)
            )
        )


class _Progress:
    """What is done of an order, on stderr, a line every few seconds."""

    def __init__(self, order: str) -> None:
        self._order = order
        self._done = 0
        self._said_at = time.monotonic()

    def more(self, count: int) -> None:
        self._done += count
        if time.monotonic() > self._said_at + 5:
            self._said_at = time.monotonic()
            print(f"         {self._order}: {self._done:,}", file=sys.stderr, flush=True)


async def _ask_one(worker: Process, order: dict[str, Any], progress: _Progress) -> dict[str, Any]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(order).encode() + b"\n")
    await worker.stdin.drain()
    while line := await worker.stdout.readline():
        answer = json.loads(line)
        if "result" in answer:
            result: dict[str, Any] = answer["result"]
            return result
        progress.more(answer["progress"])
    raise RuntimeError(f"a process of nodes ended during {order['do']!r}; its last words are above")


def _wire(answers: list[dict[str, Any]]) -> tuple[int, int]:
    """Bytes so far: sent by the nodes, received by them."""
    return sum(answer["sent"] for answer in answers), sum(answer["received"] for answer in answers)


def _spread(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50": percentile(ordered, 0.5) * 1000,
        "p99": percentile(ordered, 0.99) * 1000,
        "max": ordered[-1] * 1000,
    }
