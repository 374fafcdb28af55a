"""Uploads to a node and files of its complaints, over HTTP (node/local/http_files.py; protocol §13)."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from keys.signer import Ed25519Signer
from node.files.limits import SENDING_MAX, UNNAMED_LIFETIME_MS, UPLOADS_MAX, FileLimits
from node.local.cutting import Place, cut_set
from node.local.http_files import WRITE_BYTES
from node.local.openapi import openapi_document
from node.local.tokens import create_token
from node.system import SystemRandomness
from sync_protocol.values import Digest, b64u_encode
from tests.edge.file_samples import PLACE, archive, big_jpeg, jpeg, pdf, png
from tests.edge.node_api import AGENCY, Answer, Api, photograph, serving

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


def metadata(**pairs: str) -> dict[str, str]:
    return {"Upload-Metadata": ", ".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in pairs.items())}


def digest_of(data: bytes) -> Digest:
    return Digest(sha256(data).digest())


async def begin(api: Api, length: int, **headers: str) -> str:
    answer = await api.call("POST", "/v1/files", headers={**TUS, "Upload-Length": str(length), **headers})
    assert answer.status == 201, answer.body
    return str(answer.headers["Location"])


async def send(api: Api, place: str, offset: int, data: bytes, **headers: str) -> Answer:
    return await api.call("PATCH", place, data=data, headers={**BYTES, "Upload-Offset": str(offset), **headers})


async def offset_of(api: Api, place: str) -> int:
    answer = await api.call("HEAD", place, headers=TUS)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return int(answer.headers["Upload-Offset"])


async def upload(api: Api, data: bytes, **pairs: str) -> str:
    """The whole way; the hash of what is kept."""
    place = await begin(api, len(data), **metadata(**pairs))
    answer = await send(api, place, 0, data)
    assert answer.status == 204, answer.body
    return str(answer.headers["Simpul-File"])


async def attached(api: Api, data: bytes) -> tuple[str, str]:
    """A complaint with a file, and the file."""
    complaint = (await api.create())["complaint"]
    named = photograph(api, data)
    answer = await api.change(complaint, "attached", **named)
    assert answer.status == 201, answer.body
    return complaint, str(named["file"])


async def test_a_photograph_goes_the_whole_way_and_leaves_its_place_behind(api: Api) -> None:
    data = jpeg()
    file = await upload(api, data, filetype="image/jpeg", sha256=digest_of(data).b64u, filename="../../jalan.jpg")
    complaint = (await api.create())["complaint"]
    size = api.files.store.size_of(Digest.parse(file))
    said = {"media_type": "image/jpeg", "bytes": size, "file": file, "name": "jalan.jpg"}
    assert (await api.change(complaint, "attached", **said)).status == 201

    answer = await api.get(f"/v1/complaints/{complaint}/files/{file}")

    assert answer.status == 200
    assert digest_of(answer.raw).b64u == file
    assert PLACE not in answer.raw
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    part = await api.get(f"/v1/complaints/{complaint}/files/{file}", Range="bytes=10-19")
    assert (part.status, part.raw) == (206, answer.raw[10:20])


async def test_tus_is_spoken_as_its_clients_expect(api: Api) -> None:
    told = await api.call("OPTIONS", "/v1/files")
    assert (told.status, told.headers["Tus-Version"], told.headers["Tus-Max-Size"]) == (204, "1.0.0", str(1024 * 1024))
    place = await begin(api, 100)
    assert await offset_of(api, place) == 0
    answer = await send(api, place, 0, b"%PDF-")
    assert (answer.status, answer.headers["Upload-Offset"], answer.headers["Tus-Resumable"]) == (204, "5", "1.0.0")
    for headers in ({"Upload-Offset": "5"}, {"Tus-Resumable": "0.2.2", "Upload-Offset": "5"}):
        wrong = await api.call("PATCH", place, data=b"1", headers={**headers, "Content-Type": BYTES["Content-Type"]})
        assert (wrong.status, wrong.kind, wrong.headers["Tus-Version"]) == (412, "tus-version", "1.0.0")
    assert (await send(api, place, 0, b"x")).status == 409
    other = await send(api, place, 5, b"x", **{"Content-Type": "image/png"})
    assert (other.status, other.body["next"]) == (415, f"Send Content-Type: {BYTES['Content-Type']}.")
    override = {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "5", **BYTES}
    assert (await api.call("POST", place, data=b"1.7", headers=override)).headers["Upload-Offset"] == "8"
    assert (await api.call("DELETE", place, headers=TUS)).status == 204
    assert (await api.call("HEAD", place, headers=TUS)).status == 404


async def raw_patch(api: Api, place: str, data: bytes, sent: int, *, is_heard: bool = False) -> None:
    """A PATCH whose line is cut after so many bytes of the body, or after the first of the answer."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"PATCH {place} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {api.token}"]
    lines += [f"Content-Length: {len(data)}", "Upload-Offset: 0", *(f"{k}: {v}" for k, v in BYTES.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode() + data[:sent])
    await writer.drain()
    if is_heard:
        await reader.read(1)
    writer.close()
    await writer.wait_closed()


async def test_an_upload_whose_line_was_cut_anywhere_goes_on_from_what_arrived(api: Api) -> None:
    data = jpeg()
    digest = {"sha256": digest_of(data).b64u}
    wanted = await upload(api, data)
    for cut in (0, 1, 2, 100, len(data) // 2, len(data) - 1, len(data)):
        place = await begin(api, len(data), **metadata(**digest))
        await raw_patch(api, place, data, cut)
        while True:  # the server may still be reading what was sent
            here = await offset_of(api, place)
            assert here <= cut
            last = await send(api, place, here, data[here:])
            if last.status != 409:
                break
        assert (last.status, last.headers["Simpul-File"]) == (204, wanted)


async def test_what_came_over_a_slow_line_before_it_was_cut_is_kept(api: Api) -> None:
    data = big_jpeg(700_000)
    place = await begin(api, len(data))

    async def slowly() -> AsyncIterator[bytes]:
        for start in range(0, 600_000, 50_000):
            yield data[start : start + 50_000]
        async with asyncio.timeout(5):
            while await offset_of(api, place) < 2 * WRITE_BYTES:  # noqa: ASYNC110 - written as it comes
                await asyncio.sleep(0.01)
        raise ConnectionResetError

    with pytest.raises((ConnectionError, aiohttp.ClientError)):
        await api.call("PATCH", place, data=slowly(), headers={**BYTES, "Upload-Offset": "0"})
    here = await offset_of(api, place)
    assert 2 * WRITE_BYTES <= here <= 600_000
    async with asyncio.timeout(5):
        while (last := await send(api, place, here, data[here:])).status == 409:
            here = await offset_of(api, place)
    assert last.headers["Simpul-File"]


async def test_the_answer_that_was_lost_is_given_again(api: Api) -> None:
    data = pdf()
    place = await begin(api, len(data))
    await raw_patch(api, place, data, len(data), is_heard=True)
    again = await send(api, place, len(data), b"")
    assert (again.status, again.headers["Simpul-File"]) == (204, digest_of(data).b64u)
    state = await api.get(place)
    assert state.body == {
        "upload": place.rpartition("/")[2],
        "offset": len(data),
        "length": len(data),
        "file": digest_of(data).b64u,
        "bytes": len(data),
        "media_type": "application/pdf",
    }


async def test_two_uploads_of_one_file_at_once_are_one_file(api: Api) -> None:
    data = big_jpeg(400_000)
    files = await asyncio.gather(*(upload(api, data) for _ in range(SENDING_MAX)))
    assert len(set(files)) == 1
    assert api.files.store.totals()[0] == 1


async def test_two_that_go_on_with_one_upload_at_once_do_not_mix(api: Api) -> None:
    data = pdf(inside=bytes(range(256)) * 100)
    place = await begin(api, len(data), **metadata(sha256=digest_of(data).b64u))
    answers = await asyncio.gather(*(send(api, place, 0, data) for _ in range(SENDING_MAX)))
    assert {answer.status for answer in answers} <= {204, 409}
    assert (await api.get(place)).body["file"] == digest_of(data).b64u


async def test_bytes_that_differ_from_the_announced_hash_are_refused(api: Api) -> None:
    data = pdf()
    place = await begin(api, len(data), **metadata(sha256=digest_of(b"other").b64u))
    answer = await send(api, place, 0, data)
    assert (answer.status, answer.kind) == (422, "file-differs")
    assert (await api.get(place)).kind == "not-found"
    assert api.files.store.totals() == (0, 0)


async def test_lengths_that_lie_are_refused(api: Api) -> None:
    data = pdf()
    for length in ("0", "-1", "1e3", "", "00", "9" * 30):
        answer = await api.call("POST", "/v1/files", headers={**TUS, "Upload-Length": length})
        assert (answer.status, answer.kind) == (422, "malformed"), length
    large = await api.call("POST", "/v1/files", headers={**TUS, "Upload-Length": str(1024 * 1024 + 1)})
    assert (large.status, large.kind, large.body["limit"]) == (413, "too-large", 1024 * 1024)
    place = await begin(api, len(data) - 1)
    assert (await send(api, place, 0, data)).kind == "too-large"

    async def without_length() -> AsyncIterator[bytes]:
        yield data

    chunked = await api.call("PATCH", place, data=without_length(), headers={**BYTES, "Upload-Offset": "0"})
    assert chunked.kind == "too-large"
    assert await offset_of(api, place) == 0


@pytest.mark.parametrize("media_type", ["image/jpeg", "application/pdf", "text/html", ""])
async def test_a_file_that_lies_about_its_type_is_refused(api: Api, media_type: str) -> None:
    for data in (png(), archive(), b"<svg onload=alert(1)>" + bytes(5_000), b"MZ" + bytes(5_000)):
        if media_type == "" and data == png():
            continue
        place = await begin(api, len(data), **(metadata(filetype=media_type) if media_type else {}))
        answer = await send(api, place, 0, data)
        assert (answer.status, answer.kind) == (415, "file-type")
        assert answer.body["next"].startswith("Send a JPEG")
    assert api.files.store.totals() == (0, 0)


async def test_metadata_that_is_none_is_refused(api: Api) -> None:
    for text in (
        "filetype !!!",
        "sha256 " + b64encode(b"short").decode(),
        "filetype /w==",
        ",",
        "a b c",
        ",".join("x" * 20),
    ):
        answer = await api.call("POST", "/v1/files", headers={**TUS, "Upload-Length": "5", "Upload-Metadata": text})
        assert (answer.status, answer.kind) == (422, "malformed"), text


def names_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.rglob("*"))


async def test_attack_no_name_from_outside_becomes_a_path_at_the_node(api: Api, tmp_path: Path) -> None:
    complaint = (await api.create())["complaint"]
    before = names_in(tmp_path)
    paths = [f"/v1/files/{name}" for name in ("..%2f..%2fnode.db", "%2e%2e", "A" * 32, "0" * 31, "0" * 32 + "%00")]
    paths += [
        f"/v1/complaints/{complaint}/files/{name}" for name in ("..%2f..%2fnode.db", "%2e%2e", "A" * 42, "=" * 43)
    ]
    for path in paths:
        for method, headers in (("GET", {}), ("PATCH", {**BYTES, "Upload-Offset": "0"}), ("DELETE", TUS)):
            url, auth = URL(api.url + path, encoded=True), {"Authorization": f"Bearer {api.token}", **headers}
            body = b"x" if method == "PATCH" else None
            async with api.session.request(method, url, data=body, headers=auth) as answer:
                assert answer.status in (404, 405, 422), (method, path)
    assert names_in(tmp_path) == before


async def test_an_upload_is_nobodys_but_its_clients(api: Api) -> None:
    place = await begin(api, 100)
    other = await create_token(api.store, api.clock, SystemRandomness(), "web")
    for method, headers in (("HEAD", TUS), ("GET", {}), ("PATCH", {**BYTES, "Upload-Offset": "0"}), ("DELETE", TUS)):
        answer = await api.call(method, place, headers={**headers, "Authorization": f"Bearer {other}"})
        assert answer.status == 404
        assert (await api.call(method, place, headers={**headers, "Authorization": ""})).status == 401
    assert await offset_of(api, place) == 0


async def test_a_client_that_begins_too_many_is_told_so(api: Api) -> None:
    for _ in range(UPLOADS_MAX):
        await begin(api, 10)
    answer = await api.call("POST", "/v1/files", headers={**TUS, "Upload-Length": "10"})
    assert (answer.status, answer.kind) == (429, "too-many-uploads")


async def test_a_client_that_sends_too_many_at_once_waits(api: Api) -> None:
    go_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"%PDF-"
        await go_on.wait()

    places = [await begin(api, 100) for _ in range(SENDING_MAX + 1)]
    headers = {**BYTES, "Upload-Offset": "0"}
    slow = [asyncio.create_task(api.call("PATCH", place, data=slowly(), headers=headers)) for place in places[:-1]]
    async with asyncio.timeout(5):
        while (answer := await send(api, places[-1], 0, b"")).status != 503:  # noqa: ASYNC110 - theirs
            await asyncio.sleep(0.01)
    assert answer.kind == "busy"
    go_on.set()
    assert {answer.status for answer in await asyncio.gather(*slow)} == {204}
    assert (await send(api, places[-1], 0, b"%PDF-")).status == 204


@pytest.mark.parametrize("limits", [FileLimits(store_max=100, free_min=0), FileLimits(free_min=2**62)])
async def test_without_room_uploads_are_refused_and_complaints_go_on(tmp_path: Path, limits: FileLimits) -> None:
    async with serving(tmp_path, file_limits=limits) as api:
        answer = await api.call("POST", "/v1/files", headers={**TUS, "Upload-Length": "101"})
        assert (answer.status, answer.kind) == (507, "files-full")
        await api.create()


async def test_a_change_names_only_a_file_that_is_here_and_as_it_is(api: Api) -> None:
    complaint = (await api.create())["complaint"]
    named: dict[str, Any] = photograph(api)
    missing = await api.change(complaint, "attached", **{**named, "file": b64u_encode(bytes(32))})
    assert (missing.status, missing.kind) == (409, "file-missing")
    size = await api.change(complaint, "attached", **{**named, "bytes": named["bytes"] + 1})
    assert (size.status, size.kind, size.body["where"]) == (422, "malformed", "bytes")
    lie = await api.change(complaint, "attached", **{**named, "media_type": "image/png"})
    assert (lie.status, lie.kind) == (415, "file-type")
    assert len(await api.stored_changes()) == 1


async def test_a_file_belongs_to_the_complaint_that_names_it(api: Api) -> None:
    complaint, file = await attached(api, jpeg())
    other = (await api.create())["complaint"]
    assert (await api.get(f"/v1/complaints/{complaint}/files/{file}")).status == 200
    assert (await api.get(f"/v1/complaints/{other}/files/{file}")).kind == "not-found"
    assert (await api.get(f"/v1/complaints/{complaint}/files/{file}", Authorization="")).status == 401


async def cut(api: Api) -> None:
    """What was recorded is in a signed set: what it says may be erased now."""
    view, signer = await api.store.outbox(), Ed25519Signer.generate(bytes(32))
    place = Place(AGENCY, view.epoch, view.signed_seq + 1)
    assert await cut_set(api.store, signer, place, api.clock.now_ms(), unsent=view.unsent)


async def erase(api: Api, complaint: str) -> None:
    history = (await api.get(f"/v1/complaints/{complaint}")).body["history"]
    leaf = next(change["leaf"] for change in history if change["type"] == "attached" and change["leaf"])
    await cut(api)
    answer = await api.change(complaint, "erased", ground="court-order", leaves=[leaf])
    assert answer.status == 201, answer.body


async def test_an_erased_file_is_not_shown_any_more_and_gone_from_the_disk(api: Api) -> None:
    complaint, file = await attached(api, jpeg())
    first = await api.post(f"/v1/complaints/{complaint}/changes", {"type": "attached", **photograph(api)}, key="k")
    await erase(api, complaint)
    await erase(api, complaint)
    assert (await api.get(f"/v1/complaints/{complaint}/files/{file}")).kind == "not-found"

    assert await api.files.tidy() == 1

    assert api.files.store.totals() == (0, 0)
    again = await api.post(
        f"/v1/complaints/{complaint}/changes",
        {"type": "attached", "bytes": first.body and len(jpeg()), "media_type": "image/jpeg", "file": file},
        key="other",
    )
    assert again.kind == "file-missing"


async def test_a_repeat_of_an_attached_is_answered_for_ever_also_when_its_file_is_erased(api: Api) -> None:
    complaint = (await api.create())["complaint"]
    body = {"type": "attached", **photograph(api)}
    first = await api.post(f"/v1/complaints/{complaint}/changes", body, key="k")
    await erase(api, complaint)
    await api.files.tidy()
    again = await api.post(f"/v1/complaints/{complaint}/changes", body, key="k")
    assert (again.status, again.body) == (201, first.body)


async def test_a_file_that_another_complaint_names_stays_when_one_line_is_erased(api: Api) -> None:
    complaint, file = await attached(api, jpeg())
    other, same = await attached(api, jpeg())
    assert file == same
    await erase(api, complaint)
    assert await api.files.tidy() == 0
    assert (await api.get(f"/v1/complaints/{complaint}/files/{file}")).kind == "not-found"
    assert (await api.get(f"/v1/complaints/{other}/files/{file}")).status == 200


async def test_a_file_that_nobody_names_is_swept_after_a_week_and_a_named_one_is_not(api: Api) -> None:
    complaint, file = await attached(api, jpeg())
    forgotten = await upload(api, pdf())
    assert await api.files.sweep() == 0
    api.clock.later_ms = UNNAMED_LIFETIME_MS + 60_000
    assert await api.files.sweep() == 2  # the record of the upload, and the file
    assert api.files.store.size_of(Digest.parse(forgotten)) is None
    assert (await api.get(f"/v1/complaints/{complaint}/files/{file}")).status == 200


async def test_a_damaged_file_is_not_shown(api: Api) -> None:
    complaint, file = await attached(api, jpeg())
    path = api.files.store.path_of(Digest.parse(file))
    path.chmod(0o600)
    path.write_bytes(b"\xff\xd8\xff" + bytes(100))
    answer = await api.get(f"/v1/complaints/{complaint}/files/{file}")
    assert (answer.status, answer.kind) == (503, "storage")
    assert (await api.get(f"/v1/complaints/{complaint}/files/{file}")).kind == "not-found"


async def test_the_calls_for_files_answer_as_documented(api: Api) -> None:
    paths = openapi_document()["paths"]
    documented = {
        (method.upper(), path): {int(status) for status in operation["responses"]}
        for path, item in paths.items()
        for method, operation in item.items()
        if operation.get("tags") == ["files"]
    }
    assert len(documented) == 7
    complaint, file = await attached(api, jpeg())
    place = await begin(api, 100)
    real = {"/v1/files": "/v1/files", "/v1/files/{upload}": place}
    begun, at_start = {**TUS, "Upload-Length": "5"}, {**BYTES, "Upload-Offset": "0"}
    headers: tuple[dict[str, str], ...] = ({}, TUS, begun, BYTES, at_start, {"Authorization": ""})
    seen = set()
    for (method, path), statuses in documented.items():
        for extra in (*headers, {"Range": "bytes=0-4"}, {"Range": "bytes=99999999-"}):
            at = real.get(path) or f"/v1/complaints/{complaint}/files/{file}"
            answer = await api.call(method, at, headers=extra)
            seen.add(answer.status)
            assert answer.status in statuses, (method, path, extra, answer.status)
    assert {200, 201, 204, 206, 401, 412, 416, 422} <= seen
