"""`make bench-lines`: how a node drains over lines such as districts have (issue 4, part E; docs/performance.md).

A hub and a node in network namespaces of their own, between them a link of a given rate, delay and loss (slow_link.py).
The node has changes that wait, and pushes until it has every receipt; then an audit must find each of them once. A
table, or with --json one document. Where the machine allows no namespaces, that is said, and nothing is measured.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from tests.bench.hub_bench import ORIGIN
from tests.bench.hub_process import SIMPUL, ServingProcess, simpul
from tests.bench.load import WORDS
from tests.bench.machine import machine, note
from tests.bench.slow_link import NEAR_ADDRESS, Quality, slow_link
from tests.bench.tables import console
from tests.edge.import_support import sp4n_row, write_csv

AGENCY: Final = "33.75"
LETTER_WORDS: Final = 46  # as in the other benches
DRAIN_LIMIT_S: Final = 900
LINES: Final = (
    Quality(100_000, 1),  # what the program itself takes
    Quality(1_000, 20),
    Quality(1_000, 300, 0.01),
    Quality(1_000, 600, 0.03),
    Quality(128, 300, 0.02),
    Quality(64, 1_000, 0.05),
)


@dataclass(frozen=True)
class Drained:
    """One line's figures. Bytes are of IP packets, of both directions where nothing else is said."""

    line: str
    changes: int
    seconds: float
    changes_per_s: float
    wire_bytes_a_change: float
    rate_used: float  # of what the line could carry upwards in that time
    packets: int
    lost: int
    dropped: int
    connections: int  # one, if nothing had to be begun again
    exact: bool


def drain(quality: Quality, changes: int, folder: Path) -> Drained:
    """Everything anew: hub, node, link. Raises OSError or CalledProcessError."""
    hub, home, rows = folder / "hub", folder / "node", random.Random(changes)
    vkey = str(simpul("hub", "init", str(hub), "--origin", ORIGIN)["vkey"])
    token = str(simpul("hub", "invite", str(hub), AGENCY)["token"])
    letters = [" ".join(rows.choices(WORDS, k=LETTER_WORDS)) for _ in range(changes)]
    file = write_csv(folder / "a.csv", [sp4n_row(number, text=letter) for number, letter in enumerate(letters, 1)])
    with slow_link(quality) as link:
        inside = ("ip", "netns", "exec")
        serving = ServingProcess.start(hub, words=("--host", NEAR_ADDRESS), prefix=(*inside, link.near))
        try:
            words = ("--hub", serving.url, "--vkey", vkey, "--agency", AGENCY, "--token", token, "--allow-plain-http")
            _run(*inside, link.far, *SIMPUL, "node", "enrol", str(home), *words)
            simpul("node", "import", str(home), str(file))
            link.count_anew()
            push = ("node", "push", str(home), "--until-drained", "--timeout", str(DRAIN_LIMIT_S), "--json")
            _run(*inside, link.far, *SIMPUL, *push)
            up, down = link.up.carried, link.down.carried
        finally:
            serving.stop()
    # From the first packet to the last: without the start of the program.
    seconds = max(up.last_at, down.last_at) - (up.first_at or up.last_at)
    simpul("hub", "export", str(hub), str(folder / "export"))
    report = simpul("audit", str(folder / "export"), "--vkey", vkey)
    return Drained(
        line=str(quality),
        changes=changes,
        seconds=round(seconds, 1),
        changes_per_s=round(changes / seconds, 1),
        wire_bytes_a_change=round((up.bytes + down.bytes) / changes, 1),
        rate_used=round(up.bytes * 8 / (quality.kbit_s * 1000 * seconds), 3),
        packets=up.packets + down.packets,
        lost=up.lost + down.lost,
        dropped=up.dropped + down.dropped,
        connections=up.connections,
        exact=(report["changes"], report["findings"]) == (changes, []),
    )


def _run(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(words[-8:])} ended with {done.returncode}: {done.stdout} {done.stderr}")


def _table(found: list[Drained]) -> Table:
    table = Table(title="drained over a bad line", caption="bytes with IP and TCP headers, both directions")
    names = (
        "line",
        "changes",
        "s",
        "changes/s",
        "bytes a change",
        "rate used",
        "lost / dropped of packets",
        "connections",
        "exact",
    )
    for name in names:
        table.add_column(name, justify="left" if name == "line" else "right")
    for one in found:
        gone = f"{one.lost} / {one.dropped} of {one.packets:,}"
        figures = (f"{one.changes:,}", f"{one.seconds}", f"{one.changes_per_s:,}", f"{one.wire_bytes_a_change}")
        table.add_row(
            one.line, *figures, f"{one.rate_used:.0%}", gone, str(one.connections), "yes" if one.exact else "NO"
        )
    return table


def main() -> None:
    """The command line; exit code 1 if a line did not drain, or not exactly."""
    parser = argparse.ArgumentParser(prog="make bench-lines", description=__doc__)
    parser.add_argument("--changes", type=int, default=2_000, help="that wait, in sets of 1,000; default: 2,000")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args()
    document: dict[str, Any] = {"machine": machine(), "absent": None}
    found: list[Drained] = []
    try:
        with slow_link(LINES[0]):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        document["absent"] = f"this machine allows no network namespaces with TUN devices: {error}"
        note(document["absent"])
        lines: tuple[Quality, ...] = ()
    else:
        lines = LINES
    for quality in lines:
        note(str(quality))
        with tempfile.TemporaryDirectory(prefix="simpul-bench-") as folder:
            found.append(drain(quality, asked.changes, Path(folder)))
    if asked.json:
        print(json.dumps(document | {"lines": [asdict(one) for one in found]}, indent=2))
    elif found:
        console().print(_table(found))
    sys.exit(not all(one.exact for one in found))


if __name__ == "__main__":
    main()
