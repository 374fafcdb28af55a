"""`simpul hub serve --processes N` on a real PostgreSQL: signals, deaths, exit codes (ADR 0010).

The long form of the kills: `make kills ARGS="--only postgresql"`.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.kill_figures import Asked
from tests.edge.kill_run import kill_run
from tests.edge.processes import children_of
from tests.edge.program import simpul, wait_for
from tests.edge.whole_way import ORIGIN, HubDirectory, NodeDirectory, end


@pytest.fixture
def hub(tmp_path: Path, postgres_url: str) -> Iterator[HubDirectory]:
    """A hub that two processes serve."""
    made = HubDirectory.make(tmp_path / "hub", database_url=postgres_url)
    made.serve(processes=2)
    try:
        yield made
    finally:
        end(made.server)


def children(hub: HubDirectory) -> list[int]:
    assert hub.server is not None
    assert hub.server.process.pid is not None
    return children_of(hub.server.process.pid)


def two_children(hub: HubDirectory) -> list[int]:
    wait_for("two processes", lambda: len(children(hub)) == 2, within_s=20)
    return children(hub)


def is_free(port: int) -> bool:
    with socket.socket() as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asking.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.mark.slow
def test_a_process_that_dies_is_replaced_while_the_others_serve(hub: HubDirectory) -> None:
    before = two_children(hub)
    os.kill(before[0], signal.SIGKILL)
    after = wait_for("another process", lambda: len(found := children(hub)) == 2 and found != before and found, 20)
    assert before[1] in after
    for _ in range(20):
        assert hub.get("/checkpoint").startswith(ORIGIN.encode())


@pytest.mark.slow
def test_when_the_parent_dies_its_children_end_and_the_port_is_free(hub: HubDirectory) -> None:
    left = two_children(hub)
    assert hub.server is not None
    hub.server.kill()
    wait_for("the port", lambda: is_free(hub.server.port), within_s=5)
    wait_for("the end of the children", lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), within_s=10)
    hub.restart(processes=2)
    assert hub.size >= 3


@pytest.mark.slow
def test_a_process_that_only_begins_does_not_hold_the_port_when_the_parent_dies(hub: HubDirectory) -> None:
    os.kill(two_children(hub)[0], signal.SIGKILL)
    assert hub.server is not None
    said = hub.server.said().count("a process begins")
    wait_for("its successor", lambda: hub.server.said().count("a process begins") > said, within_s=20, every_s=0.005)
    hub.server.kill()
    wait_for("the port", lambda: is_free(hub.server.port), within_s=5)


@pytest.mark.slow
def test_sigterm_ends_all_of_them_within_ten_seconds_with_code_0(hub: HubDirectory) -> None:
    left = two_children(hub)
    assert hub.server is not None
    assert hub.server.stop(within_s=10) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in left)
    assert is_free(hub.server.port)


@pytest.mark.slow
def test_nodes_push_through_whichever_process_they_reach(hub: HubDirectory, tmp_path: Path) -> None:
    two_children(hub)
    agencies = ("64.72", "33.75", "35.71", "31.71")
    nodes = [NodeDirectory(tmp_path / agency, agency) for agency in agencies]
    for node in nodes:
        node.enrol(hub)
        assert node.push()["unacknowledged"] == 0  # the heartbeat
    report = hub.audit_export(tmp_path / "export")
    assert (report["change_sets"], report["findings"]) == (len(nodes), [])


def test_a_second_hub_on_the_same_port_is_told_that_it_is_in_use(tmp_path: Path, postgres_url: str) -> None:
    hub = HubDirectory.make(tmp_path / "hub", database_url=postgres_url)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        begun = time.monotonic()
        told = simpul("hub", "serve", hub.directory, "--processes", "2", "--port", port, code=2)
    assert "in use" in told.err
    assert time.monotonic() - begun > 1  # children of a parent that was killed get a moment to let go


def test_what_keeps_the_first_process_from_serving_is_said_once_and_ends_all(tmp_path: Path, postgres_url: str) -> None:
    hub = HubDirectory.make(tmp_path / "hub", database_url=postgres_url)
    (hub.directory / "keys" / "log.pem").chmod(0o644)
    told = simpul("hub", "serve", hub.directory, "--processes", "3", "--port", "0", code=2)
    assert told.err.count("chmod 600") == 1


def test_sqlite_is_served_by_one_process_and_says_so(tmp_path: Path) -> None:
    hub = HubDirectory.make(tmp_path / "hub")
    told = simpul("hub", "serve", hub.directory, "--processes", "2", "--port", "0", code=2)
    assert "SQLite serves one process" in told.err
    assert "PostgreSQL" in told.err


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_after_kills_of_any_process_everything_is_there_once(tmp_path: Path, postgres_url: str) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"repeat with: make kills ARGS='--only postgresql --seed {seed}'")
    asked = Asked(kills=5, changes=600, seed=seed, nodes=3, processes=3, database_url=postgres_url)
    found = kill_run(tmp_path, asked)
    assert (found.in_log, found.in_projection) == (found.changes, found.changes)
