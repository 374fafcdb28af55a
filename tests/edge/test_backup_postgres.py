"""A hub on PostgreSQL saved by our own means, and put back into another database, or another kind of one."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url

from node.store.hub_tables import HubTable
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import simpul, told, wait_for
from tests.edge.test_hub_on_postgresql import PASSWORD, discreet, query, with_password
from tests.edge.whole_way import HubDirectory, NodeDirectory, end
from tests.postgres import fresh_database

pytestmark = pytest.mark.slow  # whole ways, each with a database or two

WITH_PASSPHRASE = {"SIMPUL_BACKUP_PASSPHRASE": "kuda lumping batik tulis"}
TABLES = sorted(table.name for table in HubTable.metadata.sorted_tables)
IN_A_FILE = "sqlite+aiosqlite:///hub.db"


@pytest.fixture
def other_url(postgres_server: URL) -> Iterator[str]:
    """Another empty database."""
    with fresh_database(postgres_server) as url:
        yield with_password(url)


@pytest.fixture
def hub(tmp_path: Path, postgres_url: str) -> Iterator[HubDirectory]:
    """On PostgreSQL, with its lock in files; it serves."""
    made = HubDirectory.make(tmp_path / "hub", database_url=with_password(make_url(postgres_url)))
    made.serve()
    yield made
    end(made.server)


@pytest.fixture
def node(hub: HubDirectory, tmp_path: Path) -> NodeDirectory:
    """Enrolled, with twenty complaints at the hub."""
    made = NodeDirectory(tmp_path / "node")
    made.enrol(hub)
    push(made, range(1, 21))
    hub.grant("bpk", "--with-content")
    hub.export(tmp_path / "read", "--with-content")
    return made


def push(node: NodeDirectory, numbers: range) -> None:
    node.import_(write_csv(node.directory.parent / f"{numbers.start}.csv", [sp4n_row(number) for number in numbers]))
    node.push()


def save(hub: HubDirectory, out: Path) -> Any:
    words = ("hub", "backup", hub.directory, out, "--with-keys", "--json")
    return discreet(simpul(*words, env=WITH_PASSPHRASE)).document


def restore(archive: Path, directory: Path, *options: str, code: int = 0) -> Any:
    words: tuple[str | Path, ...] = ("hub", "restore", archive, directory, *options, "--json")
    return discreet(simpul(*words, code=code, env=WITH_PASSPHRASE)).document


def moved(hub: HubDirectory, directory: Path) -> HubDirectory:
    """The restored hub in the place of the other, with its lock, at its address."""
    assert hub.server is not None
    port = hub.server.port
    end(hub.server)
    shutil.copytree(hub.directory / "lock", directory / "lock")
    back = HubDirectory(directory, hub.vkey)
    back.serve(port)
    return back


def check_goes_on(back: HubDirectory, node: NodeDirectory, out: Path) -> None:
    try:
        push(node, range(100, 110))
        assert back.status()["troubles"] == []
        report = back.audit_export(out)
        assert (report["ok"], report["complaints"], report["refused"]) == (True, 30, 0)
        back.grant("another")
        back.export(out.with_name("read-again"), "--with-content")  # numbered by the database
    finally:
        end(back.server)


def test_a_hub_on_postgresql_is_saved_while_it_serves_and_goes_on_in_another_database(
    hub: HubDirectory, node: NodeDirectory, other_url: str, tmp_path: Path
) -> None:
    before = hub.status()["log"]
    assert save(hub, tmp_path / "archive")["log"] == before
    document = restore(tmp_path / "archive", tmp_path / "back", "--database-url", other_url)
    assert document["log"] == before
    assert not (tmp_path / "back" / "hub.db").exists()
    for table in TABLES:
        with closing(sqlite3.connect(tmp_path / "archive" / "hub.db")) as connection:
            (rows,) = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()
        assert query(other_url, f'SELECT count(*) FROM simpul_hub."{table}"') == rows
    check_goes_on(moved(hub, tmp_path / "back"), node, tmp_path / "export")


def test_a_hub_moves_from_postgresql_to_sqlite(hub: HubDirectory, node: NodeDirectory, tmp_path: Path) -> None:
    save(hub, tmp_path / "archive")
    restore(tmp_path / "archive", tmp_path / "back", "--database-url", IN_A_FILE)
    assert PASSWORD not in (tmp_path / "back" / "simpul.toml").read_text()
    check_goes_on(moved(hub, tmp_path / "back"), node, tmp_path / "export")


def test_a_hub_moves_from_sqlite_to_postgresql(other_url: str, tmp_path: Path) -> None:
    hub = HubDirectory.make(tmp_path / "hub")
    hub.serve()
    try:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
        push(node, range(1, 21))
        save(hub, tmp_path / "archive")
        restore(tmp_path / "archive", tmp_path / "back", "--database-url", other_url)
        check_goes_on(moved(hub, tmp_path / "back"), node, tmp_path / "export")
    finally:
        end(hub.server)


def test_nothing_is_restored_over_a_log_nor_without_being_told_where(
    hub: HubDirectory, node: NodeDirectory, postgres_url: str, tmp_path: Path
) -> None:
    size = hub.status()["log"]["size"]
    save(hub, tmp_path / "archive")
    live = with_password(make_url(postgres_url))
    error = restore(tmp_path / "archive", tmp_path / "back", "--database-url", live, code=2)["error"]
    assert "holds a log already" in error["detail"]
    error = restore(tmp_path / "archive", tmp_path / "back", code=2)["error"]
    assert "--database-url" in error["next"]
    assert not (tmp_path / "back").exists()
    assert hub.status()["log"]["size"] == size


def test_a_backup_taken_while_sets_come_in_is_one_moment_of_all_tables(
    hub: HubDirectory, node: NodeDirectory, tmp_path: Path
) -> None:
    is_over = threading.Event()

    def work() -> None:
        for number in range(1_000, 9_000, 10):
            if is_over.is_set():
                return
            push(node, range(number, number + 10))

    pushing = threading.Thread(target=work)
    pushing.start()
    sizes = [hub.size]
    try:
        for number in range(3):
            wait_for("a set that came in meanwhile", lambda: hub.size > sizes[-1])
            sizes.append(save(hub, tmp_path / f"archive{number}")["log"]["size"])
    finally:
        is_over.set()
        pushing.join()
    assert sizes == sorted(set(sizes)), "each has what came in since the one before"
    del sizes[0]
    for number, size in enumerate(sizes):
        directory = tmp_path / f"back{number}"
        assert restore(tmp_path / f"archive{number}", directory, "--database-url", IN_A_FILE)["log"]["size"] == size
        with closing(sqlite3.connect(directory / "hub.db")) as connection:
            for part in ("set_changes", "set_contents"):
                joined = f"SELECT count(*) FROM change_set JOIN {part} USING (idx)"
                assert (
                    connection.execute(joined).fetchone()
                    == connection.execute("SELECT count(*) FROM change_set").fetchone()
                )


def test_a_database_without_a_log_or_out_of_reach_is_said(other_url: str, tmp_path: Path) -> None:
    directory = tmp_path / "hub"
    directory.mkdir(0o700)
    for url, code in ((other_url, 2), (other_url.replace("simpul_", "missing_"), 2), (nobody(other_url), 3)):
        text = f'role = "hub"\norigin = "hub.example/log"\ndatabase_url = "{url}"\n'
        (directory / "simpul.toml").write_text(text)
        words = ("hub", "backup", directory, tmp_path / "archive", "--json")
        assert discreet(simpul(*words, code=code)).document["error"]["next"]
        assert not (tmp_path / "archive").exists()


def nobody(url: str) -> str:
    return make_url(url).set(host="127.0.0.1", port=1, query={}).render_as_string(hide_password=False)


def test_doctor_looks_at_a_hub_on_postgresql(hub: HubDirectory, node: NodeDirectory, tmp_path: Path) -> None:
    save(hub, tmp_path / "archive")
    document = told("hub", "doctor", hub.directory)
    found = {finding["check"]: finding["level"] for finding in document["findings"]}
    assert {check for check, level in found.items() if level != "ok"} <= {"serving", "disk"}
    assert found["backup"] == "ok"
