"""A bad machine: loose key files, damaged databases, full disks, wrong settings, taken ports (issue 2, "Bad input").

Each command refuses to start or stops cleanly: one plain sentence and the next step on stderr, the exit code of cli.md,
with --json one document on stdout and nothing else there.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import Ran, simpul, told
from tests.edge.whole_way import HubDirectory, NodeDirectory, serving_hub


@dataclass
class Machine:
    """A hub that serves, and a node with complaints at the hub and others that wait."""

    hub: HubDirectory
    node: NodeDirectory


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    place = tmp_path_factory.mktemp("machine")
    with serving_hub(place) as hub:
        node = NodeDirectory(place / "node")
        node.enrol(hub)
        node.import_(write_csv(place / "a.csv", [sp4n_row(number) for number in range(1, 51)]))
        node.push()
        node.import_(write_csv(place / "b.csv", [sp4n_row(number) for number in range(51, 61)]))
        yield Machine(hub, node)


@pytest.fixture
def machine(sound: Machine, tmp_path: Path) -> Machine:
    """Copies of both directories, to be broken; nothing serves them."""
    hub = HubDirectory(shutil.copytree(sound.hub.directory, tmp_path / "hub"), sound.hub.vkey)
    return Machine(hub, NodeDirectory(shutil.copytree(sound.node.directory, tmp_path / "node")))


def refuses(*words: str | Path, code: int, kind: str, names: str, env: dict[str, str] | None = None) -> None:
    """The same failure for a script and for a person."""
    error = simpul(*words, "--json", code=code, env=env).document["error"]
    assert error["kind"] == kind, error
    assert names in error["detail"] + error["next"]
    assert error["next"]
    check_words(simpul(*words, code=code, env=env))


def check_words(ran: Ran) -> None:
    """A sentence and a step, nothing else; nothing on stdout."""
    assert ran.out == ""
    assert 1 < len(ran.err.split("\n")) < 14, ran.err
    assert "Error:" not in ran.err


def key_file(directory: Path, role: str) -> Path:
    (found,) = (path for path in (directory / "keys").iterdir() if path.name.startswith(role))
    return found


def test_a_key_file_that_others_can_read_is_not_used(machine: Machine) -> None:
    key_file(machine.node.directory, "agency").chmod(0o644)
    for command in ("push", "serve"):
        words = ("node", command, machine.node.directory)
        refuses(*words, code=2, kind="unsafe-key-file", names="chmod 600")
    key_file(machine.hub.directory, "log").chmod(0o640)
    refuses("hub", "serve", machine.hub.directory, "--port", "0", code=2, kind="unsafe-key-file", names="chmod 600")


def test_a_key_folder_that_others_can_enter_is_not_used(machine: Machine) -> None:
    (machine.node.directory / "keys").chmod(0o755)
    refuses("node", "push", machine.node.directory, code=2, kind="unsafe-key-file", names="chmod 700")


def test_a_database_that_is_none_any_more_is_said_to_be_damaged(machine: Machine) -> None:
    for directory, name in ((machine.node.directory, "node.db"), (machine.hub.directory, "hub.db")):
        file = directory / name
        file.write_bytes(b"not a database\n" * 1_000)
        for leftover in directory.glob(f"{name}-*"):
            leftover.unlink()
    step = "restore the newest backup"
    for command in ("status", "push", "serve"):
        refuses("node", command, machine.node.directory, code=1, kind="damaged-database", names=step)
    for command in ("status", "serve"):
        refuses("hub", command, machine.hub.directory, code=1, kind="damaged-database", names=step)


def test_a_database_that_is_damaged_in_its_middle_ends_every_command_in_plain_words(machine: Machine) -> None:
    file = machine.node.directory / "node.db"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = bytearray(file.read_bytes())
    data[8_192:] = b"\xa5" * (len(data) - 8_192)
    file.write_bytes(data)
    for command in ("status", "push"):
        refuses("node", command, machine.node.directory, code=1, kind="damaged-database", names="damaged")


def test_a_full_disk_stops_an_import_cleanly_and_it_goes_on_when_there_is_room(
    machine: Machine, tmp_path: Path
) -> None:
    rows = [sp4n_row(number, text="Jalan berlubang. " * 500) for number in range(100, 400)]
    file = write_csv(tmp_path / "c.csv", rows)
    words = ("node", "import", machine.node.directory, file)
    stopped = simpul(*words, "--json", code=1, file_size_max=1_000_000)
    assert stopped.document["error"]["kind"] == "disk"  # where the whole disk is full, SQLite says so: "disk-full"
    assert "Nothing was lost" in stopped.document["error"]["next"]
    check_words(simpul(*words, code=1, file_size_max=1_000_000))
    report = told(*words)
    assert report["imported"] + report["already_there"] == 300
    waiting = machine.node.status()
    assert (waiting["unsent"], waiting["troubles"]) == (310, [])


@pytest.mark.parametrize("role", ["node", "hub"])
def test_a_setting_that_does_not_exist_is_named_with_the_nearest_one(role: str, machine: Machine) -> None:
    directory = getattr(machine, role).directory
    settings = directory / "simpul.toml"
    settings.write_text(settings.read_text() + "\nprot = 8701\n")
    refuses(role, "status", directory, code=2, kind="configuration", names="Did you mean port?")


def test_a_setting_in_the_environment_that_does_not_exist_is_named(machine: Machine) -> None:
    words = ("node", "status", machine.node.directory)
    refuses(*words, code=2, kind="configuration", names="SIMPUL_HUBURL", env={"SIMPUL_HUBURL": "http://127.0.0.1:1"})


@pytest.mark.parametrize("role", ["node", "hub"])
def test_a_port_that_is_in_use_is_said_so(role: str, machine: Machine, sound: Machine) -> None:
    assert sound.hub.server is not None
    words = (role, "serve", getattr(machine, role).directory, "--port", str(sound.hub.server.port))
    refuses(*words, code=2, kind="port-in-use", names="--port")


def test_a_directory_of_the_other_role_or_of_none_is_said_so(machine: Machine, tmp_path: Path) -> None:
    refuses("node", "status", machine.hub.directory, code=2, kind="configuration", names="directory of a hub")
    refuses("hub", "status", machine.node.directory, code=2, kind="configuration", names="directory of a node")
    refuses("hub", "status", tmp_path / "nothing", code=2, kind="configuration", names="simpul hub init")
    refuses("audit", tmp_path / "nothing", code=2, kind="configuration", names="neither a folder nor")
