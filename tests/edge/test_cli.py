"""The commands that people and scripts rely on: members of --json, exit codes, help, SIGTERM (docs/operations.md)."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.meddler import delay, meddling
from tests.edge.place import Place, settled_place
from tests.edge.program import PROGRAM, environment, script, simpul, told, wait_for
from tests.edge.whole_way import SAMARINDA, HubDirectory, NodeDirectory, end, post_json, serving_hub

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with settled_place(tmp_path_factory.mktemp("cli")) as made:
        yield made


def test_every_document_holds_the_members_that_scripts_rely_on(place: Place, tmp_path: Path) -> None:
    hub, node = place.hub, place.node
    assert {"vkey", "origin"} <= told("hub", "init", tmp_path / "hub", "--origin", "other.example/log").keys()
    assert {"token", "vkey", "agency"} <= told("hub", "invite", hub.directory, "33.75").keys()
    status = hub.status()
    assert status.keys() >= {"log", "agencies", "projected_to"}
    assert status["log"].keys() >= {"size", "root"}
    (agency,) = status["agencies"]
    assert agency.keys() >= {"agency", "seq", "epoch", "digest", "age_s", "lag", "troubles"}
    own = node.status()
    assert own.keys() >= {"agency", "unsent", "unacknowledged", "last_receipt_age_s", "pusher"}
    assert own.keys() >= {"next_attempt_at", "troubles"}
    assert told("hub", "rebuild", hub.directory).keys() >= {"before", "after"}
    shown = told("keys", "show", node.directory)
    assert {key["role"] for key in shown["keys"]} == {"agency", "sealing"}
    assert told("version").keys() >= {"simpul", "protocol", "fold"}


def test_an_import_counts_in_integers_and_names_refused_rows_by_line(place: Place, tmp_path: Path) -> None:
    rows = [sp4n_row(50), sp4n_row(51, status="?"), sp4n_row(1)]
    dry = told("node", "import", place.node.directory, write_csv(tmp_path / "a.csv", rows), "--dry-run", code=1)
    assert (dry["read"], dry["imported"] + dry["already_there"]) == (3, 2)
    report = place.node.import_(tmp_path / "a.csv", code=1)
    assert (report["read"], report["imported"], report["already_there"]) == (3, 1, 1)
    assert [row["line"] for row in report["refused"]] == [4]  # the row before it has a line break in its text
    assert report["refused"][0]["reason"]


def test_an_audit_holds_counts_findings_and_what_could_not_be_proved(place: Place, tmp_path: Path) -> None:
    report = place.hub.audit_export(tmp_path / "export")
    counts = ("agencies", "change_sets", "changes", "complaints", "refused")
    assert {type(report[name]) for name in counts} == {int}
    assert report["ok"] is True
    assert report["log"].keys() >= {"size", "root"}
    assert set(map(type, report["by_state"].values())) == {int}
    assert isinstance(report["state_hash"], str)
    assert (report["findings"], type(report["unproven"])) == ([], list)


def test_the_installed_script_speaks_json_on_stdout_alone_and_words_without_it(place: Place) -> None:
    words = ("node", "status", place.node.directory)
    as_json = script(*words, "--json")
    assert json.loads(as_json.out)["agency"] == SAMARINDA
    assert as_json.err == ""
    assert f"Agency {SAMARINDA}" in simpul(*words).out


def test_the_status_of_a_halted_node_is_printed_whole_and_ends_with_1(place: Place, tmp_path: Path) -> None:
    halted = shutil.copytree(place.node.directory, tmp_path / "node")
    with closing(sqlite3.connect(halted / "node.db")) as database, database:
        database.execute("UPDATE node SET halt_reason = 'copy-alive', halt_detail = 'seq 9', halted_at_ms = 1")
    document = told("node", "status", halted, code=1)
    assert (document["agency"], document["pusher"]) == (SAMARINDA, "halted")
    assert "pusher halted" in simpul("node", "status", halted, code=1).out


@pytest.mark.parametrize(
    "words",
    [
        ["node", "status"],
        ["nod", "status", "x"],
        ["hub", "serve", "x", "--port", "99999999"],
        ["node", "import", "x", "no-such-file.csv"],
        ["audit"],
        ["audit", "receipt", "--json"],
        ["audit", "deadlines"],
        ["audit", "deadlines", "http://127.0.0.1:9"],  # without --token nothing could be measured
        ["hub", "grant", "x", "king", "budi"],
        ["demo", "--agencies", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2(words: list[str]) -> None:
    ran = simpul(*words, code=2)
    assert ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["node", "status"],
        ["keys", "revoke", "x", "--disputed-from", "-5"],
        ["node", "restore", "no-such-folder", "y"],
        ["node", "status", "x", "--no-such-option"],
        ["hub", "no-such-command"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_a_json_document_too(words: list[str]) -> None:
    ran = simpul(*words, "--json", code=2)
    assert (ran.document["ok"], ran.document["error"]["kind"]) == (False, "usage")
    assert ran.document["error"]["detail"]
    assert ran.document["error"]["next"].startswith("simpul")
    assert "Usage: simpul" in ran.err


@pytest.mark.parametrize(
    "words",
    [[], ["hub"], ["node"], ["node", "token"], ["keys"], ["audit"], ["demo"]],
    ids=" ".join,
)
def test_every_command_explains_itself(words: list[str]) -> None:
    assert "Usage: simpul" in simpul(*words, "--help").out


def test_codes_names_tokens_and_places_that_were_typed_wrong_are_exit_2_with_a_next_step(
    place: Place, tmp_path: Path
) -> None:
    """Nobody has to be called for them, and repeating does not help."""
    hub = place.hub.directory
    for words in (
        ("hub", "invite", hub, "NIX.1"),
        ("hub", "grant", hub, "auditor", ""),
        ("hub", "revoke", hub, "11.01"),
        ("audit", tmp_path),
        ("audit", place.hub.url, "--token", "wrong"),
    ):
        error = told(*words, code=2)["error"]
        assert error["detail"]
        assert error["next"]
    server = place.node.serve()
    try:
        assert "not the address of a hub" in told("audit", server.url, code=2)["error"]["detail"]
    finally:
        end(server)


def test_an_invitation_of_a_code_outside_the_directory_works_with_a_warning(place: Place) -> None:
    assert told("hub", "invite", place.hub.directory, "33.75")["warning"] is None
    ran = simpul("hub", "invite", place.hub.directory, "99.99", "--json")
    assert ran.document["token"]
    assert "99.99 is not in config/agencies.csv" in ran.document["warning"]
    assert "99.99 is not in" in ran.err


def test_what_cannot_be_reached_is_exit_3_with_the_next_step(place: Place, tmp_path: Path) -> None:
    away = ("node", "enrol", tmp_path / "n", "--hub", NOBODY, "--vkey", place.hub.vkey)
    for words in (
        (*away, "--agency", "33.75", "--token", "x" * 32),
        ("audit", NOBODY, "--vkey", place.hub.vkey),
    ):
        error = told(*words, code=3)["error"]
        assert error["kind"] == "unreachable"
        assert error["next"]


def test_a_push_without_a_hub_ends_at_its_timeout_with_exit_3(place: Place, tmp_path: Path) -> None:
    with serving_hub(tmp_path) as hub:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
    node.import_(write_csv(tmp_path / "a.csv", [sp4n_row(1)]))
    started = time.monotonic()
    document = node.push(code=3, timeout_s=2)
    assert time.monotonic() - started < 20
    assert (document["reached"], document["unsent"]) == (False, 1)
    ran = simpul("node", "push", node.directory, "--timeout", "1", code=3)
    assert "Nothing is lost" in ran.err


def test_a_bad_token_is_exit_2_and_leaves_no_node(place: Place, tmp_path: Path) -> None:
    words = ("node", "enrol", tmp_path / "n", "--hub", place.hub.url, "--vkey", place.hub.vkey, "--agency", "33.75")
    error = told(*words, "--token", "x" * 32, code=2)["error"]
    assert (error["kind"], "invitation" in error["next"]) == ("bad-token", True)
    told_of = told("node", "status", tmp_path / "n", code=2)["error"]
    assert "was not completed" in told_of["detail"]
    assert f"simpul node enrol {tmp_path / 'n'}" in told_of["next"]
    assert "was not completed" not in told("node", "status", tmp_path, code=2)["error"]["detail"]


def test_a_folder_with_keys_that_is_no_backup_is_told_as_such_and_no_passphrase_is_asked_for(
    place: Place, tmp_path: Path
) -> None:
    for role, directory in (("node", place.node.directory), ("hub", place.hub.directory)):
        error = told(role, "restore", directory, tmp_path / "new", code=2)["error"]
        assert "holds no backup" in error["detail"]
        assert not (tmp_path / "new").exists()


def test_an_address_in_the_clear_beyond_loopback_is_exit_2(place: Place, tmp_path: Path) -> None:
    words = ("node", "enrol", tmp_path / "n", "--hub", "http://hub.example", "--vkey", place.hub.vkey)
    error = told(*words, "--agency", "33.75", "--token", "x" * 32, code=2)["error"]
    assert "https" in error["next"]


def test_plain_http_that_carries_a_hub_of_another_key_is_not_believed(place: Place, tmp_path: Path) -> None:
    other = HubDirectory.make(tmp_path / "other")
    words = ("node", "enrol", tmp_path / "n", "--hub", place.hub.url, "--vkey", other.vkey, "--agency", "33.75")
    error = told(*words, "--token", place.hub.invite("33.75"), code=1)["error"]
    assert error["next"]


@contextmanager
def half_a_request(port: int) -> Iterator[None]:
    """Somebody who is connected and somebody who began to say something, and never ends."""
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"POST /v1/enrolments HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        time.sleep(0.2)
        yield


def test_sigterm_ends_a_hub_within_ten_seconds_though_a_request_is_under_way(tmp_path: Path) -> None:
    server = HubDirectory.make(tmp_path / "hub").serve()
    try:
        with half_a_request(server.port):
            assert server.stop(within_s=10) == 0
    finally:
        end(server)
    assert "Traceback" not in server.said()


def test_sigterm_ends_a_node_within_ten_seconds_though_the_hub_answers_nothing(place: Place, tmp_path: Path) -> None:
    with meddling(place.hub.url) as meddler:
        node = NodeDirectory(tmp_path / "node", "13.71")
        node.enrol(place.hub, url=meddler.url)
        node.import_(write_csv(tmp_path / "a.csv", [sp4n_row(1)]))
        meddler.do(delay(20.0), times=1)
        server = node.serve()
        try:
            wait_for("the push is under way", lambda: meddler.met == 1)
            with half_a_request(server.port):
                assert server.stop(within_s=10) == 0
        finally:
            end(server)
        assert "Traceback" not in server.said()
        assert node.push()["unsent"] == 0


def test_commands_work_while_serve_runs_on_the_same_directory(place: Place, tmp_path: Path) -> None:
    server = place.node.serve()
    try:
        token = told("node", "token", "create", place.node.directory, "loket")["token"]
        body = {"channel": "web", "title": "Lampu padam", "text": "Sudah tiga malam.", "visibility": "public"}
        made = post_json(server.url + "/v1/complaints", body, token)
        assert place.node.push()["unsent"] == 0
        told("node", "receipt", place.node.directory, made["tracking"], tmp_path / "receipt.json")
        assert told("audit", "receipt", tmp_path / "receipt.json", "--vkey", place.hub.vkey)["ok"] is True
        assert told("node", "token", "revoke", place.node.directory, "loket")["revoked"] == 1
        simpul("node", "token", "revoke", place.node.directory, "loket", code=1)
    finally:
        end(server)


def test_a_terminal_that_is_not_utf_8_gets_an_answer_and_no_traceback(place: Place, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "laporan “baru” 🙂.csv", [sp4n_row(60, status="…🙂")])
    shown = script("node", "import", place.node.directory, file, code=1, env={"PYTHONIOENCODING": "ascii"})
    assert "Traceback" not in shown.err
    assert "is not known" in shown.out
    latin = {"PYTHONIOENCODING": "latin-1"}
    document = json.loads(script("node", "import", place.node.directory, file, "--json", code=1, env=latin).out)
    assert "…🙂" in document["refused"][0]["reason"]


def test_a_file_whose_name_is_no_text_is_named_in_json_all_the_same(place: Place, tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"caf\xe9.csv")
    name.write_text("a,b\n1,2\n")
    told_of = script("node", "import", place.node.directory, name, "--json", code=2)
    assert json.loads(told_of.out)["error"]["kind"] == "configuration"
    assert "Traceback" not in told_of.err


@pytest.mark.parametrize("words", [["--json"], []])
def test_an_answer_that_cannot_be_written_is_told_in_words(place: Place, words: list[str]) -> None:
    line = [str(PROGRAM), "node", "status", str(place.node.directory), *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(None), check=False)
    assert done.returncode == 1
    assert "The disk is full" in done.stderr
    assert "Traceback" not in done.stderr
