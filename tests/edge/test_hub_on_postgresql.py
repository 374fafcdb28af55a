"""A hub whose log, projection and lock store are in PostgreSQL, with the program alone (issue 3, part A)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import URL, make_url

from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import Ran, simpul, told
from tests.edge.whole_way import ORIGIN, HubDirectory, NodeDirectory, end
from tests.postgres import driver_dsn, fresh_database

PASSWORD = "Rahas1a-sekali"
ROWS = [sp4n_row(number) for number in range(1, 31)]


@dataclass
class Databases:
    """Where a hub may keep its log, and its lock."""

    log: str
    lock: str


def with_password(url: URL) -> str:
    return url.set(password=PASSWORD).render_as_string(hide_password=False)


@pytest.fixture
def databases(postgres_server: URL) -> Iterator[Databases]:
    with fresh_database(postgres_server) as log, fresh_database(postgres_server) as lock:
        yield Databases(with_password(log), with_password(lock))


def initialise(directory: Path, databases: Databases, code: int = 0) -> Ran:
    """`hub init`, whose output shows no password, whatever happens."""
    words = ("hub", "init", directory, "--origin", ORIGIN, "--database-url", databases.log, "--json")
    return discreet(simpul(*words, code=code, env={"SIMPUL_LOCK_URL": databases.lock}))


def discreet(ran: Ran) -> Ran:
    assert PASSWORD not in ran.out + ran.err
    return ran


@pytest.fixture
def hub(tmp_path: Path, databases: Databases) -> Iterator[HubDirectory]:
    """A new one that serves."""
    document = initialise(tmp_path / "hub", databases).document
    directory = HubDirectory(tmp_path / "hub", document["vkey"])
    directory.serve()
    yield directory
    end(directory.server)


def query(url: str, statement: str) -> Any:
    """One value, asked by somebody outside of the program."""

    async def ask() -> Any:
        connection = await asyncpg.connect(driver_dsn(make_url(url)))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def end_all_sessions(url: str) -> None:
    """What a restart of the server does to its clients."""
    query(
        url,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def check_audit(report: Any, complaints: int) -> None:
    assert (report["ok"], report["complete"], report["findings"]) == (True, True, [])
    assert (report["complaints"], report["changes"], report["refused"]) == (complaints, complaints, 0)


def test_a_hub_on_postgresql_goes_the_whole_way_and_leaves_no_file_but_settings_and_keys(
    hub: HubDirectory, databases: Databases, tmp_path: Path
) -> None:
    node = NodeDirectory(tmp_path / "node")
    node.enrol(hub)
    assert node.import_(write_csv(tmp_path / "a.csv", ROWS[:20]))["imported"] == 20
    assert node.push()["unsent"] == 0
    check_audit(hub.audit_export(tmp_path / "first"), 20)

    assert hub.server is not None
    hub.server.kill()
    hub.restart()
    assert node.import_(write_csv(tmp_path / "b.csv", ROWS))["imported"] == 10
    assert node.push()["unsent"] == 0
    status = hub.status()
    assert status["troubles"] == []
    assert [(line["agency"], line["troubles"]) for line in status["agencies"]] == [(node.agency, [])]
    rebuilt = told("hub", "rebuild", hub.directory)
    assert rebuilt["before"] == rebuilt["after"]
    check_audit(hub.audit_export(tmp_path / "second"), 30)
    check_audit(hub.audit(hub.url, "--token", hub.grant("bpk", "--with-content")), 30)

    assert hub.server.stop() == 0
    assert PASSWORD not in hub.server.said()
    assert {path.name for path in hub.directory.iterdir()} <= {"simpul.toml", "keys", "exports", "files", "lock"}
    assert not list(hub.directory.glob("lock/checkpoint"))
    assert query(databases.lock, "SELECT count(*) FROM simpul_lock.kept") == 1
    assert query(databases.log, "SELECT max(size) FROM simpul_hub.checkpoint") == hub.status()["log"]["size"]


def test_another_machine_serves_the_same_log(hub: HubDirectory, tmp_path: Path) -> None:
    import shutil

    twin = HubDirectory(Path(shutil.copytree(hub.directory, tmp_path / "twin")), hub.vkey)
    twin.serve()
    try:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub, url=twin.url)
        node.import_(write_csv(tmp_path / "a.csv", ROWS[:5]))
        assert node.push()["unsent"] == 0
        assert hub.status()["log"] == twin.status()["log"]
        check_audit(twin.audit_export(tmp_path / "out"), 5)
    finally:
        end(twin.server)


def test_a_server_that_is_restarted_stops_no_hub(hub: HubDirectory, databases: Databases, tmp_path: Path) -> None:
    node = NodeDirectory(tmp_path / "node")
    node.enrol(hub)
    for url in (databases.log, databases.lock):
        end_all_sessions(url)
    node.import_(write_csv(tmp_path / "a.csv", ROWS[:5]))
    assert node.push()["unsent"] == 0
    check_audit(hub.audit_export(tmp_path / "out"), 5)


def test_what_is_wrong_with_a_url_is_said_and_nothing_is_kept_of_it(databases: Databases, tmp_path: Path) -> None:
    log = make_url(databases.log)
    elsewhere = f"postgresql+asyncpg://simpul:{PASSWORD}@127.0.0.1:1/hub"
    attempts = [
        (log.set(database="nowhere").render_as_string(hide_password=False), databases.lock, 2, "no such database"),
        (log.set(username="stranger").render_as_string(hide_password=False), databases.lock, 2, "user or password"),
        (f"postgresql+asyncpg://u:{PASSWORD}@h/d?sslmode=require", databases.lock, 2, "unknown option sslmode"),
        (f"postgresql://u:{PASSWORD}@h/d", databases.lock, 2, "postgresql+asyncpg://"),
        (elsewhere, databases.lock, 3, "does not answer"),
        (databases.log, elsewhere, 3, "does not answer"),
        (databases.log, databases.log, 2, "the same database"),
        (databases.log, "sqlite+aiosqlite:///lock.db", 2, "postgresql+asyncpg://"),
    ]
    for database_url, lock_url, code, words in attempts:
        ran = initialise(tmp_path / "hub", Databases(database_url, lock_url), code)
        assert words in ran.document["error"]["detail"]
        assert ran.document["error"]["next"]
        assert not (tmp_path / "hub").exists()
    assert initialise(tmp_path / "hub", databases).document["origin"] == ORIGIN
    ran = initialise(tmp_path / "hub", Databases(databases.lock, databases.log), code=2)
    assert "final" in ran.document["error"]["detail"]


def test_a_database_that_is_away_or_of_another_version_is_said_by_every_command(
    databases: Databases, tmp_path: Path
) -> None:
    directory = tmp_path / "hub"
    initialise(directory, databases)
    away = {"SIMPUL_DATABASE_URL": f"postgresql+asyncpg://simpul:{PASSWORD}@127.0.0.1:1/hub"}
    commands = [("status",), ("rebuild",), ("export", tmp_path / "out"), ("invite", "33.75")]
    for name, *rest in commands:
        ran = discreet(simpul("hub", name, directory, *rest, "--json", code=3, env=away))
        assert "does not answer" in ran.document["error"]["detail"]
    assert "does not answer" in discreet(simpul("hub", "serve", directory, code=3, env=away)).err

    query(databases.log, "UPDATE simpul_hub.alembic_version SET version_num = '9999' RETURNING 1")
    for name, *rest in commands:
        ran = discreet(simpul("hub", name, directory, *rest, "--json", code=1))
        assert "has schema 9999, this program wants" in ran.document["error"]["detail"]
    assert "has schema 9999" in discreet(simpul("hub", "serve", directory, code=1)).err


def test_a_lock_database_that_came_from_somewhere_else_stops_the_hub(databases: Databases, tmp_path: Path) -> None:
    directory = tmp_path / "hub"
    initialise(directory, databases)
    query(databases.lock, "DELETE FROM simpul_lock.kept RETURNING 1")
    ran = discreet(simpul("hub", "status", directory, "--json", code=1))
    assert "neither follows the other" in ran.document["error"]["detail"]


def test_an_emptied_database_beside_a_lock_that_remembers_begins_no_second_log(
    databases: Databases, tmp_path: Path
) -> None:
    directory = tmp_path / "hub"
    initialise(directory, databases)
    for schema in ("simpul_hub", "simpul_projection"):
        query(databases.log, f"DROP SCHEMA {schema} CASCADE")
    assert (
        "there is no hub" in discreet(simpul("hub", "status", directory, "--json", code=2)).document["error"]["detail"]
    )
    ran = initialise(directory, databases, code=3)
    assert "signed a log of 3 leaves" in ran.document["error"]["detail"]
    assert query(databases.log, "SELECT count(*) FROM simpul_hub.log_entry") == 0


def test_a_hub_that_ran_with_a_lock_in_files_is_given_a_lock_database_as_the_manual_says(
    databases: Databases, tmp_path: Path
) -> None:
    directory = tmp_path / "hub"
    discreet(simpul("hub", "init", directory, "--origin", ORIGIN, "--database-url", databases.log))
    told("hub", "invite", directory, "33.75")
    newest = query(databases.log, "SELECT encode(note, 'hex') FROM simpul_hub.checkpoint ORDER BY size DESC LIMIT 1")
    given = {"SIMPUL_LOCK_URL": databases.lock}
    refused = told("hub", "status", directory, code=1, env=given)["error"]
    assert "neither follows the other" in refused["detail"]
    query(databases.lock, f"INSERT INTO simpul_lock.kept VALUES ('checkpoint', decode('{newest}', 'hex')) RETURNING 1")
    assert told("hub", "status", directory, env=given)["troubles"] == []
