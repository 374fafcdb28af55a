"""What an audit is handed, in folders and over HTTP, by somebody who lies about it, lost some of it or tidied it up."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext
from typing import Any

import pytest
from aiohttp import web

from node.audit.command import run_audit
from node.audit.source import DirectorySource
from node.audit.url_source import UrlSource
from node.serving import server_tls
from node.wiring import audit as wiring
from sync_protocol.checkpoint import Checkpoint, sign_checkpoint
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.merkle import leaf_hash
from sync_protocol.tiles import entry_tiles_of, grow, pack_entries, tiles_of
from tests.protocol.audit_samples import SampleLog
from tests.protocol.federation_samples import PEKALONGAN, START_MS
from tests.protocol.log_samples import LOG, ORIGIN, FixedSigner

ENTRIES = 700
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
    described = {"origin": ORIGIN, "vkey": LOG.vkey().format(), "size": size}
    write(place / "hub.json", json.dumps(described).encode())
    return place


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@asynccontextmanager
async def served(place: Path, tls: SSLContext | None = None, **routes: Handler) -> AsyncIterator[str]:
    """The folder over HTTP, and single names that answer otherwise; its address."""
    application = web.Application()
    for name, handler in routes.items():
        application.router.add_get(f"/{name}", handler)
    application.router.add_static("/", place)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        await runner.cleanup()


async def kinds_over_http(place: Path) -> tuple[list[str], list[str]]:
    """What an audit without a token finds, and what it leaves unproven."""
    async with served(place) as url:
        source = UrlSource(url, token=None)
        try:
            report = await run_audit(source, trusted=LOG.vkey())
        finally:
            await source.close()
    return [finding["kind"] for finding in report["findings"]], report["unproven"]


async def test_a_checkpoint_that_claims_a_hundred_thousand_million_entries_ends_at_once(
    log: SampleLog, tmp_path: Path
) -> None:
    place = published(log, tmp_path / "export", 256)
    (place / "checkpoint").write_bytes(sign_checkpoint(Checkpoint(ORIGIN, 10**11, log.root(256)), LOG))
    tracemalloc.start()
    started = time.process_time()
    try:
        report = await run_audit(DirectorySource(place), trusted=LOG.vkey(), since=log.note(LOG, 200))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [finding["kind"] for finding in report["findings"]] == ["missing-entries"]
    assert report["findings"][0]["index"] == 256
    assert (report["ok"], report["complete"]) == (False, False)
    assert time.process_time() - started < 5  # of the processor's; entry by entry it would be days
    assert peak < 8 * 2**20


async def test_a_claimed_size_is_as_harmless_over_http(log: SampleLog, tmp_path: Path) -> None:
    place = published(log, tmp_path / "export", 256)
    (place / "checkpoint").write_bytes(sign_checkpoint(Checkpoint(ORIGIN, 2**63 - 1, log.root(256)), LOG))
    assert (await kinds_over_http(place))[0] == ["missing-entries"]


async def test_a_log_without_a_single_entry_says_what_is_missing(log: SampleLog, tmp_path: Path) -> None:
    place = published(log, tmp_path / "export", 0)
    (place / "checkpoint").write_bytes(log.note(LOG, 5))
    report = await run_audit(DirectorySource(place), trusted=LOG.vkey())
    assert [finding["kind"] for finding in report["findings"]] == ["missing-entries"]


async def test_an_export_that_names_a_key_of_the_log_which_was_followed_since_is_of_that_log(tmp_path: Path) -> None:
    log, new = SampleLog.founded(PEKALONGAN), FixedSigner("new")
    log.enter(log.federation.log_rotation(new))
    log.enter(log.federation.tick())
    place = published(log, tmp_path / "export", len(log.entries))
    write(place / "checkpoint", log.note(new, len(log.entries)))
    for trusted in (LOG, new):
        assert (await run_audit(DirectorySource(place), trusted=trusted.vkey()))["findings"] == []


@pytest.mark.parametrize("path", ["tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2"])
async def test_a_hash_tile_that_is_not_there_is_named(path: str, log: SampleLog, tmp_path: Path) -> None:
    place = published(log, tmp_path / "export")
    report = await run_audit(DirectorySource(place), trusted=LOG.vkey())
    assert report["ok"] is True
    (place / path).unlink()
    report = await run_audit(DirectorySource(place), trusted=LOG.vkey())
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


async def audit_of(target: str, **options: Any) -> dict[str, Any]:
    """As the command line has it done."""
    given: dict[str, Any] = {"vkey": LOG.vkey().format(), "token": None, "since": None, **options}
    return await wiring.audit(target, **given)


async def test_a_hub_with_a_certificate_of_its_own_is_audited_with_its_ca_and_refused_without(
    log: SampleLog, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    async with served(published(log, tmp_path / "export"), server_tls((certificate, key))) as url:
        assert (await audit_of(url, ca_file=certificate))["ok"] is True
        with pytest.raises(Unavailable, match="certificate"):
            await audit_of(url)


@pytest.mark.parametrize("url", ["http://hub.example", "http://10.0.0.1:8000", "http://127.0.0.1.hub.example/"])
async def test_a_token_is_never_sent_in_the_clear(url: str) -> None:
    with pytest.raises(Refused) as caught:
        await audit_of(url, token="secret")
    assert caught.value.kind == "configuration"
    assert "secret" not in str(caught.value)


async def test_a_token_does_not_follow_a_redirect(log: SampleLog, tmp_path: Path) -> None:
    """The hub's address may be encrypted, and what it points to may not be."""
    seen: list[str | None] = []

    async def taken(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response()

    async def elsewhere(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/taken"})

    async with served(published(log, tmp_path / "export"), checkpoint=elsewhere, taken=taken) as url:
        with pytest.raises(Unavailable, match="302"):
            await audit_of(url, token="secret")
    assert seen == []


async def test_plain_http_without_a_token_is_fine_because_the_log_proves_itself(log: SampleLog, tmp_path: Path) -> None:
    async with served(published(log, tmp_path / "export")) as url:
        assert (await audit_of(url))["ok"] is True


@pytest.mark.parametrize("vkey", ["", "garbage", "hub.example/log+00000000+AAAA", "a+b+c\n"])
async def test_a_key_that_is_none_is_a_wrong_usage_and_no_finding(vkey: str, tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(b"{}")
    for work in (audit_of(str(tmp_path), vkey=vkey), wiring.audit_receipt(receipt, vkey=vkey)):
        with pytest.raises(Refused) as caught:
            await work
        assert caught.value.kind == "configuration"


@pytest.mark.parametrize("target", ["https://", "https://user:pw@hub.example", "http://hub.example/?a=b"])
async def test_what_is_no_address_of_a_hub_is_a_wrong_usage(target: str) -> None:
    with pytest.raises(Refused) as caught:
        await audit_of(target)
    assert caught.value.kind == "configuration"


async def test_a_ca_file_that_is_none_is_a_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(Refused) as caught:
        await audit_of("https://hub.example", ca_file=tmp_path / "ca.pem")
    assert caught.value.kind == "configuration"
