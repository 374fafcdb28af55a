"""Kill -9 of a hub while it is refilled and takes its log back: it goes on, and ends with the identical log (§10.6).

Two nodes push; the hub's database is put back to what it was at a third of its log, its lock folder stays. While the
nodes hand over what it lost, it is killed: when a part of the lines is there, when all are, while it appends. Then the
database is put back once more, for the next round.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.kill_figures import Asked, Figures
from tests.edge.program import Running, wait_for
from tests.edge.watcher import Watcher, roots_of, watching
from tests.edge.whole_way import SAMARINDA, HubDirectory, NodeDirectory, end

AGENCIES: Final = (SAMARINDA, "33.75")
BACKED_UP: Final = 1 / 3  # of the changes stand in the backup
# Between losing the log and having it again: how many of the lost sets have their lines here when the kill comes.
SHARES: Final = (0.05, 0.4, 0.8, 1.0, 1.0, 1.0)
# The hub looks once a second whether it has everything; a kill within that time is before, amid or after taking back.
TAKING_BACK_S: Final = 1.2
PUSH_S: Final = 3  # of one push: a hub that is recovering takes nothing in, so none ends drained
DRAIN_S: Final = 120
WHOLE_S: Final = 90.0  # lines that may still come are waited for; and a node that was away is invited anew


@dataclass
class RefillKills:
    """One run in a folder of its own."""

    place: Path
    asked: Asked
    say: Callable[[str], None]
    nodes: list[NodeDirectory] = field(default_factory=list)
    pushing: dict[int, Running] = field(default_factory=dict)

    def run(self) -> Figures:
        """Raises AssertionError if another log comes out, or anything is missing in it."""
        started, figures, self.chance = time.monotonic(), Figures(self.asked.seed), random.Random(self.asked.seed)
        self.hub = HubDirectory.make(self.place / "hub")
        self.hub.serve()
        try:
            self.live()
            self.known, self.state_hash = roots_of(self.hub), self.hub.audit_export(self.place / "before")["state_hash"]
            with watching(self.hub) as watcher:
                while figures.kills < self.asked.kills:
                    done = self.lose_and_refill(self.asked.kills - figures.kills)
                    figures.killed["hub taking its log back"] += done
            self.check(figures, watcher)
        finally:
            end(self.hub.server)
            for one in self.pushing.values():
                end(one)
        figures.seconds = round(time.monotonic() - started, 1)
        return figures

    def live(self) -> None:
        """Every change is a set of its own; the backup is made in between, while nothing runs."""
        share = self.asked.changes // len(AGENCIES)
        first = max(1, int(share * BACKED_UP))
        for agency in AGENCIES:
            node = NodeDirectory(self.place / agency, agency)
            node.enrol(self.hub)
            self.nodes.append(node)
        for start, stop in ((1, first), (first + 1, share)):
            rows = [sp4n_row(number) for number in range(start, stop + 1)]
            for node in self.nodes:
                node.import_(write_csv(self.place / f"{node.agency}-{start}.csv", rows))
                node.push(timeout_s=DRAIN_S, env={"SIMPUL_SET_CHANGES_MAX": "1"})
            if start == 1:
                self.stop()
                (self.place / "backup").mkdir()
                for file in self.hub.directory.glob("hub.db*"):
                    shutil.copy(file, self.place / "backup" / file.name)
                self.hub.restart()
        self.target, self.sets = self.hub.size, self.stored_sets()

    def stop(self) -> None:
        assert self.hub.server is not None
        assert self.hub.server.stop() == 0

    def lose_and_refill(self, kills: int) -> int:
        """The hub comes back to its whole log in spite of kills, of which there are so many at most: how many."""
        self.stop()
        for file in self.hub.directory.glob("hub.db*"):
            file.unlink()
        for file in (self.place / "backup").iterdir():
            shutil.copy(file, self.hub.directory / file.name)
        self.hub.restart()
        lost, done = self.sets - self.stored_sets(), 0
        for share in SHARES[:kills]:
            self.wait_for_lines(round(lost * share))
            time.sleep(self.chance.uniform(0.0, TAKING_BACK_S if share == 1.0 else 0.05))
            assert self.hub.server is not None
            lines, size, done = self.lines(), self.log_size(), done + 1
            self.hub.server.kill()
            self.say(f"killed with the lines of {lines} of {lost} sets, and {size} of {self.target} leaves")
            self.hub.restart()
            if self.log_size() >= self.target:
                break
        wait_for("the whole log", self.is_whole, within_s=WHOLE_S, every_s=0.1)
        assert roots_of(self.hub)[: len(self.known)] == self.known
        return done

    def wait_for_lines(self, count: int) -> None:
        """So many lost sets have their lines here again, or the log is whole already."""

        def is_there() -> bool:
            self.keep_pushing()
            return self.lines() >= count or self.log_size() >= self.target

        wait_for(f"the lines of {count} sets", is_there, within_s=WHOLE_S, every_s=0.002)

    def keep_pushing(self) -> None:
        for number, node in enumerate(self.nodes):
            if number not in self.pushing or not self.pushing[number].is_alive:
                self.pushing[number] = node.begin_push(timeout_s=PUSH_S)

    def lines(self) -> int:
        """Sets whose lines were gathered; the hub's own statements were never lost."""
        return int(self.ask("SELECT count(*) FROM recovered_leaf WHERE changes_frame IS NOT NULL"))

    def stored_sets(self) -> int:
        return int(self.ask("SELECT count(*) FROM change_set"))

    def log_size(self) -> int:
        return int(self.ask("SELECT max(size) FROM checkpoint"))

    def ask(self, query: str) -> Any:
        """Of the database beside the hub, which may be writing, or dead."""
        deadline = time.monotonic() + WHOLE_S
        while time.monotonic() < deadline:
            with suppress(sqlite3.OperationalError), closing(sqlite3.connect(self.hub.directory / "hub.db")) as found:
                return found.execute(query).fetchone()[0]
            time.sleep(0.01)
        raise AssertionError("the hub's database cannot be read")

    def is_whole(self) -> bool:
        self.keep_pushing()
        if self.log_size() < self.target:
            return False
        status = self.hub.status()
        return status["recovery"] is None and status["missing_sets"] == []

    def check(self, figures: Figures, watcher: Watcher) -> None:
        """The same leaves, the same roots, the same state; and the nodes have nothing left to say."""
        for number, node in enumerate(self.nodes):
            end(self.pushing.get(number))
            status = node.push(timeout_s=DRAIN_S)
            assert (status["unsent"], status["unacknowledged"], status["troubles"]) == (0, 0, []), status
        figures.changes = self.asked.changes // len(AGENCIES) * len(AGENCIES)
        report = figures.count_up(self.hub, self.place / "export", AGENCIES, watcher, rebuilds=True)
        if figures.log_size == self.target:  # neither heartbeat nor tick since
            assert report["state_hash"] == self.state_hash


def refill_kills(place: Path, asked: Asked, say: Callable[[str], None] = print) -> Figures:
    """See the module."""
    return RefillKills(place, asked, say).run()
