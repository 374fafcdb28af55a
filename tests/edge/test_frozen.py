"""Processes that stand still (SIGSTOP) for longer than every timeout, and go on (issue 4, part E).

Frozen is worse than dead: it holds its locks, its port and its connections, and when it thaws it believes what it knew.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.edge.bad_line import bad_line, swallow_reply
from tests.edge.desk import Desk, health_of
from tests.edge.freeze_run import FreezeRun
from tests.edge.hub_lab import running_hub
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.kill_figures import Asked, Figures
from tests.edge.kill_run import leaders_in
from tests.edge.program import wait_for
from tests.edge.watcher import watching
from tests.edge.whole_way import HubDirectory, NodeDirectory, end, serving_hub
from tests.postgres import fresh_database

IMPATIENT = {"SIMPUL_REQUEST_TIMEOUT_S": "0.3"}
STALE_AFTER_S = 1.5


@contextmanager
def frozen(pid: int | None) -> Iterator[None]:
    """While the block runs."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def add(node: NodeDirectory, start: int, stop: int) -> None:
    file = write_csv(node.directory.parent / f"{start}.csv", [sp4n_row(number) for number in range(start, stop)])
    assert node.import_(file)["imported"] == stop - start


@pytest.mark.slow
def test_while_the_hub_is_frozen_a_node_records_on_and_says_that_it_is_stale_and_afterwards_all_is_there_once(
    tmp_path: Path,
) -> None:
    with serving_hub(tmp_path) as hub, watching(hub) as watcher:
        assert hub.server is not None
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
        desk = Desk.open(node, SIMPUL_STALE_AFTER_S=str(STALE_AFTER_S), **IMPATIENT)
        try:
            with desk.open_to_callers():
                wait_for("receipts", lambda: desk.health()[0] == 200, every_s=0.02)
                with frozen(hub.server.process.pid):
                    known = len(desk.answered)
                    wait_for("staleness", lambda: desk.health()[0] == 503, every_s=0.02)
                    assert "older than 1.5 seconds" in desk.health()[1]["detail"]
                    wait_for("answers meanwhile", lambda: len(desk.answered) > known + 10, every_s=0.02)
                    wait_for("an outage", lambda: node.status()["pusher"] == "waiting", every_s=0.02)
                wait_for("receipts again, by itself", lambda: desk.health()[0] == 200, every_s=0.02)
            assert desk.server.stop() == 0
        finally:
            end(desk.server)
        assert node.push()["unacknowledged"] == 0
        found = Figures(0, changes=len(set(desk.answered.values())))
        found.count_up(hub, tmp_path / "export", [node.agency], watcher)


def test_a_pusher_that_thaws_after_another_process_sent_its_sets_repeats_nothing(tmp_path: Path) -> None:
    """It waits for a receipt that the line swallowed; meanwhile everything goes out beside it."""
    with serving_hub(tmp_path) as hub, watching(hub) as watcher:
        assert hub.server is not None
        with bad_line(hub.server.port) as line:
            node = NodeDirectory(tmp_path / "node")
            node.enrol(hub, url=line.url)
            add(node, 1, 21)
            known = hub.size
            line.do(swallow_reply)
            first = node.begin_push(env=IMPATIENT | {"SIMPUL_SET_CHANGES_MAX": "5"})
            try:
                wait_for("a set that the hub took", lambda: hub.size > known, every_s=0.005)
                with frozen(first.process.pid):
                    line.heal()
                    add(node, 21, 41)
                    assert node.push()["unacknowledged"] == 0
                    size = hub.size
                assert first.wait().expect(0).document["unacknowledged"] == 0
            finally:
                end(first)
        assert hub.size == size
        Figures(0, changes=40).count_up(hub, tmp_path / "export", [node.agency], watcher)


@pytest.mark.slow
def test_while_the_process_that_projects_is_frozen_the_others_take_in_and_say_that_the_tables_are_old(
    tmp_path: Path, postgres_url: str
) -> None:
    hub = HubDirectory.make(tmp_path / "hub", database_url=postgres_url, SIMPUL_PROJECTED_AFTER_S="1")
    hub.serve(processes=3)
    server = hub.server
    assert server is not None
    try:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
        add(node, 1, 21)
        assert node.push()["unacknowledged"] == 0
        (leader,) = wait_for("a leader", lambda: leaders_in(server.said()))
        wait_for("the fold", lambda: hub.status()["agencies"][0]["lag"] == 0)
        with frozen(leader):
            add(node, 21, 41)
            assert node.push(env=IMPATIENT)["unacknowledged"] == 0
            time.sleep(1.1)
            detail = wait_for("word of a process that runs", lambda: sick(hub.url), every_s=0.01)
            assert "behind the log" in detail
            assert hub.status()["agencies"][0]["lag"] > 0
        with watching(hub) as watcher:
            wait_for("the fold again", lambda: hub.status()["agencies"][0]["lag"] == 0)
            wait_for("health", lambda: health_of(hub.url)[0] == 200)
            assert leaders_in(server.said()) == [leader]
            Figures(0, changes=40).count_up(hub, tmp_path / "export", [node.agency], watcher)
    finally:
        end(server)


def sick(url: str) -> str:
    """What a process says that is not well; empty if the frozen one was reached."""
    try:
        status, body = health_of(url, within_s=0.3)
    except OSError:
        return ""
    assert status == 503
    return str(body["detail"])


@pytest.mark.slow
def test_processes_that_freeze_under_load_while_the_database_ends_their_sessions_sign_one_history(
    tmp_path: Path, postgres_server: URL
) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")
    with fresh_database(postgres_server) as log, fresh_database(postgres_server) as lock:
        urls = [url.render_as_string(hide_password=False) for url in (log, lock)]
        asked = Asked(6, 300, seed, nodes=2, processes=3, database_url=urls[0], lock_url=urls[1])
        running = FreezeRun(tmp_path, asked, print)
        found = running.run()
    assert found.in_log == found.changes
    assert running.sessions_ended > 0


def test_a_hub_waits_for_a_process_that_froze_in_the_middle_of_an_append_and_goes_on_when_it_lets_go(
    tmp_path: Path,
) -> None:
    with serving_hub(tmp_path) as hub, watching(hub) as watcher:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
        add(node, 1, 3)
        size = hub.size
        with (hub.directory / "lock" / "append.lock").open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)  # as a command beside `serve` holds it that somebody stopped with Ctrl-Z
            status = node.push_in_vain(lambda status: status["unacknowledged"], env=IMPATIENT)
            assert status["unacknowledged"] == 2
            assert (hub.size, json.loads(hub.get("/v1/hub"))["size"]) == (size, size)
        assert node.push()["unacknowledged"] == 0
        Figures(0, changes=2).count_up(hub, tmp_path / "export", [node.agency], watcher)


async def test_an_append_that_hangs_for_longer_than_any_commit_is_told_to_the_monitor(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        with (lab.directory / "hub" / "lock" / "append.lock").open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            hanging = asyncio.create_task(agency.push(agency.cut(1)))
            while not lab.hub.appender.trouble:
                await asyncio.sleep(0.01)
                lab.clock.at_ms += 1_000
            answer = await lab.call("GET", "/healthz")
            assert (answer.status, answer.kind) == (503, "busy")
            assert "an append has been under way for 61 s" in answer.json["detail"]
        assert (await hanging).status == 201
        assert (await lab.call("GET", "/healthz")).status == 200
