"""What a run of kills is asked for, what it found, and what must hold in the end: the same for every kind of run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.edge.program import told
from tests.edge.watcher import Watcher, roots_of
from tests.edge.whole_way import HubDirectory


@dataclass(frozen=True)
class Asked:
    """The same seed makes the same choices; the moments depend on the machine as well.

    `changes` are what the nodes begin with; whoever has sent all of them before the last kill gets more. Where
    `database_url` is None the hub is on SQLite, and one process.
    """

    kills: int
    changes: int
    seed: int
    nodes: int = 1
    processes: int = 1
    database_url: str | None = None
    lock_url: str | None = None


@dataclass
class Figures:
    """How a run went. `take_overs_s`: after each kill of the leader, until another process led."""

    seed: int
    killed: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    in_log: int = 0
    in_projection: int = 0
    sets: int = 0
    log_size: int = 0
    checkpoints_seen: int = 0
    sizes_seen: int = 0
    findings: int = 0
    same_state_hash: bool = False
    take_overs_s: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """How many there were in all."""
        return self.killed.total()

    @property
    def lost(self) -> int:
        """Changes that are not there exactly once."""
        return abs(self.changes - self.in_log) + abs(self.changes - self.in_projection)

    def document(self) -> dict[str, Any]:
        """For a program."""
        return {"kills": self.kills, "lost": self.lost, **asdict(self), "killed": dict(self.killed)}

    def count_up(
        self, hub: HubDirectory, out: Path, agencies: Iterable[str], watcher: Watcher, *, rebuilds: bool = False
    ) -> Any:
        """What is in the log, in the query tables and in the audit's own count, once everything is sent: its report.

        `changes` were recorded. With `rebuilds` the query tables are also folded again. Raises AssertionError if
        anything is lost, there twice, or was shown in two ways.
        """
        export = hub.export(out)
        report, claimed = hub.audit(export), json.loads((export / "hub.json").read_text())
        hashes, roots = {report["state_hash"], claimed["state_hash"]}, roots_of(hub)
        if rebuilds:
            rebuilt = told("hub", "rebuild", hub.directory)
            hashes |= {rebuilt["before"], rebuilt["after"]}
            assert hub.status()["forks"] == []
        self.in_log, self.sets, self.findings = report["changes"], report["change_sets"], len(report["findings"])
        self.in_projection = sum(claimed["totals"][f"applied/{agency}//"] for agency in agencies)
        self.same_state_hash = len(hashes) == 1
        self.checkpoints_seen, self.sizes_seen = watcher.seen, len(watcher.roots)
        self.log_size = len(roots) - 1
        assert (self.lost, report["complaints"], report["refused"]) == (0, self.changes, 0), self
        assert (self.findings, self.same_state_hash) == (0, True), self
        watcher.check(roots)
        return report
