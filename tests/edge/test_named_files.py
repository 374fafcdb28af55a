"""What simpul.toml names lies outside of every backup: backup, restore and doctor say so before a start fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.config_data import config_file
from node.settings import HubSettings, NodeSettings
from node.settings_file import load_settings
from node.wiring.named_files import check_channels
from tests.edge.program import simpul, told
from tests.edge.whole_way import HubDirectory, NodeDirectory, serving_hub

CONNECTOR = '[[connector]]\nsystem = "surga"\nsecret_file = "keys/surga.secret"\n'
NAMED = """
connectors_file = "connectors.toml"
open311_services = "open311.toml"
mentions_user_id = "1"
mentions_token_file = "x.token"
sms_send_url = "http://127.0.0.1:13013/cgi-bin/sendsms"
sms_send_password_file = "sms.password"
"""
FILES = ("connectors.toml", "keys/surga.secret", "open311.toml", "x.token", "sms.password")


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("named")
    with serving_hub(folder) as hub:
        node = NodeDirectory(folder / "node")
        node.enrol(hub)
        yield node.directory


@pytest.fixture
def node(enrolled: Path, tmp_path: Path) -> Path:
    """Every channel is turned on, and every file is there."""
    directory = shutil.copytree(enrolled, tmp_path / "node")
    with (directory / "simpul.toml").open("a") as settings:
        settings.write(NAMED)
    (directory / "connectors.toml").write_text(CONNECTOR)
    (directory / "open311.toml").write_bytes(config_file("open311.example.toml").read_bytes())
    for name in ("keys/surga.secret", "x.token", "sms.password"):
        (directory / name).write_text("0123456789abcdef" * 4)
        (directory / name).chmod(0o600)
    return directory


def test_a_backup_and_a_restore_name_every_file_that_is_not_in_it(node: Path, tmp_path: Path) -> None:
    document = told("node", "backup", node, tmp_path / "archive")
    assert {one["path"] for one in document["not_in_it"]} == {str(node / name) for name in FILES}
    shown = " ".join(simpul("node", "backup", node, tmp_path / "again", env={"COLUMNS": "1000"}).out.split())
    assert f"{node}/sms.password (sms_send_password_file) is not in it" in shown
    back = tmp_path / "back"
    steps = told("node", "restore", tmp_path / "archive", back)["next"]
    (named,) = (step for step in steps if "simpul.toml names" in step)
    for name in set(FILES) - {"keys/surga.secret"}:  # which the table names, that is to be put back
        assert f"{back / name} (" in named
    found = {one["check"]: one for one in told("node", "doctor", back, code=1)["findings"]}
    for channel in ("connectors", "open311", "mentions", "sms"):
        assert (found[channel]["level"], bool(found[channel]["next"])) == ("fail", True)


def levels(directory: Path, model: type[HubSettings | NodeSettings] = NodeSettings) -> dict[str, str]:
    return {finding.check: finding.level for finding in check_channels(load_settings(directory, model))}


def test_the_doctor_loads_what_a_start_loads_and_says_which_channel_is_wrong(node: Path) -> None:
    all_well = dict.fromkeys(("connectors", "mentions", "sms", "open311"), "ok")
    assert levels(node) == all_well
    (node / "open311.toml").write_text("service = 1")
    assert levels(node) == all_well | {"open311": "fail"}
    (node / "keys" / "surga.secret").unlink()
    (node / "x.token").chmod(0o644)
    (node / "sms.password").unlink()
    assert levels(node) == dict.fromkeys(all_well, "fail")
    for finding in check_channels(load_settings(node, NodeSettings)):
        assert finding.detail
        assert finding.next
        assert finding.next_id


def test_a_channel_that_is_off_is_no_finding_and_a_hub_has_its_table_of_services_looked_at(
    enrolled: Path, tmp_path: Path
) -> None:
    assert levels(enrolled) == {}
    hub = HubDirectory.make(tmp_path / "hub").directory
    with (hub / "simpul.toml").open("a") as settings:
        settings.write('open311_services = "none.toml"\n')
    assert levels(hub, HubSettings) == {"open311": "fail"}
