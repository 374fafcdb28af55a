"""Doctor: disk, permissions, database file, backup and certificates, each wrong for real."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from node.doctor.certificates import check_own, check_remote
from node.doctor.findings import OUT_OF_REACH, Finding, Words, fail, ok, report, warn
from node.doctor.machine import Room, check_backup, check_database, check_disk, check_permissions
from node.doctor.serving import ANSWER_MAX_BYTES, check_serving
from node.serving import server_tls
from node.store.local_store import open_local_store
from node.store.local_tables import LOCAL_REVISION
from node.store.sqlite_copy import open_file
from sync_protocol.values import format_timestamp
from tests.edge.certificates import make_certificate

NOW_MS = int(time.time() * 1000)
DAY_MS = 86_400_000
WORDS = Words("it is so", "memang begitu")
EVERYTHING = 2**62


def check_words(finding: Finding) -> None:
    """Both languages, and a next step wherever something is to be done."""
    assert finding.detail
    assert finding.detail_id
    assert bool(finding.next) == bool(finding.next_id) == (finding.level != "ok")


def test_the_exit_code_follows_from_the_findings() -> None:
    fine, look, away = ok("disk", WORDS), warn("backup", WORDS, WORDS), fail("hub", WORDS, WORDS)
    assert "hub" in OUT_OF_REACH
    assert report("node", [fine, look])["exit_code"] == 0
    assert report("node", [fine, away])["exit_code"] == 3
    assert report("node", [away, fail("clock", WORDS, WORDS)])["exit_code"] == 1
    assert report("node", [fail("disk", WORDS, WORDS)])["ok"] is False


def test_a_disk_that_cannot_be_written_or_is_nearly_full_is_found(tmp_path: Path) -> None:
    cases = (
        (check_disk(tmp_path, Room(0, 0, 0, 0)), "ok"),
        (check_disk(tmp_path, Room(bytes_short=EVERYTHING, bytes_full=0, inodes_full=0)), "warn"),
        (check_disk(tmp_path, Room(bytes_short=EVERYTHING, bytes_full=EVERYTHING)), "fail"),
        (check_disk(Path("/proc"), Room(0, 0, 0, 0)), "fail"),
    )
    for finding, level in cases:
        assert (finding.check, finding.level) == ("disk", level)
        check_words(finding)


def test_files_that_others_may_read_are_found_unless_nobody_can_enter(tmp_path: Path) -> None:
    directory = tmp_path / "node"
    directory.mkdir(0o755)
    (directory / "node.db").write_bytes(b"letters")
    (directory / "node.db").chmod(0o644)
    finding = check_permissions(directory)
    check_words(finding)
    assert (finding.level, finding.next) == ("fail", f"chmod 700 {directory}")
    directory.chmod(0o700)
    assert check_permissions(directory).level == "ok"


def test_a_file_of_another_user_is_found(tmp_path: Path) -> None:
    """As after a command that was given as root."""
    (tmp_path / "node.db-wal").touch(0o600)
    assert check_permissions(tmp_path, owner=os.geteuid()).level == "ok"
    finding = check_permissions(tmp_path, owner=os.geteuid() + 1)
    assert "belongs to another user" in finding.detail
    check_words(finding)


async def test_a_database_that_is_gone_damaged_older_or_newer_is_found(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    assert check_database(path, LOCAL_REVISION).level == "fail"
    await (await open_local_store(path, create=True)).close()
    assert check_database(path, LOCAL_REVISION).level == "ok"
    for schema, level in (("0001", "warn"), ("9999", "fail")):
        with open_file(path) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (schema,))
        connection.close()
        finding = check_database(path, LOCAL_REVISION)
        check_words(finding)
        assert (finding.level, schema in finding.detail) == (level, True)
    data = bytearray(path.read_bytes())
    data[8_192 : 8_192 * 4] = b"\xff" * (8_192 * 3)
    path.write_bytes(data)
    finding = check_database(path, LOCAL_REVISION)
    check_words(finding)
    assert (finding.level, "damaged" in finding.detail) == ("fail", True)


def test_the_age_of_the_last_backup_is_told(tmp_path: Path) -> None:
    note = tmp_path / "last-backup.json"
    never = check_backup(note, NOW_MS, "simpul node backup DIR OUT")
    assert (never.level, "simpul node backup DIR OUT" in never.next) == ("warn", True)
    for days, level in ((0, "ok"), (7, "ok"), (8, "warn"), (400, "warn")):
        note.write_text(json.dumps({"at": format_timestamp(NOW_MS - days * DAY_MS)}))
        finding = check_backup(note, NOW_MS, "")
        assert (finding.level, f" {days} day" in finding.detail) == (level, True)
    for garbage in ("", "[]", "{}", '{"at": 5}', '{"at": "yesterday"}', "null"):
        note.write_text(garbage)
        assert check_backup(note, NOW_MS, "x").level == "warn"


@pytest.mark.parametrize(
    ("days", "host", "level"),
    [
        (90, "hub.example", "ok"),
        (90, None, "ok"),
        (5, "hub.example", "warn"),
        (-2, "hub.example", "fail"),
        (90, "other.example", "fail"),
        (90, "a.wild.example", "ok"),
        (90, "a.b.wild.example", "fail"),
    ],
)
def test_our_own_certificate_is_looked_at(tmp_path: Path, days: int, host: str | None, level: str) -> None:
    certificate, _ = make_certificate(tmp_path, "hub.example", "*.wild.example", days=days)
    finding = check_own(certificate, host, NOW_MS)
    assert (finding.check, finding.level) == ("tls", level)
    check_words(finding)


def test_a_certificate_that_is_missing_or_none_is_found(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    for name in ("missing.pem", "none.pem"):
        finding = check_own(tmp_path / name, None, NOW_MS)
        assert finding.level == "fail"
        check_words(finding)


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncIterator[int]:
    """A server that is not healthy, and says this to whoever asks, piece by piece."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=503)
        await response.prepare(request)
        with suppress(ConnectionError):  # who asked has heard enough
            for piece in pieces:
                await response.write(piece)
                await asyncio.sleep(0.05)  # so that they are not read together
        return response

    app = web.Application()
    app.router.add_get("/healthz", answer)
    async with TestServer(app) as server:
        assert server.port is not None
        yield server.port


