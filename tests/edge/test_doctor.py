"""`simpul node doctor` and `simpul hub doctor`: each thing that can be wrong, made wrong for real, is named."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from keys.key_directory import KeyDirectory
from node.serving import listening
from node.wiring.doctor import hub_doctor, node_doctor
from sync_protocol.statement import Role
from sync_protocol.values import format_timestamp
from tests.edge.certificates import make_certificate
from tests.edge.hub_lab import ORIGIN, LabClock, options_for, projected, running_hub
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.place import Place, settled_place
from tests.edge.ports import own_port
from tests.edge.program import script, simpul, start, told
from tests.edge.whole_way import HubDirectory, NodeDirectory, end

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("doctor")
    with settled_place(folder) as made:
        told("node", "backup", made.node.directory, folder / "archive")
        for directory in (made.hub.directory, made.node.directory):
            amend(directory, f"port = {own_port()}")  # where nobody listens
        yield made


@pytest.fixture
def node(place: Place, tmp_path: Path) -> Path:
    """A copy of the node's directory, to be spoilt."""
    return shutil.copytree(place.node.directory, tmp_path / "node")


def amend(directory: Path, line: str) -> None:
    """One more setting, or another value of one that is there."""
    path = directory / "simpul.toml"
    name = line.partition(" = ")[0]
    kept = [old for old in path.read_text().splitlines() if not old.startswith(f"{name} = ")]
    path.write_text("\n".join([*kept, line, ""]))


