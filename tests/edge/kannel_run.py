"""SMS through a real Kannel while the desk's node and the hub are killed again and again (issue 5, E.1).

    python -m tests.edge.kannel_run --messages 1000 [--kills 2] [--interval 0.01]

fakesmsc sends; bearerbox, smsbox and `simpul node serve` are real processes. What was sent, what the node recorded and
what was answered must be the same messages: none lost, none twice, each answered with the number of its own complaint.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.edge.kannel import SECRET, SENDER, Kannel, kannel, reason_missing
from tests.edge.ports import own_port
from tests.edge.program import Server, start, told, wait_for
from tests.edge.whole_way import ANSWER_S, HubDirectory, NodeDirectory, end

DESK: Final = "kementerian-panrb"
CITY: Final = "33.75"  # takes part; whoever is named otherwise does not
TEXTS: Final = (
    "PekalonganKota jalan rusak di depan pasar",
    "kota pekalongan lampu jalan padam",
    "Pekalongan sampah menumpuk",
    "KEDIRIKAB: irigasi mampet",
    "NegeriDongeng jembatan putus",
)
NUMBER: Final = re.compile(r"nomor ([A-Z0-9]+(?:-[0-9A-Z]{4}){3}-[0-9A-Z])")
ALL_ANSWERED_S: Final = 300.0


@dataclass
class Figures:
    """How a run went. `asked_again`: requests for messages that had been recorded before."""

    messages: int
    kills: int
    recorded: int = 0
    answered: int = 0
    numbers: int = 0
    offered: dict[str, int] = field(default_factory=dict)
    asked_again: int = 0
    in_log: int = 0
    down_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    per_second: float = 0.0


@dataclass
class KannelRun:
    """One run in a folder of its own."""

    place: Path
    figures: Figures
    interval_s: float
    say: Callable[[str], None]

    def run(self) -> Figures:
        """Raises AssertionError if a message is lost, there twice, or answered with another's number."""
        self.hub = HubDirectory.make(self.place / "hub")
        self.hub.serve()
        self.desk = NodeDirectory(self.place / "desk", DESK)
        self.served: list[Server] = []
        try:
            self.desk.enrol(self.hub)
            NodeDirectory(self.place / "city", CITY).enrol(self.hub)
            self.serve_desk(own_port())
            with kannel(self.place / "kannel", self.served[-1].url) as gateway:
                self.send_and_kill(gateway)
                self.check(gateway)
        finally:
            end(self.hub.server)
            for server in self.served:
                end(server)
        return self.figures

    def serve_desk(self, port: int) -> None:
        env = {"SIMPUL_SMS_SECRET": SECRET, "SIMPUL_SMS_ALLOW": "127.0.0.1"}
        self.served.append(start("node", "serve", self.desk.directory, "--port", str(port), env=env))

    def send_and_kill(self, gateway: Kannel) -> None:
        total, kills = self.figures.messages, self.figures.kills
        started = time.monotonic()
        gateway.send([f"text {text}" for text in TEXTS], messages=total, interval_s=self.interval_s)
        for kill in range(1, kills + 1):
            due = total * kill // (kills + 1)
            wait_for(f"{due} messages are answered", partial(self.has_answered, gateway, due), ALL_ANSWERED_S, 0.01)
            self.kill_both(gateway)
        wait_for("every message is answered", lambda: len(gateway.got) >= total, ALL_ANSWERED_S, 0.05)
        self.figures.seconds = round(time.monotonic() - started, 2)
        self.figures.per_second = round(total / self.figures.seconds, 1)

    def has_answered(self, gateway: Kannel, due: int) -> bool:
        return len(gateway.got) >= due

    def kill_both(self, gateway: Kannel) -> None:
        """SIGKILL to the desk's node and to the hub beside it; both come back at their addresses."""
        desk, hub = self.served[-1], self.hub.server
        assert hub is not None
        desk.kill()
        hub.kill()
        died, sent, answered = time.monotonic(), gateway.sent, len(gateway.got)
        self.hub.restart()
        self.serve_desk(desk.port)
        self.figures.down_s.append(round(time.monotonic() - died, 2))
        self.say(f"killed after {sent} sent, {answered} answered; down for {self.figures.down_s[-1]} s")

    def check(self, gateway: Kannel) -> None:
        figures = self.figures
        complaints = self.complaints()
        numbers = [found for text in gateway.got for found in NUMBER.findall(text)]
        figures.recorded, figures.answered, figures.numbers = len(complaints), len(gateway.got), len(set(numbers))
        figures.offered = dict(Counter(one["offered_to"] or "desk" for one in complaints))
        figures.asked_again = sum(server.said().count('"repeat": true') for server in self.served)
        assert gateway.sent == figures.messages
        assert figures.recorded == figures.messages, figures
        assert figures.answered == figures.messages, figures
        assert sorted(numbers) == sorted(one["tracking"] for one in complaints), figures
        assert figures.offered[CITY] > 0, figures
        assert all(SENDER[2:] not in server.said() for server in self.served)

    def complaints(self) -> list[dict[str, Any]]:
        """As the node's own API lists them."""
        token = str(told("node", "token", "create", self.desk.directory, "test")["token"])
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self.get(f"/v1/complaints?limit=200{after}", token)
            found += page["items"]
            if page["next"] is None:
                return found
            after = f"&after={page['next']}"

    def get(self, path: str, token: str) -> Any:
        request = urllib.request.Request(self.served[-1].url + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return json.load(answer)

    def audit(self) -> None:
        """What came by SMS is in the national log, once."""
        self.hub.restart()
        try:
            self.desk.push()
            audited = self.hub.audit_export(self.place / "export")
        finally:
            end(self.hub.server)
        self.figures.in_log = audited["complaints"]
        assert audited["ok"], audited
        assert audited["complaints"] == self.figures.messages, audited


def main() -> int:
    """Prints the figures as JSON; 1 where something was lost or doubled, 2 where there is no Kannel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--interval", type=float, default=0.01, help="seconds between two messages")
    wanted = parser.parse_args()
    if reason := reason_missing():
        print(reason, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="simpul-kannel-", ignore_cleanup_errors=True) as place:
        figures = Figures(wanted.messages, wanted.kills)
        run = KannelRun(Path(place), figures, wanted.interval, lambda words: print(words, file=sys.stderr, flush=True))
        try:
            run.run()
            run.audit()
        except AssertionError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            print(json.dumps(asdict(figures), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