async def test_what_a_server_says_in_pieces_is_understood_and_no_more_of_it_than_is_bounded() -> None:
    async with answering(b'{"detail":"the pusher', b' has halted"}') as port:
        found = await check_serving("127.0.0.1", port, is_tls=False)
    assert (found.level, "the pusher has halted" in found.detail) == ("fail", True)
    async with answering(b" " * ANSWER_MAX_BYTES, b'{"detail":"x"}') as port:
        found = await check_serving("127.0.0.1", port, is_tls=False)
    assert (found.level, "HTTP 503" in found.detail) == ("fail", True)
    check_words(found)


@asynccontextmanager
async def speaking_tls(folder: Path, *names: str, days: int = 90) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """A server with such a certificate; its port, and a context that trusts the authority."""
    files = make_certificate(folder, *names, days=days)

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server_tls(files))
    async with server:
        yield server.sockets[0].getsockname()[1], ssl.create_default_context(cafile=str(files[0]))


async def test_the_hubs_certificate_is_looked_at_as_a_node_meets_it(tmp_path: Path) -> None:
    for names, days, level, words in (
        (("localhost",), 90, "ok", "90 day"),
        (("localhost",), 3, "warn", "3 day"),
        (("localhost",), -3, "fail", "expired"),
        (("elsewhere.example",), 90, "fail", "ostname mismatch"),
    ):
        async with speaking_tls(tmp_path, *names, days=days) as (port, context):
            finding = await check_remote("localhost", port, context, NOW_MS)
        assert finding is not None
        assert (finding.level, words in finding.detail) == (level, True), finding
        check_words(finding)


async def test_a_certificate_of_an_unknown_authority_is_found_and_nobody_at_all_is_another_checks(
    tmp_path: Path,
) -> None:
    async with speaking_tls(tmp_path, "localhost") as (port, context):
        finding = await check_remote("localhost", port, ssl.create_default_context(), NOW_MS)
        assert finding is not None
        assert "self-signed" in finding.detail
    assert await check_remote("localhost", port, context, NOW_MS) is None
