"""Kill -9 of the processes of one hub at random moments, while several nodes push (issue 3, done when 5).

    python -m tests.edge.process_kills --kills 50 --processes 3 [--nodes 3] [--changes 12000] [--seed N]

A hub on a real PostgreSQL serves with several processes. What is killed is one of them, the one that projects, their
parent, or a pushing node. A watcher asks for the checkpoint all the while, each time over a new connection, so that it
hears all processes. At the end everything is there once, and nothing that was ever shown disagrees with the log.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from node.store.postgres_hub import PostgresHubStore
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.merkle import CompactRange, leaf_hash
from sync_protocol.note import VerifierKey
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import Running, told, wait_for
from tests.edge.whole_way import ORIGIN, SAMARINDA, HubDirectory, NodeDirectory, end
from tests.postgres import fresh_database, running_server

AGENCIES: Final = (SAMARINDA, "33.75", "35.71", "31.71", "73.71")
SETS_PER_KILL: Final = 240  # that there is something left to push when the last kill comes
LONGEST_LIFE_S: Final = 0.3
DRAIN_S: Final = 120
TAKE_OVER_S: Final = 5.0
GONE_S: Final = 10.0  # children whose parent was killed


@dataclass
class Figures:
    """How a run went. `take_overs_s`: after each kill of the leader, until another process led."""

    seed: int
    kills: int
    processes: int
    changes: int
    killed: dict[str, int] = field(default_factory=dict)
    take_overs_s: list[float] = field(default_factory=list)
    checkpoints_seen: int = 0
    sizes_seen: int = 0
    in_log: int = 0
    in_projection: int = 0
    sets: int = 0
    log_size: int = 0
    findings: int = 0
    same_state_hash: bool = False
    seconds: float = 0.0


@dataclass
class Watcher:
    """Asks for the checkpoint again and again; never are there two roots for one size."""

    hub: HubDirectory
    roots: dict[int, bytes] = field(default_factory=dict)
    seen: int = 0
    wrong: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        vkey = VerifierKey.parse(self.hub.vkey)
        while not self.is_over.wait(0.003):
            with suppress(OSError, urllib.error.URLError, ValueError):
                with urllib.request.urlopen(self.hub.url + "/checkpoint", timeout=5) as answer:
                    note = answer.read()
                checkpoint = open_checkpoint(note, [vkey], ORIGIN).checkpoint
                self.seen += 1
                if self.roots.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
                    self.wrong.append(f"two roots for size {checkpoint.size}")


@dataclass
class ProcessKills:
    """One run in a folder of its own, with a database of its own."""

    place: Path
    database_url: str
    figures: Figures
    node_count: int
    say: Callable[[str], None]
    lock_url: str | None = None

    def __post_init__(self) -> None:
        self.chance = random.Random(self.figures.seed)
        self.nodes: list[NodeDirectory] = []
        self.pushing: dict[int, Running] = {}

    def run(self) -> Figures:
        """Raises AssertionError if anything is lost, there twice, out of order, or shown in two ways."""
        started = time.monotonic()
        self.hub = HubDirectory.make(self.place / "hub", database_url=self.database_url, lock_url=self.lock_url)
        self.hub.serve(processes=self.figures.processes)
        watcher = Watcher(self.hub)
        watching = threading.Thread(target=watcher.run)
        watching.start()
        try:
            self.fill_nodes()
            for number in range(self.figures.kills):
                self.kill_once(number)
            self.drain()
        finally:
            watcher.is_over.set()
            watching.join()
            end(self.hub.server)
            for pushing in self.pushing.values():
                end(pushing)
        self.check(watcher)
        self.figures.seconds = round(time.monotonic() - started, 1)
        return self.figures

    def fill_nodes(self) -> None:
        share = self.figures.changes // self.node_count
        file = write_csv(self.place / "export.csv", [sp4n_row(number) for number in range(1, share + 1)])
        for agency in AGENCIES[: self.node_count]:
            node = NodeDirectory(self.place / agency, agency)
            node.enrol(self.hub)
            assert node.import_(file)["imported"] == share
            self.nodes.append(node)

    def keep_pushing(self) -> None:
        """Every node is at it, in sets so small that the push outlasts the kills."""
        small_sets = max(1, self.figures.changes // (self.figures.kills * SETS_PER_KILL))
        for number, node in enumerate(self.nodes):
            if number not in self.pushing or not self.pushing[number].is_alive:
                env = {"SIMPUL_SET_CHANGES_MAX": str(small_sets)}
                self.pushing[number] = node.begin_push(timeout_s=DRAIN_S, env=env)

    def kill_once(self, number: int) -> None:
        self.keep_pushing()
        known = self.size()
        try:
            wait_for("a set that gets through", lambda: self.size() > known, within_s=DRAIN_S, every_s=0.02)
        except AssertionError as error:  # is it the hub, or have the nodes nothing left?
            raise AssertionError(f"{error}: {[node.status() for node in self.nodes]}") from error
        time.sleep(self.chance.uniform(0.0, LONGEST_LIFE_S))
        victims = {"child": self.kill_child, "leader": self.kill_leader, "parent": self.kill_parent}
        names = [*victims, "node"]
        name = names[number] if number < len(names) else self.chance.choices(names, (4, 3, 2, 1))[0]
        self.figures.killed[name] = self.figures.killed.get(name, 0) + 1
        victims.get(name, self.kill_node)()
        self.say(f"kill {number + 1} of {self.figures.kills}: {name}, log size {known}")

    def kill_child(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.chance.choice(self.children()), signal.SIGKILL)

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
        self.hub.restart(processes=self.figures.processes)
        wait_for("its children to end", lambda: not any(map(_is_alive, children)), within_s=GONE_S, every_s=0.02)

    def kill_node(self) -> None:
        self.chance.choice(list(self.pushing.values())).kill()

    def children(self) -> list[int]:
        assert self.hub.server is not None
        return children_of(self.hub.server.process.pid or 0)

    def leaders(self) -> list[int]:
        """Process ids of those that led since this parent began, the present one last."""
        assert self.hub.server is not None
        pids: dict[int, int] = {}
        found: list[int] = []
        for line in self.hub.server.said().splitlines():
            said = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
            if said.get("event") == "a process begins":
                pids[said["process"]] = said["pid"]
            elif said.get("event") == "projecting":
                found.append(pids[said["process"]])
        return found

    def size(self) -> int:
        """Of the log, as some process tells it; a dead one is asked again elsewhere."""
        for _ in range(200):
            with suppress(OSError, urllib.error.URLError):
                return self.hub.size
            time.sleep(0.02)
        raise AssertionError("the hub does not answer")

    def drain(self) -> None:
        unsent = sum(node.status()["unsent"] for node in self.nodes)
        assert unsent, "the push was over before the last kill"
        for number, node in enumerate(self.nodes):
            end(self.pushing[number])  # small sets made it slow; what is left goes out in large ones
            status = node.push(timeout_s=DRAIN_S)
            assert (status["unsent"], status["unacknowledged"], status["troubles"]) == (0, 0, []), status

    def check(self, watcher: Watcher) -> None:
        figures = self.figures
        export = self.hub.export(self.place / "export")
        report = self.hub.audit(export)
        figures.in_log, figures.sets, figures.findings = (
            report["changes"],
            report["change_sets"],
            len(report["findings"]),
        )
        totals = json.loads((export / "hub.json").read_text())["totals"]
        figures.in_projection = sum(totals[f"applied/{node.agency}//"] for node in self.nodes)
        rebuilt = told("hub", "rebuild", self.hub.directory)
        figures.same_state_hash = rebuilt["before"] == rebuilt["after"] == report["state_hash"]
        figures.checkpoints_seen, figures.sizes_seen = watcher.seen, len(watcher.roots)
        roots = asyncio.run(roots_of(self.database_url))
        figures.log_size = len(roots) - 1
        wanted = figures.changes // self.node_count * self.node_count
        assert (figures.in_log, figures.in_projection, report["complaints"]) == (wanted, wanted, wanted), figures
        assert (report["refused"], figures.findings, figures.same_state_hash) == (0, 0, True), figures
        assert self.hub.status()["forks"] == []
        assert watcher.wrong == []
        assert figures.sizes_seen > figures.kills // 2, figures
        for size, root in watcher.roots.items():
            assert roots[size] == root, f"what was shown for size {size} is not the log's root"


async def roots_of(database_url: str) -> list[bytes]:
    """The root of every size of the log, from its leaves alone."""
    store = await PostgresHubStore.open(database_url)
    try:
        newest = await store.newest_checkpoint()
        assert newest is not None
        tree = CompactRange()
        roots = [tree.root()]
        for entry in await store.entries(0, newest.size):
            tree.append(leaf_hash(entry))
            roots.append(tree.root())
        return roots
    finally:
        await store.close()


def children_of(parent: int) -> list[int]:
    """Living child processes, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, fields = stat.read_text().rpartition(") ")
            if fields.split()[:2] != ["Z", str(parent)] and int(fields.split()[1]) == parent:
                found.append(int(name.split(" ", 1)[0]))
    return found


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def process_kills(
    place: Path,
    database_url: str,
    *,
    kills: int,
    processes: int,
    nodes: int,
    changes: int,
    seed: int,
    say: Callable[[str], None] = print,
    lock_url: str | None = None,
) -> Figures:
    """See the module. `lock_url`: another database for the lock store; files if there is none."""
    return ProcessKills(place, database_url, Figures(seed, kills, processes, changes), nodes, say, lock_url).run()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--changes", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--lock-database", action="store_true", help="lock store and turns in PostgreSQL, not in files")
    asked = vars(parser.parse_args())
    wants_lock_database = asked.pop("lock_database")

    def say(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    say(f"seed {asked['seed']}")
    with (
        tempfile.TemporaryDirectory(prefix="simpul-kills-") as place,
        running_server(Path(place) / "postgres") as server,
        fresh_database(server) as url,
        fresh_database(server) as lock,
    ):
        database_url, lock_url = (one.render_as_string(hide_password=False) for one in (url, lock))
        if wants_lock_database:
            asked["lock_url"] = lock_url
        figures: dict[str, Any] = asdict(process_kills(Path(place), database_url, say=say, **asked))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
