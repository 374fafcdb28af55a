"""A line between node and hub that swallows, resets, stalls and drips (issue 4, part E): real processes, real TCP.

A blip is ridden out within one push; what lasts is an outage that the node tells of; neither loses or doubles anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.bad_line import (
    BadLine,
    Harm,
    bad_line,
    drip,
    half_reply,
    reset_in_reply,
    reset_in_request,
    swallow,
    swallow_reply,
)
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import wait_for
from tests.edge.whole_way import HubDirectory, NodeDirectory, end, serving_hub

IMPATIENT = {"SIMPUL_REQUEST_TIMEOUT_S": "0.3"}
BLIP = 2  # connections; a push tries four times within a blip

HARMS: dict[str, tuple[str, Harm]] = {
    "a black hole": ("33.75", swallow),
    "a set that is cut by a reset": ("35.71", reset_in_request),
    "a receipt that is cut by a reset": ("31.71", reset_in_reply),
    "a receipt that is swallowed": ("73.71", swallow_reply),
    "half a receipt, then silence": ("64.72", half_reply),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubDirectory]:
    """One for all: a line is a matter between it and one node."""
    with serving_hub(tmp_path_factory.mktemp("bad-line"), SIMPUL_BODY_TIMEOUT_S="1") as running:
        yield running


@pytest.fixture
def line(hub: HubDirectory) -> Iterator[BadLine]:
    assert hub.server is not None
    with bad_line(hub.server.port) as running:
        yield running


def node_of(hub: HubDirectory, line: BadLine, place: Path, agency: str) -> NodeDirectory:
    """Enrolled over the line, while it is sound."""
    node = NodeDirectory(place / "node", agency)
    node.enrol(hub, url=line.url)
    return node


def add(node: NodeDirectory, start: int, stop: int) -> None:
    file = write_csv(node.directory.parent / f"{start}.csv", [sp4n_row(number) for number in range(start, stop)])
    assert node.import_(file)["imported"] == stop - start


def counted(hub: HubDirectory, out: Path, agency: str) -> int:
    """Changes of the agency that hold, after an audit that finds nothing."""
    export = hub.export(out)
    assert hub.audit(export)["findings"] == []
    return int(json.loads((export / "hub.json").read_text())["totals"].get(f"applied/{agency}//", 0))


@pytest.mark.parametrize("name", HARMS)
def test_a_blip_is_ridden_out_and_an_outage_is_told_and_neither_loses_anything(
    name: str, hub: HubDirectory, line: BadLine, tmp_path: Path
) -> None:
    agency, harm = HARMS[name]
    node = node_of(hub, line, tmp_path, agency)
    add(node, 1, 3)
    line.do(harm, BLIP)
    assert node.push(env=IMPATIENT)["unacknowledged"] == 0
    assert line.met == BLIP
    add(node, 3, 5)
    line.do(harm)
    status = node.push_in_vain(lambda status: status["failing_since"], env=IMPATIENT)
    assert line.met > BLIP
    assert status["unsent"] + status["unacknowledged"] == 2
    assert status["troubles"][0].startswith("The hub is away: ")
    assert status["failing_since"] is not None
    line.heal()
    status = node.push()
    assert (status["unsent"], status["unacknowledged"], status["troubles"]) == (0, 0, [])
    assert counted(hub, tmp_path / "export", agency) == 4


def test_a_line_that_refuses_every_connection_is_an_outage(hub: HubDirectory, line: BadLine, tmp_path: Path) -> None:
    node = node_of(hub, line, tmp_path, "12.71")
    add(node, 1, 3)
    line.refuses = True
    status = node.push_in_vain(lambda status: status["failing_since"])
    assert (status["unsent"] + status["unacknowledged"], status["reached"]) == (2, False)
    line.refuses = False
    assert node.push()["unacknowledged"] == 0
    assert counted(hub, tmp_path / "export", "12.71") == 2


def test_a_line_that_drips_at_the_slowest_pace_is_slow_and_not_dead(
    hub: HubDirectory, line: BadLine, tmp_path: Path
) -> None:
    """A set takes longer than either side bears silence."""
    node = node_of(hub, line, tmp_path, "13.71")
    add(node, 1, 41)
    line.do(drip(100, 0.02))
    status = node.push(env={"SIMPUL_REQUEST_TIMEOUT_S": "1"})
    assert (status["unsent"], status["unacknowledged"], status["troubles"]) == (0, 0, [])
    assert line.met == 1
    assert counted(hub, tmp_path / "export", "13.71") == 40


def test_a_hub_keeps_serving_others_while_one_line_stalls_in_the_middle_of_a_set(
    hub: HubDirectory, line: BadLine, tmp_path: Path
) -> None:
    stalled, sound = node_of(hub, line, tmp_path / "a", "14.71"), NodeDirectory(tmp_path / "b", "15.71")
    add(stalled, 1, 3)

    def stall(_talk: object, piece: bytes, up: bool) -> bytes:
        return piece[: len(piece) // 2] if up and piece.startswith(b"PUT ") else piece

    line.do(stall)
    pushing = stalled.begin_push(timeout_s=30, env=IMPATIENT)
    try:
        wait_for("a set that stalls", lambda: line.met, every_s=0.01)
        sound.enrol(hub)
        add(sound, 1, 3)
        assert sound.push()["unacknowledged"] == 0
        line.heal()
        assert pushing.wait().expect(0).document["unacknowledged"] == 0
    finally:
        end(pushing)
    assert counted(hub, tmp_path / "export", "14.71") == 2
