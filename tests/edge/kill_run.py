"""Kill -9 of node and hub at random moments during a push (issue 2, done when 5).

    python -m tests.edge.kill_run --kills 20 --changes 5000 [--seed N]

The same seed makes the same choices; the moments depend on the machine as well. Prints its figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import Running, spawn, told, wait_for
from tests.edge.whole_way import SAMARINDA, HubDirectory, NodeDirectory, end

SETS_PER_KILL: Final = 40  # enough that there is something left to push when the last kill comes
AT_WORK: Final = 0.8  # of the kills come after a set got through, the others at any moment of a start
LONGEST_LIFE_S: Final = 0.2  # from then to the kill
DRAIN_S: Final = 90


@dataclass
class Figures:
    """How a run went. `log_sizes` is the hub's log at each kill: how far the push had come."""

    seed: int
    kills: int
    changes: int
    node_kills: int = 0
    hub_kills: int = 0
    import_kills: int = 0
    log_sizes: list[int] = field(default_factory=list)
    in_projection: int = 0
    in_log: int = 0
    sets: int = 0
    refused: int = 0
    findings: int = 0
    same_state_hash: bool = False
    seconds: float = 0.0


@dataclass
class KillRun:
    """One run in a folder of its own."""

    place: Path
    figures: Figures
    say: Callable[[str], None]
    chance: random.Random = field(init=False)
    hub: HubDirectory = field(init=False)
    node: NodeDirectory = field(init=False)
    pushing: Running | None = None

    def __post_init__(self) -> None:
        self.chance = random.Random(self.figures.seed)

    def run(self) -> Figures:
        """Raises AssertionError if anything is lost, there twice, or out of order."""
        started = time.monotonic()
        self.hub = HubDirectory.make(self.place / "hub")
        self.hub.serve()
        self.node = NodeDirectory(self.place / "node")
        try:
            self.node.enrol(self.hub)
            self.import_under_kills()
            for number in range(self.figures.kills):
                self.kill_once(number)
            self.drain()
            self.check()
        finally:
            end(self.hub.server)
            end(self.pushing)
        self.figures.seconds = round(time.monotonic() - started, 1)
        return self.figures

    def import_under_kills(self) -> None:
        """The file goes in, whatever dies on the way: the last, whole import says how much was there already."""
        rows = [sp4n_row(number) for number in range(1, self.figures.changes + 1)]
        file = write_csv(self.place / "export.csv", rows)
        words = ("node", "import", self.node.directory, file, "--json")
        for _ in range(2):
            importing = spawn(*words)
            time.sleep(self.chance.uniform(0.1, LONGEST_LIFE_S))
            if importing.is_alive:
                importing.kill()
                self.figures.import_kills += 1
        report = told(*words[:-1])
        assert report["imported"] + report["already_there"] == self.figures.changes, report

    def kill_once(self, number: int) -> None:
        if self.pushing is None or not self.pushing.is_alive:
            small_sets = max(1, self.figures.changes // (self.figures.kills * SETS_PER_KILL))
            self.pushing = self.node.begin_push(timeout_s=DRAIN_S, env={"SIMPUL_SET_CHANGES_MAX": str(small_sets)})
        if self.chance.random() < AT_WORK:
            known = self.hub.size
            wait_for("a set that gets through", lambda: self.hub.size > known, within_s=DRAIN_S, every_s=0.01)
        time.sleep(self.chance.uniform(0.0, LONGEST_LIFE_S))
        self.figures.log_sizes.append(self.hub.size)
        if self.chance.random() < 0.5:
            self.pushing.kill()
            self.figures.node_kills += 1
        else:
            assert self.hub.server is not None
            self.hub.server.kill()
            self.figures.hub_kills += 1
            time.sleep(self.chance.uniform(0.0, 0.3))
            self.hub.restart()
        self.say(f"kill {number + 1} of {self.figures.kills}, log size {self.figures.log_sizes[-1]}")

    def drain(self) -> None:
        left = self.node.status()
        assert left["unsent"] + left["unacknowledged"] > 0, "the push was over before the last kill"
        end(self.pushing)  # its small sets made it slow; what it leaves goes out in large ones
        status = self.node.push(timeout_s=DRAIN_S)
        assert (status["unsent"], status["unacknowledged"], status["troubles"]) == (0, 0, []), status

    def check(self) -> None:
        """Everything is there exactly once: in the log, in the projection, in the audit's own count."""
        wanted, figures = self.figures.changes, self.figures
        export = self.hub.export(self.place / "export")
        report = self.hub.audit(export)
        claimed = json.loads((export / "hub.json").read_text())
        figures.in_log, figures.sets = report["changes"], report["change_sets"]
        figures.refused, figures.findings = report["refused"], len(report["findings"])
        figures.in_projection = claimed["totals"][f"applied/{SAMARINDA}//"]
        rebuilt = told("hub", "rebuild", self.hub.directory)
        figures.same_state_hash = rebuilt["before"] == rebuilt["after"] == report["state_hash"]
        assert (figures.in_log, figures.in_projection, report["complaints"]) == (wanted, wanted, wanted), figures
        assert (figures.refused, figures.findings, figures.same_state_hash) == (0, 0, True), figures
        assert self.hub.status()["forks"] == []
        assert Counter(report["by_state"]) == {"closed": wanted}


def kill_run(place: Path, *, kills: int, changes: int, seed: int, say: Callable[[str], None] = print) -> Figures:
    """See the module."""
    return KillRun(place, Figures(seed, kills, changes), say).run()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--changes", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    asked = parser.parse_args()

    def say(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    say(f"seed {asked.seed}")
    with tempfile.TemporaryDirectory(prefix="simpul-kills-") as place:
        figures: dict[str, Any] = asdict(
            kill_run(Path(place), kills=asked.kills, changes=asked.changes, seed=asked.seed, say=say)
        )
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
