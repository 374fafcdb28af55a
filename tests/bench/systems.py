"""Who takes part in the comparison: ours on SQLite and on PostgreSQL, and what people would use instead.

A system has one lane or two: ours is measured once with the projector off (accepted) and once with it on (visible).
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.contest import Contestant, Lane, Round, middle
from tests.bench.hub_bench import open_hub_under_load
from tests.bench.hub_on_postgres import open_hub_on_postgres
from tests.bench.logical_replication import open_logical_replication
from tests.bench.nats_peer import open_nats

PEER = "pg_logical"  # what every ratio is to


@dataclass
class System:
    """One line of the table. `lacks` is what it does not do of: signing, verifying, log, receipt."""

    key: str
    name: str
    lacks: str
    accepting: Lane
    projecting: Lane

    @property
    def accepted(self) -> list[float]:
        """Warm rounds, changes a second."""
        return [rate for rate in (each.accepted_per_s for each in self.accepting.warm) if rate is not None]

    @property
    def visible(self) -> list[float]:
        """Warm rounds, changes a second."""
        return [rate for rate in (each.visible_per_s for each in self.projecting.warm) if rate is not None]

    @property
    def lanes(self) -> list[Lane]:
        """Without repetition."""
        return [self.accepting] if self.accepting is self.projecting else [self.accepting, self.projecting]

    @property
    def failure(self) -> str | None:
        """Why a lane of it ended early."""
        return "; ".join(lane.failure for lane in self.lanes if lane.failure) or None

    @property
    def absent(self) -> str | None:
        """What it would need on this machine."""
        return next((lane.absent for lane in self.lanes if lane.absent), None)

    def document(self) -> dict[str, Any]:
        """As `--json` has it; rates in changes a second, medians of the warm rounds."""
        return {
            "name": self.name,
            "lacks": self.lacks,
            "accepted_per_s": middle(self.accepted),
            "visible_per_s": middle(self.visible),
            "accepted_while_projecting_per_s": middle([each.accepted_per_s for each in self.projecting.warm]),
            "rounds": {"accepted_per_s": _rounded(self.accepted), "visible_per_s": _rounded(self.visible)},
            "fresh": {
                "accepted_per_s": _first(self.accepting, "accepted_per_s"),
                "visible_per_s": _first(self.projecting, "visible_per_s"),
            },
            "cpu_us_a_change": {
                "accepting": middle([each.cpu_us for each in self.accepting.warm]),
                "with_projection": middle([each.cpu_us for each in self.projecting.warm]),
            },
            "wire_bytes": self.accepting.fact("wire_bytes"),
            "leaf_hash_us": {lane.key: [round(each.leaf_hash_us, 2) for each in lane.rounds] for lane in self.lanes},
            "failed": self.failure,
            "absent": self.absent,
        }


def ours(folder: Path, *, processes: int) -> list[System]:
    """SQLite; PostgreSQL with one process; and with several, where `processes` is more than one."""
    found = [
        System(
            "sqlite",
            "Simpul, SQLite",
            "–",
            Lane("sqlite, projector off", lambda: open_hub_under_load(project=False)),
            Lane("sqlite, projecting", lambda: open_hub_under_load(project=True)),
        )
    ]
    for count in sorted({1, processes}):
        key = "postgresql" if count == 1 else f"postgresql_{count}_processes"
        lanes = [_on_postgres(folder, key, project=project, processes=count) for project in (False, True)]
        words = "1 process" if count == 1 else f"{count} processes"
        found.append(System(key, f"Simpul, PostgreSQL, {words}", "–", *lanes))
    return found


def _on_postgres(folder: Path, key: str, *, project: bool, processes: int) -> Lane:
    place = folder / f"{'v' if project else 'a'}{processes}"

    def opening() -> AbstractAsyncContextManager[Contestant]:
        place.mkdir()
        return open_hub_on_postgres(place, project=project, processes=processes)

    return Lane(f"{key}, {'projecting' if project else 'projector off'}", opening)


def logical_replication(folder: Path, name: str = "l") -> System:
    """The peer of the ratios, on two clusters in `folder`/`name`."""

    def opening() -> AbstractAsyncContextManager[Contestant]:
        (folder / name).mkdir()
        return open_logical_replication(folder / name)

    lane = Lane("PostgreSQL logical replication", opening)
    return System(PEER, "PostgreSQL logical replication", "signing, verifying, log, receipt", lane, lane)


def nats(folder: Path) -> list[System]:
    """JetStream with a message for each change, and with a message for each compressed set."""
    found = []
    for key, name, messages in (("nats", "a change", 1), ("nats_sets", "1,000 compressed", 1_000)):
        place = folder / key

        def opening(place: Path = place, changes: int = messages) -> AbstractAsyncContextManager[Contestant]:
            place.mkdir()
            return open_nats(place, changes_a_message=changes)

        lane = Lane(f"NATS JetStream, a message is {name}", opening)
        lacks = "fsync before its ack, signing, verifying, log, receipt"
        found.append(System(key, f"{lane.key}, into SQLite", lacks, lane, lane))
    return found


def ratio(ours: list[float], theirs: list[float]) -> float | None:
    """Of the medians; None where one of them is missing."""
    over, under = middle(ours), middle(theirs)
    return over / under if over and under else None


def ratios(systems: list[System]) -> dict[str, dict[str, Any]]:
    """Every system's medians over the peer's, and the lowest and highest within one round."""
    peer = next(system for system in systems if system.key == PEER)
    found: dict[str, dict[str, Any]] = {}
    for system in systems:
        if system is peer:
            continue
        found[system.key] = {
            "accepted_vs_pg_logical": ratio(system.accepted, peer.accepted),
            "visible_vs_pg_logical": ratio(system.visible, peer.visible),
            "accepted_within_one_round": _range(system.accepted, peer.accepted),
            "visible_within_one_round": _range(system.visible, peer.visible),
            "wire_bytes_vs_pg_logical": ratio(_known(system), _known(peer)),
        }
    return found


def _known(system: System) -> list[float]:
    found = system.accepting.fact("wire_bytes")
    return [] if found is None else [found]


def _range(ours: list[float], theirs: list[float]) -> list[float]:
    """[lowest, highest] ratio of the same round; empty where a round is missing."""
    if not ours or len(ours) != len(theirs):
        return []
    each = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return [min(each), max(each)]


def _rounded(rates: list[float]) -> list[int]:
    return [round(rate) for rate in rates]


def _first(lane: Lane, what: str) -> float | None:
    first: Round | None = next(iter(lane.rounds), None)
    found: float | None = getattr(first, what, None)
    return found
