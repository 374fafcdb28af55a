"""Disks that fill up or turn read-only under serving nodes and hubs (issue 4, part E): real disks, real processes.

What was acknowledged stays; what cannot be kept is refused, with the next step; when there is room again it goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.edge.desk import Desk, health_of
from tests.edge.disks import PAGE_BYTES, FailingDisk, SmallDisk, failing_disk, small_disk
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.kill_figures import Figures
from tests.edge.program import simpul, spawn, wait_for
from tests.edge.watcher import watching
from tests.edge.whole_way import HubDirectory, NodeDirectory, end, serving_hub

DISK_MIB = 16
LONG = "Jalan berlubang. " * 500  # 8 KB: a disk's last pages are soon used up
REQUESTS_MAX = 2_000  # by then it has filled, or the ballast did not hold


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small", mib=DISK_MIB) as disk:
        yield disk


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[FailingDisk]:
    with failing_disk(tmp_path / "failing", mib=4 * DISK_MIB) as disk:
        yield disk


def refusal(desk: Desk) -> tuple[str, int, Any, str | None]:
    """Complaints are handed in until one is refused: its key, and the answer's status, body and Retry-After."""
    first = len(desk.answered)
    for number in range(first, first + REQUESTS_MAX):
        key = f"key-{number:05}"
        try:
            desk.ask(key, LONG)
        except HTTPError as error:
            with error:
                return key, error.code, json.load(error), error.headers["Retry-After"]
    raise AssertionError("nothing was refused")


def said(hub: HubDirectory) -> str:
    """Its log until now."""
    assert hub.server is not None
    return hub.server.said()


def add(node: NodeDirectory, start: int, stop: int) -> None:
    file = write_csv(node.directory.parent / f"{start}.csv", [sp4n_row(n, text=LONG) for n in range(start, stop)])
    assert node.import_(file)["imported"] == stop - start


@pytest.mark.slow
def test_a_node_whose_disk_is_full_refuses_what_is_new_keeps_what_it_took_and_goes_on_by_itself(
    small: SmallDisk, tmp_path: Path
) -> None:
    with serving_hub(tmp_path) as hub, watching(hub) as watcher:
        node = NodeDirectory(small.path / "node")
        node.enrol(hub)
        desk = Desk.open(node)
        try:
            desk.ask("before")
            wait_for("a receipt", lambda: desk.health()[0] == 200)
            small.fill()
            key, status, body, retry_after = refusal(desk)
            assert (status, body["type"]) == (503, "urn:simpul:problem:disk-full")
            assert "Make room" in body["next"]
            assert retry_after is not None
            assert desk.health()[0] == 503
            assert "could not be written" in desk.health()[1]["detail"]
            assert "goes on." not in desk.health()[1]["next"]
            assert any(str(small.path) in trouble for trouble in node.status()["troubles"])
            stopped = simpul("node", "push", node.directory, "--json", code=1).document["error"]
            assert (stopped["kind"], "Free some space" in stopped["next"]) == ("disk-full", True), stopped
            small.make_room()
            desk.ask(key, LONG)
            wait_for("everything to go out", lambda: desk.health()[0] == 200 and node.status()["unsent"] == 0)
            small.fill()
            key, *_ = refusal(desk)
            desk.server.kill()
            small.make_room()
            desk.server = node.serve()
            desk.ask(key, LONG)
            assert desk.server.stop() == 0
        finally:
            end(desk.server)
        assert node.push()["unsent"] == 0
        found = Figures(0, changes=len(set(desk.answered.values())))
        found.count_up(hub, tmp_path / "export", [node.agency], watcher)


@pytest.mark.slow
def test_a_hub_whose_disk_is_full_takes_nothing_in_shows_what_it_has_and_goes_on_by_itself(
    small: SmallDisk, tmp_path: Path
) -> None:
    hub = HubDirectory.make(small.path / "hub")
    hub.serve()
    try:
        with watching(hub) as watcher:
            node = NodeDirectory(tmp_path / "node")
            node.enrol(hub)
            add(node, 1, 11)
            assert node.push()["unacknowledged"] == 0
            small.fill()
            add(node, 11, 411)
            pushing = node.begin_push(env={"SIMPUL_SET_CHANGES_MAX": "20"})
            wait_for("an append that fails", lambda: "append failed" in said(hub), every_s=0.01)
            assert "database or disk is full" in said(hub)
            status, body = health_of(hub.url)
            assert (status, "full" in body["detail"], "by itself" in body["detail"]) == (503, True, True), body
            assert hub.size < 3 + 1 + 1 + 20
            small.make_room()
            done = pushing.wait().expect(0).document
            assert (done["unsent"], done["unacknowledged"], done["troubles"]) == (0, 0, [])
            wait_for("health", lambda: health_of(hub.url)[0] == 200)
            Figures(0, changes=410).count_up(hub, tmp_path / "export", [node.agency], watcher)
    finally:
        end(hub.server)


def test_a_hub_that_is_started_on_a_full_disk_says_so_and_has_lost_nothing_when_there_is_room(
    small: SmallDisk, tmp_path: Path
) -> None:
    hub = HubDirectory.make(small.path / "hub")
    hub.serve()
    try:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
        add(node, 1, 11)
        assert node.push()["unacknowledged"] == 0
        assert hub.server is not None
        hub.server.stop()  # what stands beside the database is gone: opening it takes room
        small.fill()
        stopped = simpul("hub", "serve", hub.directory, "--port", "0", "--json", code=1).document["error"]
        assert stopped["kind"] in ("disk-full", "disk"), stopped
        assert "full" in stopped["detail"] + stopped["next"]
        small.make_room()
        hub.serve()
        assert hub.audit_export(tmp_path / "export")["changes"] == 10
    finally:
        end(hub.server)


