"""One process full of local nodes: `python -m tests.bench.national_nodes`, told what to do by lines of JSON on stdin.

Each order is answered by one line on stdout: `{"result": …}`; `{"progress": n}`, n more are done, may come before it.
Samples go to a file that the order names: float64 triples (committed, receipt durable, log index), times on the
system's monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
import time
import zlib
from array import array
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final

from node.config_data import config_file
from node.local.generator import Generator, parse_shapes
from node.local.recording import Outcome
from node.logs import configure_logs
from node.memory import settle_objects
from node.store.local_store import open_local_store
from node.wiring import local as local_wiring
from tests.bench.national_measures import WireCount
from tests.bench.national_member import Member
from tests.bench.national_year import Year, arrivals

AT_ONCE: Final = 16  # openings and fillings side by side: more only wait for the same two cores
LOOK_S: Final = 5.0  # a third of the time after which idle connections are closed
ARRIVED_MS: Final = 1_767_225_600_000  # 2026-01-01: when the made-up complaints say that they came in


def say(**words: Any) -> None:
    """One line to whoever gave the order."""
    print(json.dumps(words), flush=True)


class Nodes:
    """The nodes of this process, and what can be asked of them. Every public coroutine is an order."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.wire = WireCount(0)
        self._generators: list[Generator] = []
        self._watching: asyncio.Task[None] | None = None
        self._is_waiting = False

    async def enrol(self, hub: str, vkey: str, invitations: list[list[str]]) -> dict[str, Any]:
        """`invitations` are (agency, token, directory). Each node gets its keys, its database and its enrolment."""
        self.wire.port = int(hub.rpartition(":")[2])
        first = Path(invitations[0][2]).parent / f"empty-{invitations[0][0]}.db"
        await (await open_local_store(first, create=True)).close()

        async def enrol_one(invitation: list[str]) -> None:
            agency, token, directory = invitation
            home = Path(directory)
            await asyncio.to_thread(_make_home, home, first)
            words = {"hub": hub, "vkey": vkey, "agency": agency, "token": token}
            await local_wiring.enrol(home, **words, ca_file=None, allow_plain_http=False)

        begun = time.monotonic()
        await _side_by_side(enrol_one, invitations, 1)  # Alembic's context is one for the whole process
        return {"seconds": time.monotonic() - begun}

    async def open(self, directories: list[str]) -> dict[str, Any]:
        """Starts every node; done when each one's first heartbeat has its receipt."""
        begun = time.monotonic()

        async def open_one(directory: str) -> None:
            self.members.append(await Member.open(Path(directory)))

        await _side_by_side(open_one, directories, AT_ONCE)
        shapes = parse_shapes(config_file("generator.toml").read_bytes())
        for member in self.members:
            agency = member.parts.agency
            area = str(agency) if agency[:2].isdigit() else None
            self._generators.append(
                Generator(shapes, Chance(zlib.crc32(agency.encode())), place_name=str(agency), area=area)
            )
        self._watching = asyncio.create_task(self._watch())
        settle_objects()  # as `simpul node serve` does
        await asyncio.gather(*(member.until_first_receipt() for member in self.members))
        return {"seconds": time.monotonic() - begun, **self._report(None)}

    async def _watch(self) -> None:
        while True:
            self.wire.look()
            await asyncio.sleep(LOOK_S)

    async def rest(self, seconds: float) -> dict[str, Any]:
        """Nothing is recorded; what is measured is what that costs."""
        await asyncio.sleep(seconds)
        return {}

    async def waiting(self, seconds: float) -> dict[str, Any]:
        """The same, while every node waits in its inbox; they begin side by side, and so go on spread over time."""
        if not self._is_waiting:
            await _side_by_side(Member.wait_for_the_hub, self.members, AT_ONCE)
            self._is_waiting = True
        else:
            await asyncio.sleep(seconds)
        return {}

    async def steady(self, seconds: float, every_s: float, samples: str) -> dict[str, Any]:
        """Each node commits one change every `every_s`, on a timetable that waits for nobody."""
        late: list[float] = []
        begun = time.monotonic()

        async def work(member: Member, generator: Generator) -> None:
            due = begun + random.random() * every_s
            while due < begun + seconds:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                late.append(time.monotonic() - due)
                await member.record(list(islice(arrivals(generator, ARRIVED_MS), 1)))
                due += every_s
            await member.until_sent()

        await self._all(work)
        return self._report(samples) | {"late_s": max(late, default=0.0)}

    async def hold(self, changes: int, batch: int) -> dict[str, Any]:
        """While the hub is away: each node records `changes`, `batch` in a transaction, as an office does over time."""

        async def work(place: int) -> None:
            commands = arrivals(self._generators[place], ARRIVED_MS)
            left = changes
            while left > 0:
                await self.members[place].record(list(islice(commands, min(batch, left))))
                left -= batch

        await _side_by_side(work, range(len(self.members)), AT_ONCE)
        return {}

    async def come_back(self, samples: str) -> dict[str, Any]:
        """The hub is there again: everybody pushes at once. When each node had its last receipt, in order."""

        async def work(member: Member, _: Generator) -> None:
            member.come_back()
            await member.until_sent()

        await self._all(work)
        finished = [member.store.receipts[-1][0] for member in self.members]
        return self._report(samples) | {"finished": finished}

    async def year(self, days: int, first: int, samples: str) -> dict[str, Any]:
        """Each node lives through `days`, one after the other: the day's changes, their receipt, the next day."""
        done = 0

        async def work(member: Member, generator: Generator) -> None:
            nonlocal done
            year = Year(generator, first + self.members.index(member))
            for day in range(days):
                commands, came_in = year.day(day, ARRIVED_MS)
                if commands:
                    outcomes = await member.record(commands)
                    for made_up, outcome in zip(came_in, outcomes[len(commands) - len(came_in) :], strict=True):
                        if isinstance(outcome, Outcome):
                            year.begin(outcome.recorded.complaint, made_up, day)
                    await member.until_sent()
                done += 1
                if done % (20 * len(self.members)) == 0:
                    say(progress=20 * len(self.members))

        await self._all(work)
        return self._report(samples)

    async def close(self) -> dict[str, Any]:
        """Ends all nodes; what they hold, for the audit."""
        if self._watching is not None:
            self._watching.cancel()
        self._report(None)
        await asyncio.gather(*(member.close() for member in self.members))
        names = ("recorded", "complaints", "refused", "sets")
        return {name: sum(getattr(member, name) for member in self.members) for name in names}

    async def _all(self, work: Callable[[Member, Generator], Awaitable[None]]) -> None:
        pairs = zip(self.members, self._generators, strict=True)
        await asyncio.gather(*(work(member, generator) for member, generator in pairs))

    def _report(self, samples: str | None) -> dict[str, Any]:
        """Since the last report: samples into the file; bytes on the wire so far."""
        self.wire.look()
        sets = sum(len(member.store.receipts) for member in self.members)
        rows = array("d")
        for member in self.members:
            for committed, receipted, index in member.take_samples():
                rows.extend((committed, receipted, index))
        if samples is not None:
            Path(samples).write_bytes(rows.tobytes())
        return {"sets": sets, "changes": len(rows) // 3, "sent": self.wire.sent, "received": self.wire.received}


class Chance:
    """Seeded: implements node.ports.Randomness for made-up words only, never for identifiers."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def bytes(self, count: int) -> bytes:
        """Pseudo-random."""
        return self._random.randbytes(count)

    def fraction(self) -> float:
        """In [0, 1)."""
        return self._random.random()


def _make_home(home: Path, empty: Path) -> None:
    """A directory with the empty schema, which would take Alembic longer than all the rest of an enrolment."""
    home.mkdir(mode=0o700)
    shutil.copyfile(empty, home / "node.db")


async def _side_by_side(work: Callable[[Any], Awaitable[None]], items: Iterable[Any], at_once: int) -> None:
    waiting = iter(items)

    async def take() -> None:
        for count, item in enumerate(waiting, 1):
            await work(item)
            if count % 10 == 0:
                say(progress=10)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(take())


async def main() -> None:
    """Takes orders until stdin ends."""
    configure_logs("error")
    reader = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    nodes = Nodes()
    while line := await reader.readline():
        order = json.loads(line)
        say(result=await getattr(nodes, order.pop("do"))(**order))


if __name__ == "__main__":
    asyncio.run(main())
