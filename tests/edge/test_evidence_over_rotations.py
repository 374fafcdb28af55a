"""Receipts that a node hands out before and after the hub's log key was followed by others (protocol §12)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sync_protocol.compression import decode_body
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import told
from tests.edge.whole_way import SAMARINDA, HubDirectory, NodeDirectory, serving_hub


@dataclass
class Desk:
    """A node that serves citizens, its hub, and a number for each complaint."""

    hub: HubDirectory
    node: NodeDirectory
    place: Path
    complaints: int = 0

    def record(self) -> str:
        """One complaint more, pushed; its id."""
        self.complaints += 1
        self.node.import_(write_csv(self.place / "a.csv", [sp4n_row(self.complaints)]))
        seq = self.node.push()["seq"]
        export = self.hub.export(self.place / f"export-{seq}")
        data = (export / "sets" / SAMARINDA / f"{seq:09d}.jsonl.zst").read_bytes()
        return str(json.loads(decode_body(data, "zstd").head.splitlines()[1])["complaint"])

    def rotate_log(self) -> str:
        """The hub's new vkey."""
        told("keys", "rotate", self.hub.directory, "--role", "log")
        return str(self.hub.status()["vkey"])

    def receipt(self, complaint: str) -> Path:
        out = self.place / f"receipt-{len(list(self.place.iterdir()))}.json"
        told("node", "receipt", self.node.directory, complaint, out)
        return out

    def audit(self, receipt: Path, vkey: str, code: int = 0) -> Any:
        return told("audit", "receipt", receipt, "--vkey", vkey, code=code)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with serving_hub(tmp_path) as hub:
        made = Desk(hub, NodeDirectory(tmp_path / "node"), tmp_path)
        made.node.enrol(hub)
        yield made


def test_receipts_are_made_and_verified_before_between_and_after_rotations(desk: Desk) -> None:
    first = desk.record()
    oldest = desk.hub.vkey
    early = desk.receipt(first)
    newer = desk.rotate_log()
    second = desk.record()
    newest = desk.rotate_log()
    third = desk.record()
    for vkey in (oldest, newer, newest):
        report = desk.audit(desk.receipt(third), vkey)
        assert (report["ok"], report["findings"], len(report["changes"])) == (True, [], 1)
    assert desk.audit(desk.receipt(second), newer)["ok"] is True
    assert desk.audit(desk.receipt(first), newest)["ok"] is True
    assert desk.audit(early, oldest)["unproven"] == []
    (finding,) = desk.audit(early, newest, code=1)["findings"]
    assert finding["kind"] == "bad-signature"


def test_what_only_an_earlier_key_signed_is_said_to_whoever_trusts_the_newer_one(desk: Desk) -> None:
    first = desk.record()
    newest = desk.rotate_log()
    desk.record()
    receipt = desk.receipt(first)
    (reason,) = desk.audit(receipt, newest)["unproven"]
    assert "earlier keys" in reason
    assert desk.audit(receipt, desk.hub.vkey)["unproven"] == []


def test_a_node_enrolled_after_a_rotation_hands_out_receipts_for_either_key(desk: Desk) -> None:
    oldest, newest = desk.hub.vkey, desk.rotate_log()
    desk.hub.vkey = newest
    desk.node = NodeDirectory(desk.place / "late", desk.node.agency)
    desk.node.enrol(desk.hub)
    receipt = desk.receipt(desk.record())
    for vkey in (oldest, newest):
        assert desk.audit(receipt, vkey)["unproven"] == []


def test_a_key_of_the_node_that_a_restored_database_does_not_know_of_is_proved_in_its_receipts(desk: Desk) -> None:
    """The rotation is met among the hub's statements, not in the answer that was lost."""
    desk.record()
    backup = desk.node.directory.with_name("backup")
    shutil.copytree(desk.node.directory, backup)
    told("keys", "rotate", desk.node.directory)
    for name in ("node.db", "node.db-wal", "node.db-shm"):
        (desk.node.directory / name).unlink(missing_ok=True)
        if (backup / name).exists():
            shutil.copy2(backup / name, desk.node.directory / name)
    receipt = desk.receipt(desk.record())
    report = desk.audit(receipt, desk.hub.vkey)
    assert (report["ok"], len(report["changes"])) == (True, 1)