@pytest.mark.slow
def test_a_full_disk_under_the_lock_folder_alone_holds_every_append_up_and_nothing_is_signed_twice(
    small: SmallDisk, tmp_path: Path
) -> None:
    """The statement is in the database and not beside the lock: nobody hears of it before it is in both."""
    hub = HubDirectory.make(tmp_path / "hub")
    shutil.move(hub.directory / "lock", small.path / "lock")
    settings = hub.directory / "simpul.toml"
    settings.write_text(
        settings.read_text().replace('# lock_directory = "lock"', f'lock_directory = "{small.path}/lock"')
    )
    hub.serve()
    try:
        with watching(hub) as watcher:
            nodes = [NodeDirectory(tmp_path / agency, agency) for agency in ("33.75", "35.71")]
            nodes[0].enrol(hub)
            add(nodes[0], 1, 6)
            token = hub.invite("35.71")
            kept = small.path / "lock" / "statements.jsonl"
            with kept.open("ab") as file:  # to the end of its page, with half a line, as a power cut leaves it
                file.write(b"x" * (-kept.stat().st_size % PAGE_BYTES))
            small.fill()
            # The newest checkpoint takes no more room than the one before.
            assert nodes[0].push()["unacknowledged"] == 0
            add(nodes[0], 6, 11)
            size = hub.size
            words = ("node", "enrol", nodes[1].directory, "--hub", hub.url, "--vkey", hub.vkey, "--agency", "35.71")
            waiting = [spawn(*words, "--token", token)]
            wait_for("an enrolment that fails", lambda: "append failed" in said(hub), every_s=0.01)
            waiting.append(nodes[0].begin_push())
            failures = said(hub).count("append failed")
            wait_for("a set that fails", lambda: said(hub).count("append failed") > failures, every_s=0.01)
            assert hub.size == size
            assert "space" in health_of(hub.url)[1]["detail"]
            small.make_room()
            for one in waiting:  # both are still at it
                one.wait().expect(0)
            assert b'"index":%d' % size in kept.read_bytes()
            Figures(0, changes=10).count_up(hub, tmp_path / "export", ["33.75"], watcher)
    finally:
        end(hub.server)


def test_a_node_whose_disk_turns_read_only_says_so_shows_what_it_has_and_goes_on_after_the_repair(
    failing: FailingDisk, tmp_path: Path
) -> None:
    with serving_hub(tmp_path) as hub, watching(hub) as watcher:
        node = NodeDirectory(failing.path / "node")
        node.enrol(hub)
        desk = Desk.open(node)
        try:
            for number in range(3):
                desk.ask(f"before-{number}")
            failing.turn_read_only()
            key, status, body, _ = refusal(desk)
            assert (status, body["type"]) == (503, "urn:simpul:problem:storage")
            assert "mounted" in body["next"]
            assert desk.health()[0] == 503
            assert node.status()["unsent"] + node.status()["unacknowledged"] <= 3
            stopped = simpul("node", "push", node.directory, "--json", code=1).document["error"]
            assert (stopped["kind"], "read-only" in stopped["next"]) == ("disk", True), stopped
            assert desk.server.stop() == 0
            desk.server = node.serve()  # it shows what it has, and says that it is not well
            wait_for("word of the pusher", lambda: "disk" in desk.health()[1].get("detail", ""), every_s=0.02)
            assert desk.server.stop() == 0
            failing.mount_anew()
            desk.server = node.serve()
            desk.ask(key, LONG)
            assert desk.server.stop() == 0
        finally:
            end(desk.server)
        assert node.push()["unsent"] == 0
        found = Figures(0, changes=len(set(desk.answered.values())))
        found.count_up(hub, tmp_path / "export", [node.agency], watcher)


def test_a_hub_whose_disk_turns_read_only_takes_nothing_in_and_goes_on_after_the_repair(
    failing: FailingDisk, tmp_path: Path
) -> None:
    hub = HubDirectory.make(failing.path / "hub")
    hub.serve()
    try:
        with watching(hub) as watcher:
            node = NodeDirectory(tmp_path / "node")
            node.enrol(hub)
            add(node, 1, 6)
            assert node.push()["unacknowledged"] == 0
            failing.turn_read_only()
            add(node, 6, 11)
            pushing = node.begin_push()
            wait_for("an append that fails", lambda: "append failed" in said(hub), every_s=0.01)
            end(pushing)
            assert (health_of(hub.url)[0], len(hub.get("/checkpoint")) > 0) == (503, True)
            stopped = simpul("hub", "status", hub.directory, "--json", code=1).document["error"]
            assert (stopped["kind"], "read-only" in stopped["next"]) == ("disk", True), stopped
            assert hub.server is not None
            assert hub.server.stop() == 0
            failing.mount_anew()
            hub.restart()
            assert node.push()["unacknowledged"] == 0
            Figures(0, changes=10).count_up(hub, tmp_path / "export", [node.agency], watcher)
    finally:
        end(hub.server)
