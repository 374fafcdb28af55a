"""Two copies of one node alive: a cloned machine, as processes on copied directories (issue 2, "Bad input")."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import simpul, told, wait_for
from tests.edge.whole_way import HubDirectory, NodeDirectory, end, serving_hub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubDirectory]:
    with serving_hub(tmp_path) as running:
        yield running


@pytest.fixture
def node(hub: HubDirectory, tmp_path: Path) -> NodeDirectory:
    """Enrolled, with three complaints at the hub."""
    made = NodeDirectory(tmp_path / "node")
    made.enrol(hub)
    take_in(made, range(1, 4))
    made.push()
    return made


def take_in(node: NodeDirectory, numbers: range) -> None:
    file = node.directory.with_name(f"{node.directory.name}-{numbers.start}.csv")
    report = node.import_(write_csv(file, [sp4n_row(number) for number in numbers]))
    assert report["imported"] == len(numbers)


def clone_of(node: NodeDirectory) -> NodeDirectory:
    return NodeDirectory(shutil.copytree(node.directory, node.directory.with_name("clone")))


def halted(node: NodeDirectory) -> Any:
    """What the status of a halted node says."""
    status = node.status()
    assert status["pusher"] == "halted"
    assert "--take-over" in status["troubles"][0]
    return status


def is_drained(node: NodeDirectory) -> bool:
    status = node.status()
    return bool(status["unsent"] + status["unacknowledged"] == 0)


@contextmanager
def serving(*nodes: NodeDirectory) -> Iterator[None]:
    servers = [node.serve() for node in nodes]
    try:
        yield
    finally:
        for server in servers:
            end(server)


def take_over(stays: NodeDirectory, goes: NodeDirectory, hub: HubDirectory) -> None:
    """The halted one is told to stay: everything that it took in goes out, and the other one halts in its turn."""
    refused = simpul("node", "recover", stays.directory, "--json", code=1).document
    assert refused["error"]["kind"] == "halted"
    recovered = told("node", "recover", stays.directory, "--take-over")
    assert (recovered["unsent"], stays.status()["troubles"]) == (0, [])
    take_in(goes, range(900, 901))
    wait_for("the other one halts", lambda: goes.status()["pusher"] == "halted")
    size = hub.size
    take_in(stays, range(901, 902))
    wait_for("the one that stays goes on", lambda: is_drained(stays))
    assert hub.size == size + 1
    assert halted(goes)["unsent"] + goes.status()["unacknowledged"] == 1


def test_a_clone_of_an_older_day_catches_up_and_the_original_halts_for_good(
    hub: HubDirectory, node: NodeDirectory, tmp_path: Path
) -> None:
    clone = clone_of(node)
    with serving(node):
        take_in(node, range(4, 6))
        wait_for("the original pushes", lambda: is_drained(node))
        take_in(clone, range(6, 8))
        with serving(clone):
            wait_for("the clone adopts and pushes", lambda: is_drained(clone))
            take_in(node, range(8, 9))
            wait_for("the original halts", lambda: node.status()["pusher"] == "halted")
            size = hub.size
            take_in(node, range(9, 10))
            take_in(clone, range(10, 11))
            wait_for("the clone goes on", lambda: is_drained(clone))
            assert halted(node)["unsent"] + node.status()["unacknowledged"] == 2
            assert hub.size == size + 1
            take_over(node, clone, hub)
    assert node.push()["pusher"] == "idle"
    assert clone.push(code=1)["pusher"] == "halted"
    report = hub.audit_export(tmp_path / "export")
    assert (report["findings"], report["complaints"], report["refused"]) == ([], 11, 0)


def test_of_two_copies_in_step_exactly_one_halts_and_the_log_holds_one_history(
    hub: HubDirectory, node: NodeDirectory, tmp_path: Path
) -> None:
    """Both sign for the next place before either can know, but never in one epoch: the hub takes one, and no fork."""
    clone = clone_of(node)
    with serving(node, clone):
        for copy in (node, clone):
            wait_for("both are in step", lambda: copy.status()["pusher"] == "idle")  # noqa: B023 - called at once
        take_in(node, range(4, 6))
        take_in(clone, range(6, 8))
        taken = push_until_one_halts(node, clone, from_number=8)
        by_state = {copy.status()["pusher"]: copy for copy in (node, clone)}
        stopped = by_state.pop("halted")
        (alive,) = by_state.values()
        waiting = (status := halted(stopped))["unsent"] + status["unacknowledged"]
        assert waiting > 0
        take_in(stopped, range(taken, taken + 1))
        take_in(alive, range(taken + 1, taken + 2))
        wait_for("the other goes on", lambda: is_drained(alive))
        assert halted(stopped)["unsent"] + stopped.status()["unacknowledged"] == waiting + 1
        assert alive.status()["troubles"] == []
        take_over(stopped, alive, hub)
    assert hub.status()["forks"] == []
    report = hub.audit_export(tmp_path / "export")
    assert report["findings"] == []
    changes = taken + 2  # with the one that the take-over's winner took in; its loser's went nowhere
    assert (report["complaints"], report["changes"], report["refused"]) == (changes, changes, 0)


def push_until_one_halts(*copies: NodeDirectory, from_number: int) -> int:
    """The next number. If the first had pushed before the second began, that one adopts: the next to push halts."""
    for number in range(from_number, from_number + 8):
        for copy in copies:
            wait_for("it has pushed or halted", lambda: is_drained(copy) or copy.status()["pusher"] == "halted")  # noqa: B023
        if "halted" in {copy.status()["pusher"] for copy in copies}:
            return number
        take_in(copies[number % 2], range(number, number + 1))
    raise AssertionError("two copies push in turns, and neither halts")


def test_a_machine_cloned_while_it_runs_halts_in_its_older_copy_and_is_no_fork(
    hub: HubDirectory, node: NodeDirectory, tmp_path: Path
) -> None:
    """The clone is started beside an original that is in step and has signed: the one that signs next must not fork."""
    with serving(node):
        take_in(node, range(4, 6))
        wait_for("the original pushes", lambda: is_drained(node))
        clone = clone_of(node)
        take_in(clone, range(6, 8))
        clone.push()
        take_in(node, range(8, 9))
        wait_for("the original halts", lambda: node.status()["pusher"] == "halted")
        take_in(clone, range(9, 10))
        assert clone.push()["pusher"] == "idle"
        assert node.status()["unsent"] + node.status()["unacknowledged"] == 1
    assert hub.status()["forks"] == []
    report = hub.audit_export(tmp_path / "export")
    assert (report["findings"], report["complaints"], report["refused"]) == ([], 8, 0)


def test_a_take_over_beside_a_serving_node_needs_no_restart(hub: HubDirectory, node: NodeDirectory) -> None:
    with serving(node):
        take_in(node, range(4, 5))
        wait_for("the original pushes", lambda: is_drained(node))
        clone = clone_of(node)
        take_in(clone, range(5, 6))
        clone.push()
        take_in(node, range(6, 7))
        wait_for("the original halts", lambda: node.status()["pusher"] == "halted")
        assert told("node", "recover", node.directory, "--take-over")["unsent"] == 0
        take_in(node, range(7, 8))
        wait_for("the serving process goes on", lambda: is_drained(node))
        assert node.status()["troubles"] == []
