"""Kill -9 of hub and nodes at random moments while the nodes push: everything is there once, under one root a size.

The hub is on SQLite, or on a real PostgreSQL and served by several processes; then what is killed is one of them, the
one that projects, or their parent. A watcher asks for the checkpoint all the while. `python -m tests.edge.kills` runs
many of them.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
import urllib.error
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.kill_figures import Asked, Figures
from tests.edge.processes import children_of, is_alive
from tests.edge.program import Running, spawn, told, wait_for
from tests.edge.watcher import Watcher, watching
from tests.edge.whole_way import SAMARINDA, HubDirectory, NodeDirectory, end

AGENCIES: Final = (SAMARINDA, "33.75", "35.71", "31.71", "73.71")
SETS_PER_KILL: Final = 60  # small sets, so that a push outlasts some kills
MORE_CHANGES: Final = 200  # for a node that has nothing left
AT_WORK: Final = 0.8  # of the kills come after a set got through, the others at any moment of a start
LONGEST_LIFE_S: Final = 0.3  # from then to the kill
DRAIN_S: Final = 120
TAKE_OVER_S: Final = 5.0
GONE_S: Final = 10.0  # children whose parent was killed
ADDRESS_S: Final = 0.3  # at most, until a hub that is alone is started again


@dataclass
class Pushing:
    """A node, the rows that it was given, and its push that is under way."""

    node: NodeDirectory
    place: Path
    rows: int = 0
    process: Running | None = None

    def write_rows(self, count: int) -> Path:
        """The next so many rows of its export."""
        first, self.rows = self.rows + 1, self.rows + count
        rows = [sp4n_row(number) for number in range(first, self.rows + 1)]
        return write_csv(self.place / f"{self.node.agency}-{first}.csv", rows)

    def import_rows(self, count: int) -> None:
        """All of them go in."""
        assert self.node.import_(self.write_rows(count))["imported"] == count

    def keep_at_it(self, set_changes: int) -> None:
        """It pushes; where everything is sent it gets more first."""
        if self.process is not None and self.process.is_alive:
            return
        if self.process is not None and self.process.code == 0:
            self.import_rows(MORE_CHANGES)
        env = {"SIMPUL_SET_CHANGES_MAX": str(set_changes)}
        self.process = self.node.begin_push(timeout_s=DRAIN_S, env=env)


@dataclass
class KillRun:
    """One run in a folder of its own, with a database of its own."""

    place: Path
    asked: Asked
    say: Callable[[str], None]
    figures: Figures = field(init=False)
    nodes: list[Pushing] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.asked.seed)
        self.figures = Figures(self.asked.seed)

    @property
    def has_processes(self) -> bool:
        return self.asked.database_url is not None

    def run(self) -> Figures:
        """Raises AssertionError if anything is lost, there twice, out of order, or shown in two ways."""
        started, asked = time.monotonic(), self.asked
        self.hub = HubDirectory.make(self.place / "hub", database_url=asked.database_url, lock_url=asked.lock_url)
        self.hub.serve(processes=asked.processes)
        try:
            with watching(self.hub) as watcher:
                self.fill_nodes()
                for number in range(asked.kills):
                    self.kill_once(number)
                self.drain()
        finally:
            end(self.hub.server)
            for one in self.nodes:
                end(one.process)
        self.check(watcher)
        self.figures.seconds = round(time.monotonic() - started, 1)
        return self.figures

    def fill_nodes(self) -> None:
        """Each gets its share, whatever dies on the way: the whole import says how much was there already."""
        share = self.asked.changes // self.asked.nodes
        for agency in AGENCIES[: self.asked.nodes]:
            one = Pushing(NodeDirectory(self.place / agency, agency), self.place)
            one.node.enrol(self.hub)
            file = one.write_rows(share)
            words = ("node", "import", one.node.directory, file, "--json")
            importing = spawn(*words)
            time.sleep(self.chance.uniform(0.1, LONGEST_LIFE_S))
            if importing.is_alive:
                importing.kill()
                self.figures.killed["import"] += 1
            report = told(*words[:-1])
            assert report["imported"] + report["already_there"] == share, report
            self.nodes.append(one)

    def keep_pushing(self) -> None:
        """Every node is at it."""
        for one in self.nodes:
            one.keep_at_it(max(1, self.asked.changes // (self.asked.kills * SETS_PER_KILL)))

    def kill_once(self, number: int) -> None:
        self.keep_pushing()
        known = self.size()
        if self.chance.random() < AT_WORK:

            def got_through() -> bool:
                self.keep_pushing()
                return self.size() > known

            wait_for("a set that gets through", got_through, within_s=DRAIN_S, every_s=0.02)
        time.sleep(self.chance.uniform(0.0, LONGEST_LIFE_S))
        victims = {"node": (self.kill_node, 3), "hub": (self.kill_hub, 3)}
        if self.has_processes:
            victims = {
                "child": (self.kill_child, 4),
                "leader": (self.kill_leader, 3),
                "parent": (self.kill_parent, 2),
                "node": (self.kill_node, 2),
            }
        names = list(victims)  # each of them once, then by chance
        weights = [weight for _, weight in victims.values()]
        name = names[number] if number < len(names) else self.chance.choices(names, weights)[0]
        self.figures.killed[name] += 1
        victims[name][0]()
        self.say(f"kill {number + 1} of {self.asked.kills}: {name}, log size {known}")

    def kill_node(self) -> None:
        wait_for("a node that pushes", self.pushing, within_s=DRAIN_S, every_s=0.01)
        self.chance.choice(self.pushing()).kill()

    def pushing(self) -> list[Running]:
        self.keep_pushing()
        return [one.process for one in self.nodes if one.process is not None and one.process.is_alive]

    def kill_hub(self) -> None:
        assert self.hub.server is not None
        self.hub.server.kill()
        time.sleep(self.chance.uniform(0.0, ADDRESS_S))
        self.hub.restart()

    def kill_child(self) -> None:
        children = wait_for("a process of the hub", self.children, within_s=DRAIN_S, every_s=0.01)
        with suppress(ProcessLookupError):
            os.kill(self.chance.choice(children), signal.SIGKILL)

    def kill_leader(self) -> None:
        leaders = wait_for("a leader", self.leaders, within_s=DRAIN_S, every_s=0.02)
        with suppress(ProcessLookupError):
            os.kill(leaders[-1], signal.SIGKILL)
        killed_at = time.monotonic()
        wait_for("a new leader", lambda: len(self.leaders()) > len(leaders), within_s=TAKE_OVER_S, every_s=0.01)
        self.figures.take_overs_s.append(round(time.monotonic() - killed_at, 3))

    def kill_parent(self) -> None:
        children = self.children()
        assert self.hub.server is not None
        self.hub.server.kill()
        # At once, as a supervisor would: the address comes free while the children still finish what is under way.
        self.hub.restart(processes=self.asked.processes)
        wait_for("its children to end", lambda: not any(map(is_alive, children)), within_s=GONE_S, every_s=0.02)

    def children(self) -> list[int]:
        assert self.hub.server is not None
        return children_of(self.hub.server.process.pid or 0)

    def leaders(self) -> list[int]:
        assert self.hub.server is not None
        return leaders_in(self.hub.server.said())

    def size(self) -> int:
        """Of the log, as some process tells it; a dead one is asked again elsewhere."""
        for _ in range(200):
            with suppress(OSError, urllib.error.URLError):
                return self.hub.size
            time.sleep(0.02)
        raise AssertionError("the hub does not answer")

    def drain(self) -> None:
        for one in self.nodes:
            end(one.process)  # small sets made it slow; what is left goes out in large ones
            status = one.node.push(timeout_s=DRAIN_S)
            assert (status["unsent"], status["unacknowledged"], status["troubles"]) == (0, 0, []), status

    def check(self, watcher: Watcher) -> None:
        """Everything is there exactly once: in the log, in the projection, in the audit's own count."""
        self.figures.changes = sum(one.rows for one in self.nodes)
        agencies = [one.node.agency for one in self.nodes]
        report = self.figures.count_up(self.hub, self.place / "export", agencies, watcher, rebuilds=True)
        assert Counter(report["by_state"]) == {"closed": self.figures.changes}
        assert self.figures.sizes_seen > self.asked.kills // 2, self.figures


def leaders_in(said: str) -> list[int]:
    """Process ids of those that led since this parent began, the present one last."""
    pids: dict[int, int] = {}
    found: list[int] = []
    for line in said.splitlines():
        event = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
        if event.get("event") == "a process begins":
            pids[event["process"]] = event["pid"]
        elif event.get("event") == "projecting":
            found.append(pids[event["process"]])
    return found


def kill_run(place: Path, asked: Asked, say: Callable[[str], None] = print) -> Figures:
    """See the module."""
    return KillRun(place, asked, say).run()
