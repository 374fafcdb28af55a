"""What an audit is handed, in folders and over HTTP, by somebody who lies about it, lost some of it or tidied it up."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from node.audit.command import run_audit
from node.audit.source import DirectorySource
from node.audit.url_source import UrlSource
from sync_protocol.checkpoint import Checkpoint, sign_checkpoint
from sync_protocol.merkle import leaf_hash
from sync_protocol.tiles import entry_tiles_of, grow, pack_entries, tiles_of
from tests.protocol.audit_samples import SampleLog
from tests.protocol.federation_samples import PEKALONGAN, START_MS
from tests.protocol.log_samples import LOG, ORIGIN

ENTRIES = 700
Tamper = Callable[[Path], object]


@pytest.fixture(scope="module")
def log() -> SampleLog:
    """700 entries: two full bundles and a partial one."""
    log = SampleLog.founded(PEKALONGAN)
    while len(log.entries) < ENTRIES:
        log.enter(log.federation.tick(START_MS + len(log.entries)))
    return log


def published(log: SampleLog, place: Path, size: int = ENTRIES) -> Path:
    """The log of this size as the files of an export, into a folder that may hold an earlier size's."""
    place.mkdir(exist_ok=True)
    hashes = grow(0, [leaf_hash(entry) for entry in log.entries[:size]], lambda _level, _index: b"").changed
    for reference in tiles_of(size):
        assert reference.level is not None
        write(place / reference.path, hashes[reference.level, reference.index])
    for reference in entry_tiles_of(size):
        start = reference.index * 256
        write(place / reference.path, pack_entries(log.entries[start : start + reference.width]))
    write(place / "checkpoint", log.note(LOG, size))
    write(place / "hub.json", b"{}")
    return place


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@asynccontextmanager
async def served(place: Path) -> AsyncIterator[str]:
    """The folder over HTTP; its address."""
    application = web.Application()
    application.router.add_static("/", place)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def kinds_over_http(place: Path) -> tuple[list[str], list[str]]:
    """What an audit without a token finds, and what it leaves unproven."""
    async with served(place) as url:
        source = UrlSource(url, token=None)
        try:
            report = await run_audit(source, vkey=LOG.vkey().format())
        finally:
            await source.close()
    return [finding["kind"] for finding in report["findings"]], report["unproven"]


async def test_a_checkpoint_that_claims_a_hundred_thousand_million_entries_ends_at_once(
    log: SampleLog, tmp_path: Path
) -> None:
    place = published(log, tmp_path / "export", 256)
    (place / "checkpoint").write_bytes(sign_checkpoint(Checkpoint(ORIGIN, 10**11, log.root(256)), LOG))
    tracemalloc.start()
    started = time.monotonic()
    try:
        report = await run_audit(DirectorySource(place), vkey=LOG.vkey().format(), since=log.note(LOG, 200))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [finding["kind"] for finding in report["findings"]] == ["missing-entries"]
    assert report["findings"][0]["index"] == 256
    assert (report["ok"], report["complete"]) == (False, False)
    assert time.monotonic() - started < 1
    assert peak < 8 * 2**20


async def test_a_claimed_size_is_as_harmless_over_http(log: SampleLog, tmp_path: Path) -> None:
    place = published(log, tmp_path / "export", 256)
    (place / "checkpoint").write_bytes(sign_checkpoint(Checkpoint(ORIGIN, 2**63 - 1, log.root(256)), LOG))
    assert (await kinds_over_http(place))[0] == ["missing-entries"]


async def test_a_log_without_a_single_entry_says_what_is_missing(log: SampleLog, tmp_path: Path) -> None:
    place = published(log, tmp_path / "export", 0)
    (place / "checkpoint").write_bytes(log.note(LOG, 5))
    report = await run_audit(DirectorySource(place), vkey=LOG.vkey().format())
    assert [finding["kind"] for finding in report["findings"]] == ["missing-entries"]


@pytest.mark.parametrize("path", ["tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2"])
async def test_a_hash_tile_that_is_not_there_is_named(path: str, log: SampleLog, tmp_path: Path) -> None:
    place = published(log, tmp_path / "export")
    report = await run_audit(DirectorySource(place), vkey=LOG.vkey().format())
    assert report["ok"] is True
    (place / path).unlink()
    report = await run_audit(DirectorySource(place), vkey=LOG.vkey().format())
    assert [finding["kind"] for finding in report["findings"]] == ["missing-tile"]
    assert path in report["findings"][0]["detail"]


async def test_hash_tiles_that_a_hub_does_not_serve_are_unproven(log: SampleLog, tmp_path: Path) -> None:
    place = published(log, tmp_path / "export")
    (place / "tile/0/001").unlink()
    findings, unproven = await kinds_over_http(place)
    assert findings == []
    assert any("tile/0/001" in reason for reason in unproven)


async def test_a_hub_that_grew_and_deleted_its_partial_tiles_still_audits(log: SampleLog, tmp_path: Path) -> None:
    """C2SP lets partial tiles go once the full one is there; the checkpoint was read before."""
    place = published(log, tmp_path / "export", 300)
    early = (place / "checkpoint").read_bytes()
    published(log, place)
    (place / "checkpoint").write_bytes(early)
    for gone in (*place.glob("tile/0/*.p"), *place.glob("tile/entries/*.p")):
        for tile in gone.iterdir():
            tile.unlink()
    findings, unproven = await kinds_over_http(place)
    assert findings == []
    assert not any("tile" in reason for reason in unproven)


async def test_a_full_tile_that_does_not_begin_as_the_partial_one_did_is_found(log: SampleLog, tmp_path: Path) -> None:
    place = published(log, tmp_path / "export", 300)
    early = (place / "checkpoint").read_bytes()
    published(log, place)
    (place / "checkpoint").write_bytes(early)
    (place / "tile/0/001.p/44").unlink()
    full = bytearray((place / "tile/0/001").read_bytes())
    full[43 * 32] ^= 1
    (place / "tile/0/001").write_bytes(full)
    assert (await kinds_over_http(place))[0] == ["wrong-tile"]
