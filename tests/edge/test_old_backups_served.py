"""Old backups, lost disks and machines started twice, with the program alone: real processes, killed where it hurts."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.meddler import Meddler, meddling
from tests.edge.place import complaints
from tests.edge.program import simpul, told, wait_for
from tests.edge.whole_way import HubDirectory, NodeDirectory, end, serving_hub
from tests.fakes.node_lab import copy_of

LONG_SETS = 90  # of one letter each, that nothing compresses: more than a page of them


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubDirectory]:
    with serving_hub(tmp_path) as running:
        yield running


def one(database: Path, query: str) -> Any:
    with closing(sqlite3.connect(database)) as connection:
        ((value,),) = connection.execute(query).fetchall()
    return value


def lived(hub: HubDirectory, place: Path, *, batches: int = 3) -> NodeDirectory:
    """A node that pushed so many times two complaints."""
    node = NodeDirectory(place / "node")
    node.enrol(hub)
    for batch in range(batches):
        node.import_(complaints(place, range(2 * batch + 1, 2 * batch + 3)))
        node.push()
    return node


def check_audit(hub: HubDirectory, place: Path, count: int) -> None:
    report = hub.audit_export(place / f"export-{count}")
    assert (report["ok"], report["findings"], report["complaints"], report["refused"]) == (True, [], count, 0)
    assert hub.status()["forks"] == []


def lose_all_but_keys(node: NodeDirectory, *, settings: bool) -> None:
    for file in node.directory.iterdir():
        if file.name != "keys" and not (settings and file.name == "simpul.toml"):
            file.unlink()


def test_copies_of_every_age_restored_one_after_the_other_each_go_on_and_the_audit_is_clean(
    hub: HubDirectory, tmp_path: Path
) -> None:
    node = NodeDirectory(tmp_path / "node")
    node.enrol(hub)
    copies = [copy_of(node.directory, tmp_path / "enrolled")]
    node.import_(complaints(tmp_path, range(1, 4)))
    copies.append(copy_of(node.directory, tmp_path / "recorded"))
    node.push()
    copies.append(copy_of(node.directory, tmp_path / "pushed"))
    node.import_(complaints(tmp_path, range(4, 6)))
    copies.append(copy_of(node.directory, tmp_path / "recorded-again"))
    node.push()
    copies.append(copy_of(node.directory, tmp_path / "newest"))
    shutil.rmtree(node.directory)
    for number, directory in enumerate(copies):
        again = NodeDirectory(directory)
        again.import_(complaints(tmp_path, range(10 + number, 11 + number)))
        document = told("node", "recover", again.directory)
        assert (document["unsent"], document["set_aside"], document["aside"]) == (0, 0, [])
        assert ("were fetched from the hub" in document["explanation"]) == (document["adopted_sets"] > 0)
        assert one(again.directory / "node.db", "SELECT count(*) FROM complaint") == 6 + number
    check_audit(hub, tmp_path, 10)


@pytest.mark.parametrize("settings", [True, False], ids=["settings and keys", "keys alone"])
def test_of_an_empty_disk_with_only_the_keys_left_everything_comes_back(
    hub: HubDirectory, tmp_path: Path, *, settings: bool
) -> None:
    node = lived(hub, tmp_path)
    before = one(node.directory / "node.db", "SELECT max(epoch) FROM change_set")
    lose_all_but_keys(node, settings=settings)
    if not settings:
        words = ("--hub", hub.url, "--vkey", hub.vkey, "--agency", node.agency)
        assert told("node", "enrol", node.directory, *words)["kid"]
    else:
        error = told("node", "status", node.directory, code=2)["error"]
        assert "database is gone, its keys are there" in error["detail"]
        assert "simpul node recover" in error["next"]
    document = told("node", "recover", node.directory)
    assert document["adopted_sets"] == 3
    assert one(node.directory / "node.db", "SELECT count(*) FROM change WHERE content IS NOT NULL") == 6
    node.import_(complaints(tmp_path, range(7, 9)))
    assert node.push()["epoch"] > before
    check_audit(hub, tmp_path, 8)


def test_a_serving_process_whose_disk_was_emptied_refills_itself_when_a_supervisor_starts_it_again(
    hub: HubDirectory, tmp_path: Path
) -> None:
    node = lived(hub, tmp_path)
    lose_all_but_keys(node, settings=True)
    server = node.serve()
    try:
        wait_for("all is there again", lambda: (node.directory / "node.db").exists() and brought_back(node))
        wait_for("nothing is wrong any more", lambda: node.status()["troubles"] == [])
    finally:
        end(server)
    check_audit(hub, tmp_path, 6)


def brought_back(node: NodeDirectory) -> bool:
    with closing(sqlite3.connect(node.directory / "node.db")) as connection, suppress(sqlite3.OperationalError):
        ((count,),) = connection.execute("SELECT count(*) FROM change_set WHERE status = 1").fetchall()
        return int(count) >= 3
    return False  # its tables are not made yet


def test_where_the_sealing_key_is_gone_as_well_there_is_a_new_one_that_can_be_made_known(
    hub: HubDirectory, tmp_path: Path
) -> None:
    node = lived(hub, tmp_path, batches=1)
    lose_all_but_keys(node, settings=True)
    (node.directory / "keys" / "sealing.pem").unlink()
    told("node", "recover", node.directory)
    rotated = told("keys", "rotate", node.directory, "--role", "sealing")
    assert rotated["new"] != rotated["old"]
    node.push()
    check_audit(hub, tmp_path, 2)


def test_database_and_keys_lost_are_named_as_what_they_are_and_a_fresh_token_brings_back_what_was_pushed(
    hub: HubDirectory, tmp_path: Path
) -> None:
    node = lived(hub, tmp_path)
    lose_all_but_keys(node, settings=True)
    shutil.rmtree(node.directory / "keys")
    for words in (("serve",), ("push",), ("recover",), ("status",)):
        error = told("node", words[0], node.directory, code=2)["error"]
        assert "database and its keys are gone: what was never pushed is lost" in error["detail"]
        assert "fresh token" in error["next"]
    assert not (node.directory / "node.db").exists()
    again = NodeDirectory(tmp_path / "again")
    again.enrol(hub)
    assert told("node", "recover", again.directory)["adopted_sets"] == 3
    again.import_(complaints(tmp_path, range(7, 8)))
    again.push()
    check_audit(hub, tmp_path, 7)


def test_a_key_that_was_followed_by_another_before_the_disk_was_lost_needs_a_token_and_then_all_comes_back(
    hub: HubDirectory, tmp_path: Path
) -> None:
    node = lived(hub, tmp_path, batches=2)
    old_keys = copy_of(node.directory / "keys", tmp_path / "old-keys")
    told("keys", "rotate", node.directory)
    lose_all_but_keys(node, settings=True)
    shutil.rmtree(node.directory / "keys")
    shutil.copytree(old_keys, node.directory / "keys")
    error = told("node", "recover", node.directory, code=1)["error"]
    assert error["kind"] == "revoked-key"
    assert "fresh token" in error["next"]
    node.enrol(hub)
    assert told("node", "recover", node.directory)["adopted_sets"] == 2
    check_audit(hub, tmp_path, 4)


def test_without_a_key_there_is_no_enrolment_without_a_token_and_nothing_is_left_behind(
    hub: HubDirectory, tmp_path: Path
) -> None:
    words = ("--hub", hub.url, "--vkey", hub.vkey, "--agency", "33.75")
    error = told("node", "enrol", tmp_path / "new", *words, code=2)["error"]
    assert "--token" in error["next"]
    assert not (tmp_path / "new").exists()


def test_an_empty_disk_while_the_hub_is_away_is_said_and_nothing_is_made_up(hub: HubDirectory, tmp_path: Path) -> None:
    node = lived(hub, tmp_path, batches=1)
    lose_all_but_keys(node, settings=True)
    assert hub.server is not None
    hub.server.kill()
    assert told("node", "recover", node.directory, code=3)["error"]["kind"] == "unreachable"
    simpul("node", "serve", node.directory, code=3)
    hub.restart()
    assert told("node", "recover", node.directory)["adopted_sets"] == 1


# --- killed in the middle of a refill --------------------------------------------------------------------------------


def long_letters(hub: HubDirectory, place: Path, relay: Meddler) -> NodeDirectory:
    """A node whose sets fill more than a page, and of which only the keys are left; it reaches the hub by a relay."""
    node = NodeDirectory(place / "node")
    node.enrol(hub, url=relay.url)
    rows = [sp4n_row(number, text=letter(number)) for number in range(1, LONG_SETS + 1)]
    node.import_(write_csv(place / "long.csv", rows))
    node.push(env={"SIMPUL_SET_CHANGES_MAX": "1"})
    lose_all_but_keys(node, settings=True)
    return node


def letter(number: int) -> str:
    """Of 30,000 characters, of which half is left when it is compressed."""
    return random.Random(number).randbytes(15_000).hex()


class Holding:
    """Lets the first page through, and holds the second until it is told to go on."""

    def __init__(self) -> None:
        self.is_held = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, path: str) -> None:
        if "change-sets?from=" in path and not path.endswith("from=1"):
            self.is_held.set()
            self.go_on.wait(60)


@pytest.mark.slow  # two megabytes of letters are recorded, pushed and fetched, by six processes
@pytest.mark.parametrize("victim", ["node", "hub"])
def test_whoever_is_killed_in_the_middle_of_a_refill_it_is_finished(
    hub: HubDirectory, tmp_path: Path, victim: str
) -> None:
    with meddling(hub.url) as relay:
        node = long_letters(hub, tmp_path, relay)
        relay.before_get = holding = Holding()
        refilling = node.begin_push()
        assert holding.is_held.wait(60)
        database = node.directory / "node.db"
        wait_for("the first page is stored", lambda: one(database, "SELECT count(*) FROM change_set") > 0)
        before = one(database, "SELECT count(*) FROM change_set")
        assert 0 < before < LONG_SETS
        if victim == "node":
            refilling.kill()
            holding.go_on.set()
            assert node.status()["acknowledged_seq"] == before
            refilling = node.begin_push()
        else:
            assert hub.server is not None
            hub.server.kill()
            holding.go_on.set()
            hub.restart()
        status = refilling.wait().expect(0).document
        assert (status["unsent"], status["unacknowledged"], status["troubles"]) == (0, 0, [])
        assert one(database, "SELECT count(*) FROM change WHERE content IS NOT NULL") == LONG_SETS
        assert one(database, "SELECT count(DISTINCT epoch || '/' || seq) = count(*) FROM change_set WHERE status <> 2")
    check_audit(hub, tmp_path, LONG_SETS)


# --- two machines with one key ---------------------------------------------------------------------------------------


@pytest.mark.slow  # ten starts of serving processes, as a supervisor makes them
def test_of_two_machines_with_one_key_one_halts_for_good_however_often_a_supervisor_starts_it_again(
    hub: HubDirectory, tmp_path: Path
) -> None:
    first = lived(hub, tmp_path, batches=1)
    machines = [first, NodeDirectory(copy_of(first.directory, tmp_path / "second"))]
    recorded = 2
    servers = [machine.serve() for machine in machines]
    try:
        for turn in range(4):
            for machine in machines:
                recorded += 1
                machine.import_(complaints(tmp_path, range(recorded, recorded + 1)))
            if turn % 2:
                wait_for("each has settled", lambda: all(is_settled(one) for one in machines))
            for place, machine in enumerate(machines):
                servers[place].kill() if turn < 2 else servers[place].stop()
                servers[place] = machine.serve()
        for _ in range(4):  # a machine that adopts what the other pushed has nothing against it; a second time it halts
            wait_for("each has settled", lambda: all(is_settled(one) for one in machines))
            if any(is_halted(one) for one in machines):
                break
            for machine in machines:
                recorded += 1
                machine.import_(complaints(tmp_path, range(recorded, recorded + 1)))
    finally:
        for server in servers:
            end(server)
    (lost,) = [machine for machine in machines if is_halted(machine)]
    (going,) = [machine for machine in machines if not is_halted(machine)]
    assert value(going, "SELECT count(DISTINCT epoch) FROM change_set WHERE status <> 2") < 12, "they took turns"
    status = lost.status()
    assert "--take-over" in status["troubles"][0]
    report = hub.audit_export(tmp_path / "export")
    assert (report["ok"], report["findings"], report["refused"]) == (True, [], 0)
    assert report["complaints"] == recorded - status["unsent"] - status["unacknowledged"]
    told("node", "recover", lost.directory, "--take-over")
    check_audit(hub, tmp_path, recorded)


def value(machine: NodeDirectory, query: str) -> Any:
    return one(machine.directory / "node.db", query)


def is_halted(machine: NodeDirectory) -> bool:
    return value(machine, "SELECT halt_reason FROM node") is not None


def is_settled(machine: NodeDirectory) -> bool:
    """Halted, or everything has its receipt."""
    acknowledged = "SELECT coalesce(max(last_no), 0) FROM change_set WHERE status = 1"
    left = f"SELECT count(*) FROM change WHERE no > ({acknowledged})"
    return is_halted(machine) or value(machine, left) == 0


# --- words that were erased since ------------------------------------------------------------------------------------


def get(url: str, token: str) -> tuple[int, Any]:
    try:
        with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_restored_node_shows_no_words_before_it_knows_what_was_erased_since(
    hub: HubDirectory, tmp_path: Path
) -> None:
    node = lived(hub, tmp_path, batches=1)
    token = told("node", "token", "create", node.directory, "desk")["token"]
    told("node", "backup", node.directory, tmp_path / "archive")
    server = node.serve()
    _, page = get(f"{server.url}/v1/complaints", token)
    first, second = sorted(line["complaint"] for line in page["items"])
    _, detail = get(f"{server.url}/v1/complaints/{first}", token)
    (leaf,) = [entry["leaf"] for entry in detail["history"]]
    body = json.dumps({"type": "erased", "ground": "court-order", "leaves": [leaf]}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    urlopen(Request(f"{server.url}/v1/complaints/{first}/changes", body, headers), timeout=30).close()
    wait_for("the erasure is at the hub", lambda: is_settled(node))
    end(server)
    assert hub.server is not None
    hub.server.kill()

    told("node", "restore", tmp_path / "archive", tmp_path / "again", env={"SIMPUL_BACKUP_PASSPHRASE": ""})
    again = NodeDirectory(tmp_path / "again")
    shutil.copytree(node.directory / "keys", again.directory / "keys")
    assert "no words are shown" in str(again.status()["troubles"])
    assert told("node", "receipt", again.directory, first, tmp_path / "file", code=3)["error"]
    assert told("node", "excerpt", again.directory, first, tmp_path / "codes-alone")["lines"] == 1
    server = again.serve()
    try:
        status, problem = get(f"{server.url}/v1/complaints/{first}", token)
        assert (status, problem["type"].rsplit(":", 1)[1]) == (503, "busy")
        assert get(f"{server.url}/v1/complaints", token)[0] == 200
        hub.restart()
        wait_for("words are shown again", lambda: get(f"{server.url}/v1/complaints/{second}", token)[0] == 200)
        _, detail = get(f"{server.url}/v1/complaints/{first}", token)
        assert [entry["content"] for entry in detail["history"]] == [None, None]
        _, detail = get(f"{server.url}/v1/complaints/{second}", token)
        assert detail["history"][0]["content"] is not None
    finally:
        end(server)


def test_a_directory_that_was_put_back_by_hand_looks_at_the_hub_before_it_answers_anybody(
    hub: HubDirectory, tmp_path: Path
) -> None:
    node = lived(hub, tmp_path, batches=1)
    token = told("node", "token", "create", node.directory, "desk")["token"]
    old = NodeDirectory(copy_of(node.directory, tmp_path / "old"))
    server = node.serve()
    _, page = get(f"{server.url}/v1/complaints", token)
    complaint = page["items"][0]["complaint"]
    _, detail = get(f"{server.url}/v1/complaints/{complaint}", token)
    leaf = detail["history"][0]["leaf"]
    body = json.dumps({"type": "erased", "ground": "court-order", "leaves": [leaf]}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    urlopen(Request(f"{server.url}/v1/complaints/{complaint}/changes", body, headers), timeout=30).close()
    wait_for("the erasure is at the hub", lambda: is_settled(node))
    end(server)
    server = old.serve()
    try:
        status, detail = get(f"{server.url}/v1/complaints/{complaint}", token)
        assert status == 503 or detail["history"][0]["content"] is None
    finally:
        end(server)