def execute(database: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute(statement, values).rowcount > 0


def levels(document: Any) -> dict[str, str]:
    """By check; and every finding speaks both languages, with a step where one is due."""
    for finding in document["findings"]:
        assert finding.keys() == {"check", "level", "detail", "next", "detail_id", "next_id"}
        assert finding["detail"]
        assert finding["detail_id"]
        is_fine = finding["level"] == "ok"
        assert (not finding["next"], not finding["next_id"]) == (is_fine, is_fine), finding
    return {finding["check"]: finding["level"] for finding in document["findings"]}


def details(document: Any, check: str) -> str:
    return " ".join(finding["detail"] for finding in document["findings"] if finding["check"] == check)


def node_document(directory: Path, code: int) -> Any:
    document = told("node", "doctor", directory, code=code)
    assert (document["role"], document["ok"]) == ("node", code == 0)
    return document


def test_a_node_that_is_well_and_served_has_nothing_that_fails(node: Path) -> None:
    port = own_port()
    amend(node, f"port = {port}")
    server = start("node", "serve", node)
    try:
        found = levels(node_document(node, 0))
    finally:
        end(server)
    disk = found.pop("disk")
    assert disk in {"ok", "warn"}  # the disk of whoever runs this
    assert set(found.values()) == {"ok"}
    assert found.keys() >= {"permissions", "database", "backup", "pusher", "receipts", "key-agency", "key-sealing"}
    assert found.keys() >= {"hub", "clock", "admission", "serving"}


def test_the_table_names_check_level_finding_and_next_step_in_two_languages(node: Path) -> None:
    (node / "last-backup.json").unlink()
    shown = " ".join(script("node", "doctor", node, env={"COLUMNS": "1000"}).out.split())
    assert "no backup was ever made" in shown
    assert "belum pernah ada cadangan" in shown
    assert "simpul node backup" in shown


def test_a_hub_out_of_reach_alone_is_code_3_and_with_anything_else_code_1(node: Path) -> None:
    amend(node, f'hub_url = "{NOBODY}"')
    document = node_document(node, 3)
    assert levels(document)["hub"] == "fail"
    assert "Nothing is lost" in next(found["next"] for found in document["findings"] if found["check"] == "hub")
    (node / "keys" / "agency.pem").chmod(0o644)
    assert levels(node_document(node, 1))["key-agency"] == "fail"


def test_keys_that_others_read_that_are_gone_or_that_the_log_does_not_know_are_found(node: Path) -> None:
    key = node / "keys" / "agency.pem"
    key.chmod(0o644)
    document = node_document(node, 1)
    assert "chmod 600" in next(found["next"] for found in document["findings"] if found["check"] == "key-agency")
    key.unlink()
    assert "is not there" in details(node_document(node, 1), "key-agency")
    KeyDirectory(node / "keys").create(Role.AGENCY, b"another stranger's thirty-two byt"[:32])
    document = node_document(node, 1)
    assert levels(document)["key-agency"] == "fail"
    assert "another agency key" in details(document, "key-agency")
    assert levels(document)["admission"] == "fail"
    key.write_bytes(b"public-key: x\ngarbage")
    assert levels(node_document(node, 1))["key-agency"] == "fail"


def test_a_file_of_the_settings_that_cannot_be_read_hides_nothing_else(node: Path) -> None:
    amend(node, 'ca_file = "nowhere.pem"')
    document = node_document(node, 1)
    found = levels(document)
    assert (found["disk"], found["key-agency"], found["node"]) == ("ok", "ok", "fail")
    assert "nowhere.pem" in details(document, "node")
    (node / "secret").write_text("open to everybody")
    (node / "secret").chmod(0o644)
    amend(node, 'key_passphrase_file = "secret"')
    found = levels(node_document(node, 1))
    assert (found["disk"], found["database"], found["node"]) == ("ok", "ok", "fail")


def test_a_database_that_is_damaged_is_found_and_nothing_is_asked_of_it(node: Path) -> None:
    (node / "node.db").write_bytes(b"\xff" * 65_536)
    document = node_document(node, 1)
    assert levels(document)["database"] == "fail"
    assert "pusher" not in levels(document)


def test_an_old_receipt_a_halt_and_changes_set_aside_are_found(node: Path) -> None:
    old_ms = int(time.time() * 1000) - 27 * 3_600_000
    execute(node / "node.db", "UPDATE node SET last_receipt_at_ms = ?", old_ms)
    document = node_document(node, 1)
    assert (levels(document)["receipts"], "27.0 hours" in details(document, "receipts")) == ("fail", True)
    execute(node / "node.db", "UPDATE node SET halt_reason = 'copy-alive', halt_detail = 'seq 9', halted_at_ms = 1")
    insert = (
        "INSERT INTO set_aside (at_ms, complaint, change_id, reason, line) VALUES (1, 'c', 'i', 'wrong_rev', x'78')"
    )
    execute(node / "node.db", insert)
    document = node_document(node, 1)
    assert "recover --take-over" in details(document, "pusher")
    assert levels(document)["set-aside"] == "warn"


def test_changes_that_wait_for_a_hub_that_is_away_are_told_with_the_time_since_when(node: Path) -> None:
    amend(node, f'hub_url = "{NOBODY}"')
    NodeDirectory(node).import_(write_csv(node.parent / "b.csv", [sp4n_row(50)]))
    NodeDirectory(node).push_in_vain(lambda status: status["failing_since"])
    document = node_document(node, 3)
    assert levels(document)["pusher"] == "warn"
    assert "1 change(s) wait, nothing goes out since 20" in details(document, "pusher")


@asynccontextmanager
async def other_hub(description: dict[str, Any], late_ms: int = 0) -> AsyncIterator[str]:
    """Answers `/v1/hub` as the real one does, at another time."""

    async def describe(_request: web.Request) -> web.Response:
        time_told = format_timestamp(int(time.time() * 1000) + late_ms)
        return web.json_response({**description, "time": time_told})

    app = web.Application()
    app.router.add_get("/v1/hub", describe)
    async with listening(app, "127.0.0.1", 0) as url:
        yield url


@pytest.mark.parametrize(("off_s", "level"), [(0, "ok"), (30, "warn"), (-30, "warn"), (90, "fail"), (-90, "fail")])
async def test_a_clock_that_is_off_is_found_by_the_hubs(place: Place, node: Path, off_s: int, level: str) -> None:
    description = msgspec.json.decode(place.hub.get("/v1/hub"))
    async with other_hub(description, off_s * 1_000) as url:
        amend(node, f'hub_url = "{url}"')
        document = await node_doctor(node)
    assert levels(document)["clock"] == level


async def test_another_hub_at_the_address_is_found(place: Place, node: Path) -> None:
    description = msgspec.json.decode(place.hub.get("/v1/hub"))
    async with other_hub({**description, "origin": "other.example/log"}) as url:
        amend(node, f'hub_url = "{url}"')
        document = await node_doctor(node)
    assert levels(document)["hub-identity"] == "fail"
    assert document["exit_code"] == 1


def test_doctor_of_the_wrong_directory_is_a_wrong_usage(place: Place, tmp_path: Path) -> None:
    assert "no directory of a hub or a node" in told("hub", "doctor", tmp_path, code=2)["error"]["detail"]
    assert "directory of a hub" in told("node", "doctor", place.hub.directory, code=2)["error"]["detail"]


def hub_document(directory: Path, code: int) -> Any:
    document = told("hub", "doctor", directory, code=code)
    assert (document["role"], document["ok"]) == ("hub", code == 0)
    return document


def test_a_hub_that_is_well_has_nothing_that_fails_also_while_it_serves(place: Place, tmp_path: Path) -> None:
    found = levels(hub_document(place.hub.directory, 0))
    assert {check for check, level in found.items() if level != "ok"} <= {"serving", "backup", "disk"}
    assert found.keys() >= {"permissions", "database", "log", "lock", "key-registrar", "key-log", "projection"}
    assert found.keys() >= {"clock", "ticks", "agencies"}
    told("hub", "backup", place.hub.directory, tmp_path / "archive")
    assert levels(hub_document(place.hub.directory, 0))["backup"] == "ok"


@pytest.fixture
def hub(place: Place, tmp_path: Path) -> Path:
    """A hub of its own with one agency, that nobody serves any more, to be spoilt."""
    made = HubDirectory.make(tmp_path / "spoilt")
    enrol(made, "33.75")
    amend(made.directory, f"port = {own_port()}")
    return made.directory


def enrol(hub: HubDirectory, agency: str) -> None:
    """One more agency; the hub serves for as long."""
    server = hub.serve()
    try:
        NodeDirectory(hub.directory.parent / agency, agency).enrol(hub)
    finally:
        server.stop()


def test_a_lock_folder_that_is_gone_is_found_and_none_is_made_up(hub: Path) -> None:
    shutil.move(hub / "lock", hub.parent / "lock")
    assert levels(hub_document(hub, 1))["lock"] == "fail"
    assert not (hub / "lock").exists()


def test_a_hub_older_than_its_lock_is_found(hub: Path) -> None:
    shutil.copy(hub / "hub.db", hub.parent / "old.db")
    enrol(HubDirectory(hub, told("hub", "status", hub)["vkey"]), "35.71")
    for leftover in hub.glob("hub.db*"):
        leftover.unlink()
    shutil.copy(hub.parent / "old.db", hub / "hub.db")
    document = hub_document(hub, 1)
    assert "recovering" in details(document, "log")


def test_a_lock_that_contradicts_the_log_is_found(hub: Path) -> None:
    with closing(sqlite3.connect(hub / "hub.db")) as connection:
        (note,) = connection.execute("SELECT note FROM checkpoint ORDER BY size LIMIT 1").fetchone()
    (hub / "lock" / "checkpoint").write_bytes(note)
    document = hub_document(hub, 1)
    assert "the lock holds checkpoint" in details(document, "log")


def test_a_log_key_that_is_not_the_logs_is_found(hub: Path) -> None:
    (hub / "keys" / "log.pem").unlink()
    KeyDirectory(hub / "keys").create(Role.LOG, b"another stranger's thirty-two byt"[:32])
    document = hub_document(hub, 1)
    assert levels(document)["key-log"] == "fail"
    assert levels(document)["key-registrar"] == "ok"


def empty_projection(hub: Path) -> None:
    for file in hub.glob("projection.db*"):
        file.unlink()


def test_a_projection_that_stands_still_is_found(hub: Path) -> None:
    """The log has been waiting for hours, by the times of its checkpoints, and nobody folds it."""
    execute(hub / "hub.db", "UPDATE checkpoint SET at_ms = at_ms - 7200000")
    empty_projection(hub)
    document = hub_document(hub, 1)
    assert levels(document)["projection"] == "fail"
    assert "hub serve" in next(found["next"] for found in document["findings"] if found["check"] == "projection")


async def test_ticks_that_stopped_and_silent_agencies_are_found(tmp_path: Path) -> None:
    """The laboratory's clock stands in the past."""
    async with running_hub(tmp_path) as lab:
        await (await lab.enrol("33.75")).push_new(1)
        await projected(lab)
    directory = options_for(tmp_path).directory
    (directory / "simpul.toml").write_text(f'role = "hub"\norigin = "{ORIGIN}"\n')
    found = levels(document := await hub_doctor(directory))
    assert (found["ticks"], found["agencies"], found["clock"]) == ("fail", "warn", "ok")
    assert "33.75: silent for" in details(document, "agencies")


async def test_a_clock_behind_the_log_is_found(tmp_path: Path) -> None:
    clock = LabClock()
    clock.at_ms = int(time.time() * 1000) + 600_000
    async with running_hub(tmp_path, clock=clock) as lab:
        await projected(lab)
    directory = options_for(tmp_path).directory
    (directory / "simpul.toml").write_text(f'role = "hub"\norigin = "{ORIGIN}"\n')
    assert levels(await hub_doctor(directory))["clock"] == "fail"


def test_a_database_server_out_of_reach_alone_is_code_3(tmp_path: Path) -> None:
    directory = tmp_path / "hub"
    (directory / "lock").mkdir(0o700, parents=True)
    directory.chmod(0o700)
    (directory / "lock" / "checkpoint").write_text("whatever: it is not read before the log is")
    url = "postgresql+asyncpg://simpul:secret@127.0.0.1:1/hub"
    (directory / "simpul.toml").write_text(f'role = "hub"\norigin = "{ORIGIN}"\ndatabase_url = "{url}"\n')
    ran = simpul("hub", "doctor", directory, "--json", code=3)
    assert levels(ran.document)["database-server"] == "fail"
    assert "secret" not in ran.out + ran.err


def test_a_hub_that_serves_but_is_not_healthy_is_found(hub: Path) -> None:
    port = own_port()
    amend(hub, f"port = {port}")
    amend(hub, "projector = false")
    amend(hub, "projected_after_s = 0.001")
    empty_projection(hub)
    served = HubDirectory(hub, "")
    served.serve(port)
    try:
        document = hub_document(hub, 1)
        assert levels(document)["serving"] == "fail"
        assert "behind the log" in details(document, "serving")
    finally:
        end(served.server)


def test_a_certificate_that_ran_out_is_named_by_both_doctors(tmp_path: Path) -> None:
    """A hub that serves TLS by itself: first with a good certificate, then with one that nobody renewed."""
    certificate, key = make_certificate(tmp_path / "tls", "localhost")
    hub = HubDirectory.make(tmp_path / "hub", SIMPUL_TLS_CERT=str(certificate), SIMPUL_TLS_KEY=str(key))
    port = hub.serve().port
    node = tmp_path / "node"
    try:
        url = f"https://localhost:{port}"
        words = ("--hub", url, "--vkey", hub.vkey, "--agency", "33.75", "--token", hub.invite("33.75"))
        told("node", "enrol", node, *words, "--ca-file", certificate)
        amend(node, f"port = {own_port()}")
        assert levels(node_document(node, 0))["tls"] == "ok"
        amend(hub.directory, f"port = {port}")
        own = levels(told("hub", "doctor", hub.directory, env=hub.env))
        assert (own["tls"], own["serving"]) == ("ok", "ok")
        make_certificate(tmp_path / "tls", "localhost", days=-1)
        assert hub.server is not None
        hub.server.stop()
        hub.restart()
        document = node_document(node, 1)
        assert "expired" in details(document, "tls")
        assert levels(document)["hub"] == "fail"
        assert "does not hold today" in details(told("hub", "doctor", hub.directory, env=hub.env, code=1), "tls")
    finally:
        end(hub.server)
