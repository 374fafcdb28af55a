"""`make kills`: kill -9 of real nodes and hubs at random moments under load, SQLite and PostgreSQL (issue 4, part E).

    make kills KILLS=200            # or: python -m tests.edge.kills --kills 20 --only postgresql --seed 7 --json

The kills are shared out among runs of several kinds. In each, nothing may be lost, nothing be there twice, the audit
finds nothing, and every checkpoint that was ever seen is a root of the log. Progress is on stderr; stdout has a table,
or with --json one document. Exit code 1 if any run lost anything, or did not come to its end; its folder is kept then.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.edge.desk import desk_run
from tests.edge.kill_figures import Asked, Figures
from tests.edge.kill_run import kill_run
from tests.edge.refill_kills import refill_kills
from tests.postgres import fresh_database, running_server

Say = Callable[[str], None]


@dataclass(frozen=True)
class Kind:
    """One kind of run. `share` of all kills are its own; `changes` are what its nodes begin with, for each kill."""

    name: str
    share: float
    what: str
    run: Callable[[Path, Asked, Say], Figures]
    changes: int = 0
    nodes: int = 1
    processes: int = 1
    needs_postgres: bool = False
    needs_lock_database: bool = False


KINDS: Final = (
    Kind("sqlite", 0.3, "hub on SQLite, two nodes that push", kill_run, changes=60, nodes=2),
    Kind(
        *("postgresql", 0.3, "three processes on PostgreSQL, three nodes that push", kill_run),
        changes=60,
        nodes=3,
        processes=3,
        needs_postgres=True,
    ),
    Kind(
        *("lock-database", 0.15, "the same, its lock store in PostgreSQL as well", kill_run),
        changes=60,
        nodes=3,
        processes=3,
        needs_postgres=True,
        needs_lock_database=True,
    ),
    Kind("desk", 0.15, "a serving node with callers, and its hub", desk_run),
    Kind("refill", 0.1, "a hub that takes its log back from two nodes", refill_kills, changes=40),
)
CHANGES_MIN: Final = 300  # of a short run


def shares(kinds: tuple[Kind, ...], kills: int) -> list[int]:
    """How many of them each kind gets: all in all exactly so many."""
    whole = sum(kind.share for kind in kinds)
    ends = [round(kills * sum(kind.share for kind in kinds[: number + 1]) / whole) for number in range(len(kinds))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


@contextmanager
def databases(kind: Kind, place: Path) -> Iterator[dict[str, Any]]:
    """What the run needs of PostgreSQL."""
    with ExitStack() as stack:
        urls: dict[str, Any] = {}
        if kind.needs_postgres:
            server = stack.enter_context(running_server(place / "postgres"))
            wanted = ["database_url", *(["lock_url"] if kind.needs_lock_database else [])]
            for name in wanted:
                url = stack.enter_context(fresh_database(server))
                urls[name] = url.render_as_string(hide_password=False)
        yield urls


def hold(kind: Kind, kills: int, seed: int, place: Path, say: Say) -> dict[str, Any]:
    """One run's document; `failed` says why it counts as a loss, None if it does not."""
    changes = max(CHANGES_MIN, kills * kind.changes)
    asked = Asked(kills, changes, seed, nodes=kind.nodes, processes=kind.processes)
    document: dict[str, Any] = {"run": kind.name, "what": kind.what, "seed": seed, "failed": None}
    folder = place / kind.name
    folder.mkdir()
    try:
        with databases(kind, place) as urls:
            found = kind.run(folder, replace(asked, **urls), lambda words: say(f"{kind.name}: {words}"))
    except Exception as error:  # noqa: BLE001 - whatever it was, the other runs go on, and this one is a loss
        document["failed"] = f"{type(error).__name__}: {error}"
        say(f"{kind.name} FAILED: {document['failed']}")
        return document
    shutil.rmtree(folder)
    return document | found.document()


def table_of(runs: list[dict[str, Any]]) -> Table:
    """One line a run."""
    table = Table(caption="exact: every change once in log, query tables and audit; one root for each size; no finding")
    for name in ("run", "kills", "of whom", "changes", "lost", "sets", "sizes seen", "findings", "seconds", "exact"):
        table.add_column(name, justify="left" if name in ("run", "of whom") else "right")
    for run in runs:
        if run["failed"]:
            table.add_row(run["run"], "", run["failed"], *[""] * 6, "NO")
            continue
        whom = ", ".join(f"{count} {name}" for name, count in sorted(run["killed"].items()))
        figures = (run[name] for name in ("changes", "lost", "sets", "sizes_seen", "findings", "seconds"))
        table.add_row(f"{run['run']}: {run['what']}", str(run["kills"]), whom, *map(str, figures), "yes")
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="in all; default: 200, which take half an hour at most")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--only", action="append", choices=[kind.name for kind in KINDS], help="may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args()
    kinds = tuple(kind for kind in KINDS if asked.only is None or kind.name in asked.only)

    def say(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    say(f"seed {asked.seed}")
    place = Path(tempfile.mkdtemp(prefix="simpul-kills-"))
    pairs = [(kind, kills) for kind, kills in zip(kinds, shares(kinds, asked.kills), strict=True) if kills]
    runs = [hold(kind, kills, asked.seed, place, say) for kind, kills in pairs]
    is_exact = not any(run["failed"] for run in runs)
    if is_exact:
        shutil.rmtree(place)
    else:
        say(f"what is left of it is kept in {place}")
    document = {"seed": asked.seed, "kills": sum(run.get("kills", 0) for run in runs), "exact": is_exact, "runs": runs}
    if asked.json:
        print(json.dumps(document, indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(table_of(runs))
    sys.exit(not is_exact)


if __name__ == "__main__":
    main()
