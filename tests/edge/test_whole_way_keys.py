"""Keys that are followed by others and keys that end, with the program alone: node, hub, auditor (issue 2, part E)."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keys.key_directory import KeyDirectory
from sync_protocol.ed25519 import kid_of as kid_of_public
from sync_protocol.statement import Role
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import simpul, told, wait_for
from tests.edge.whole_way import SAMARINDA, HubDirectory, NodeDirectory, end, serving_hub
from tests.fakes.node_lab import copy_of


@dataclass
class Pair:
    """A hub that serves, a node, and how many complaints it recorded."""

    hub: HubDirectory
    node: NodeDirectory
    place: Path
    recorded: int = 0

    def record(self, count: int) -> None:
        rows = [sp4n_row(number) for number in range(self.recorded + 1, self.recorded + count + 1)]
        assert self.node.import_(write_csv(self.place / "a.csv", rows))["imported"] == count
        self.recorded += count

    def push(self) -> Any:
        """Drained, without troubles."""
        status = self.node.push()
        assert (status["unsent"], status["unacknowledged"], status["troubles"]) == (0, 0, [])
        return status

    def audit(self, vkey: str | None = None) -> Any:
        """Clean, and with everything that was recorded."""
        export = self.hub.export(self.place / f"export-{len(list(self.place.iterdir()))}")
        report = told("audit", export, "--vkey", vkey or self.hub.vkey)
        assert (report["findings"], report["complaints"], report["refused"]) == ([], self.recorded, 0)
        return report


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with serving_hub(tmp_path) as hub:
        made = Pair(hub, NodeDirectory(tmp_path / "node"), tmp_path)
        made.node.enrol(hub)
        made.record(3)
        made.push()
        yield made


def kid_of(directory: Path, role: str) -> str:
    return str({key["role"]: key["kid"] for key in told("keys", "show", directory)["keys"]}[role])


def test_a_nodes_key_is_followed_by_another_and_nothing_that_waited_is_left_behind(pair: Pair) -> None:
    before = kid_of(pair.node.directory, "agency")
    pair.record(2)
    rotated = told("keys", "rotate", pair.node.directory)
    assert (rotated["old"], rotated["new"]) == (before, kid_of(pair.node.directory, "agency"))
    assert before != rotated["new"]
    assert pair.node.status()["unsent"] + pair.node.status()["unacknowledged"] == 0
    pair.record(2)
    assert pair.push()["seq"] == 3
    report = pair.audit()
    assert report["change_sets"] == 3
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (pair.node.directory / "keys").iterdir()}
    assert modes == {0o600}


def test_a_key_that_waited_and_was_spent_by_a_copy_is_given_up_for_a_fresh_one_in_the_same_command(
    pair: Pair,
) -> None:
    waiting = KeyDirectory(pair.node.directory / "keys").prepare_next(Role.AGENCY, b"n" * 32)
    copy = copy_of(pair.node.directory, pair.place / "copy")
    spent = told("keys", "rotate", copy)["new"]  # the copy uses it; then the original is enrolled anew
    assert spent == kid_of_public(waiting.public_key)
    pair.node.enrol(pair.hub)
    before = kid_of(pair.node.directory, "agency")
    rotated = told("keys", "rotate", pair.node.directory)
    assert rotated["old"] == before
    assert rotated["new"] not in (before, spent)
    pair.record(1)
    pair.push()
    pair.audit()


def test_a_key_rotates_while_the_node_serves_and_it_goes_on_with_the_new_one(pair: Pair) -> None:
    server = pair.node.serve()
    try:
        told("keys", "rotate", pair.node.directory)
        pair.record(2)
        wait_for("the new key pushes", lambda: pair.node.status()["seq"] == 2 and pair.node.status()["unsent"] == 0)
        wait_for("its receipt", lambda: pair.node.status()["unacknowledged"] == 0)
        assert pair.node.status()["troubles"] == []
    finally:
        end(server)
    pair.audit()


def test_registrar_and_log_keys_of_the_hub_rotate_while_it_serves_and_everybody_follows(pair: Pair) -> None:
    old_vkey = pair.hub.vkey
    for role in ("registrar", "log", "registrar", "log"):
        rotated = told("keys", "rotate", pair.hub.directory, "--role", role)
        assert rotated["new"] == kid_of(pair.hub.directory, role)
        pair.record(1)
        pair.push()
    wait_for("the hub shows its new key", lambda: pair.hub.status()["vkey"] != old_vkey)
    pair.audit()
    new_vkey = pair.hub.status()["vkey"]
    pair.audit(new_vkey)
    late = NodeDirectory(pair.place / "late", "33.75")
    pair.hub.vkey = new_vkey
    late.enrol(pair.hub)
    assert late.push()["troubles"] == []
    assert {line["agency"] for line in pair.hub.status()["agencies"]} == {SAMARINDA, "33.75"}


@pytest.mark.parametrize("by", ["hub", "node"])
def test_a_revoked_key_halts_the_node_and_a_new_token_lets_the_chain_go_on(by: str, pair: Pair) -> None:
    if by == "hub":
        told("hub", "revoke", pair.hub.directory, SAMARINDA, "--reason", "stolen")
    else:
        told("keys", "revoke", pair.node.directory, "--reason", "stolen")
    pair.record(2)
    halted = pair.node.push(code=1)
    assert (halted["pusher"], halted["unsent"] + halted["unacknowledged"]) == ("halted", 2)
    assert "simpul node enrol" in halted["troubles"][0]
    (line,) = pair.hub.status()["agencies"]
    assert line["troubles"]
    recovered = simpul("node", "recover", pair.node.directory, "--take-over", "--json", code=1).document
    assert recovered["error"]["kind"] == "halted"
    before = kid_of(pair.node.directory, "agency")
    pair.node.enrol(pair.hub)
    assert kid_of(pair.node.directory, "agency") != before
    status = pair.push()
    assert status["seq"] == 2
    assert pair.audit()["change_sets"] == 2


def test_a_serving_node_whose_key_was_revoked_goes_on_after_the_new_enrolment_without_a_restart(pair: Pair) -> None:
    server = pair.node.serve()
    try:
        told("hub", "revoke", pair.hub.directory, SAMARINDA)
        pair.record(1)
        wait_for("it halts", lambda: pair.node.status()["pusher"] == "halted")
        pair.node.enrol(pair.hub)
        wait_for("it goes on", lambda: pair.node.status()["pusher"] == "idle")
        assert pair.node.status()["unsent"] == 0
    finally:
        end(server)
    pair.audit()


def test_a_key_that_was_ended_once_is_not_ended_twice_and_one_that_is_not_there_is_said_so(pair: Pair) -> None:
    told("keys", "revoke", pair.node.directory)
    error = told("keys", "revoke", pair.node.directory, code=1)["error"]
    assert error["kind"] == "revoked-key"
    error = told("hub", "revoke", pair.hub.directory, "13.71", code=2)["error"]
    assert error["kind"] == "unknown-agency"
    assert told("keys", "rotate", pair.node.directory, "--role", "registrar", code=2)["error"]["next"]


def test_a_used_token_enrols_nobody_else(pair: Pair) -> None:
    token = pair.hub.invite("33.75")
    first, second = (NodeDirectory(pair.place / name, "33.75") for name in ("first", "second"))
    assert first.enrol(pair.hub, token=token) == first.enrol(pair.hub, token=token)
    words = ("node", "enrol", second.directory, "--hub", pair.hub.url, "--vkey", pair.hub.vkey)
    error = told(*words, "--agency", "33.75", "--token", token, code=2)["error"]
    assert error["kind"] == "bad-token"


def test_secrets_are_in_no_output(pair: Pair) -> None:
    secrets = [
        line.strip()
        for path in (pair.node.directory / "keys").iterdir()
        for line in path.read_text().splitlines()
        if not line.startswith("-----")
    ]
    assert secrets
    for words in (("keys", "show"), ("node", "status")):
        ran = simpul(*words, pair.node.directory, "--json")
        assert not any(secret in ran.out + ran.err for secret in secrets)


def test_a_vkey_from_before_a_rotation_enrols_and_anothers_spends_no_token_and_ends_no_key(pair: Pair) -> None:
    """The invitation of an agency that has a living node: what goes wrong with it must not cost that node its key."""
    published, token = pair.hub.vkey, pair.hub.invite()
    told("keys", "rotate", pair.hub.directory, "--role", "log")
    late = NodeDirectory(pair.place / "late")
    words = ("node", "enrol", late.directory, "--hub", pair.hub.url, "--agency", SAMARINDA, "--token", token)
    anothers = HubDirectory.make(pair.place / "other").vkey
    error = told(*words, "--vkey", anothers, code=1)["error"]
    assert "bad-signature" in error["detail"]
    assert "No token was sent" in error["next"]
    pair.record(1)
    pair.push()
    assert told(*words, "--vkey", published)["agency"] == SAMARINDA
    assert told(*words, "--vkey", pair.hub.status()["vkey"])["kid"] == kid_of(late.directory, "agency")
