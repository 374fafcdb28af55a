"""A bad line between node and hub: nothing lost, nothing twice, order kept, and the node says since when and what next.

Real processes on both sides; between them tests/edge/meddler.py (issue 2, "Bad input").
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sync_protocol.change_set import hide_contents, parse_change_set
from sync_protocol.compression import compress_frames, decode_body
from tests.edge import meddler as harms
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.meddler import Handler, Meddler, meddling
from tests.edge.program import wait_for
from tests.edge.whole_way import SAMARINDA, HubDirectory, NodeDirectory, end, serving_hub

SMALL_SETS = {"SIMPUL_SET_CHANGES_MAX": "4"}


@dataclass
class Line:
    """Hub, meddler and node, and how many complaints were recorded until now."""

    place: Path
    hub: HubDirectory
    meddler: Meddler
    node: NodeDirectory
    recorded: int = 0
    exports: Iterator[int] = field(default_factory=itertools.count)

    def record(self, count: int) -> None:
        """New complaints at the node."""
        rows = [sp4n_row(number) for number in range(self.recorded + 1, self.recorded + count + 1)]
        assert self.node.import_(write_csv(self.place / "a.csv", rows))["imported"] == count
        self.recorded += count

    def check(self) -> None:
        """Everything that was recorded is in the log exactly once and in one chain."""
        assert self.node.status()["troubles"] == []
        report = self.hub.audit_export(self.place / f"export-{next(self.exports)}")
        assert report["findings"] == []
        counted = (report["complaints"], report["changes"], report["refused"])
        assert counted == (self.recorded, self.recorded, 0)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    place = tmp_path_factory.mktemp("line")
    with serving_hub(place) as hub, meddling(hub.url) as meddler:
        node = NodeDirectory(place / "node")
        node.enrol(hub, url=meddler.url)
        yield Line(place, hub, meddler, node)


HARMS: dict[str, Callable[[Handler], None]] = {
    "reset in mid-body": harms.reset_in_mid_body,
    "reply lost": harms.lose_reply,
    "reply cut": harms.cut_reply,
    "503": harms.busy,
    "a captive portal": harms.foreign,
    "behind, though it is not": harms.behind,
}


@pytest.mark.parametrize("name", HARMS)
def test_a_line_that_does_harm_costs_nothing_but_time(name: str, line: Line) -> None:
    line.record(10)
    line.meddler.order.clear()
    times = 1 if HARMS[name] is harms.foreign else 2  # not a blip: the second would wait for the schedule of outages
    line.meddler.do(HARMS[name], times)
    status = line.node.push(env=SMALL_SETS)
    assert line.meddler.met == times
    assert (status["unsent"], status["unacknowledged"], status["pusher"]) == (0, 0, "idle")
    assert line.meddler.order == sorted(line.meddler.order)
    line.check()


def test_an_answer_that_comes_too_late_is_asked_for_again(line: Line) -> None:
    line.record(3)
    line.meddler.do(harms.delay(2.0), times=1)
    size = line.hub.size
    status = line.node.push(env={"SIMPUL_REQUEST_TIMEOUT_S": "0.8"})
    assert (status["unsent"], status["unacknowledged"]) == (0, 0)
    assert line.hub.size == size + 1
    line.check()


def test_a_push_until_drained_that_leaves_something_is_no_success(line: Line) -> None:
    """The hub answers, but no set gets through: a timer's script must hear of it."""
    line.record(3)
    line.meddler.do(harms.busy, times=1_000)
    failed = line.node.push_in_vain(lambda status: status["reached"])
    assert (failed["reached"], failed["drained"], failed["unsent"] + failed["unacknowledged"]) == (True, False, 3)
    line.meddler.do(harms.busy, times=0)
    line.node.push()
    line.check()


def test_while_the_hub_is_away_the_node_says_since_when_and_what_next_and_takes_in(line: Line) -> None:
    before = datetime.now(UTC)
    line.meddler.is_down = True
    line.record(3)
    failed = line.node.push_in_vain(lambda status: status["failing_since"])
    assert failed["reached"] is False
    line.record(2)
    status = line.node.status()
    assert (status["pusher"], status["unsent"] + status["unacknowledged"]) == ("waiting", 5)
    since, following = (datetime.fromisoformat(status[name]) for name in ("failing_since", "next_attempt_at"))
    assert before - timedelta(seconds=1) < since < following < datetime.now(UTC) + timedelta(minutes=15)
    assert "Nothing is lost" in status["troubles"][0]
    line.meddler.is_down = False
    line.node.push()
    line.check()


def test_a_node_that_serves_goes_on_by_itself_when_the_hub_is_back(line: Line) -> None:
    server = line.node.serve()
    try:
        line.meddler.is_down = True
        line.record(4)
        wait_for("it waits", lambda: line.node.status()["pusher"] == "waiting")
        line.meddler.is_down = False
        wait_for("it has pushed", lambda: line.node.status()["pusher"] == "idle")
    finally:
        end(server)
    line.check()


def strip_contents(handler: Handler) -> None:
    """Somebody on the way hides what was said: hidden lines instead of content lines, the same root."""
    parts = decode_body(handler.body(), "zstd")
    stripped = hide_contents(parse_change_set(parts.head, parts.contents))
    handler.answer(*handler.forward(b"".join(compress_frames(parts.head, stripped))))


def test_content_stripped_on_the_way_is_accepted_and_completed_by_the_next_repeat(line: Line) -> None:
    line.record(5)
    line.meddler.do(strip_contents, times=1)
    status = line.node.push()
    assert line.meddler.met == 1
    assert (status["unsent"], status["unacknowledged"]) == (0, 0)
    export = line.hub.export(line.place / "with-content", "--with-content")
    newest = export / "sets" / SAMARINDA / f"{status['seq']:09d}.jsonl.zst"
    hidden = decode_body(newest.read_bytes(), "zstd").contents.count(b'{"hidden"')
    if hidden:  # the push ended before the repeat: the next one shows what is missing
        line.node.push()
        export = line.hub.export(line.place / "with-content-2", "--with-content")
        newest = export / "sets" / SAMARINDA / newest.name
    contents = decode_body(newest.read_bytes(), "zstd").contents
    assert contents.count(b'"text":"Jalan berlubang') == 5
    assert b'{"hidden"' not in contents
    line.check()
