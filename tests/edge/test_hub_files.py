"""Files at the hub: taken where an applied change names them, shown to whom they concern, gone with their line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest
from yarl import URL

from keys.signer import Ed25519Signer
from node.files.limits import UNNAMED_LIFETIME_MS, FileLimits
from node.hub.files import HubFiles
from sync_protocol.attachment import Announcement, ContentRange
from sync_protocol.line import format_content
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import Digest, b64u_encode
from sync_protocol.wire import FileArrival
from tests.edge.file_samples import archive, big_jpeg, jpeg, pdf
from tests.edge.hub_lab import Agency, Answer, Lab, projected, running_hub
from tests.edge.hub_requests import auditor, signed
from tests.edge.test_hub_erasing import erasure

PIECE = 262_144


@dataclass
class Announced:
    """A complaint of an agency with a file that is in the log and not at the hub yet."""

    lab: Lab
    agency: Agency
    complaint: str
    data: bytes
    line: bytes
    seq: int
    rev: int = 2
    signer: Ed25519Signer = field(init=False)

    def __post_init__(self) -> None:
        self.signer = self.agency.signer

    @property
    def file(self) -> Digest:
        return Digest(sha256(self.data).digest())

    def path(self, agency: str | None = None, query: str = "") -> str:
        return f"/v1/agencies/{agency or self.agency.code}/files/{self.file.b64u}{query}"

    async def put(
        self, place: str, body: bytes = b"", *, seq: int | None = None, agency: Agency | None = None
    ) -> Answer:
        """One signed piece."""
        who = agency or self.agency
        path = self.path(who.code, f"?seq={self.seq if seq is None else seq}")
        nonce = self.lab.randomness.bytes(16).hex()
        headers = signed(self.lab, who.signer, path, method="PUT", nonce=nonce, body=body or None)
        return await self.lab.call("PUT", path, data=body, headers={**headers, "Content-Range": place})

    async def piece(self, start: int, end: int, **options: Any) -> Answer:
        return await self.put(f"bytes {start}-{end - 1}/{len(self.data)}", self.data[start:end], **options)

    async def ask(self, **options: Any) -> Answer:
        return await self.put(f"bytes */{len(self.data)}", **options)

    async def bring(self, **options: Any) -> None:
        """All of it, in pieces."""
        for start in range(0, len(self.data), PIECE):
            answer = await self.piece(start, min(start + PIECE, len(self.data)), **options)
        assert answer.status == 200, answer.body

    async def get(self, agency: Agency | None = None, **headers: str) -> Answer:
        who = agency or self.agency
        path = self.path(who.code)
        return await self.lab.call("GET", path, headers={**signed(self.lab, who.signer, path), **headers})

    async def change(self, type_: str, data: dict[str, Any], agency: Agency | None = None) -> bytes:
        """A further change to the complaint, pushed and folded; its line."""
        self.rev += 1
        who = agency or self.agency
        line = who.change(self.complaint, type_, data, rev=self.rev)
        await who.push_new([line])
        await projected(self.lab)
        return line


def content_line(lab: Lab, file: bytes) -> bytes:
    return format_content({"file": b64u_encode(file), "name": "foto.jpg"}, lab.randomness.bytes(16))


async def announce(
    lab: Lab, agency: Agency, data: bytes, *, size: int | None = None, media_type: str = "image/jpeg"
) -> Announced:
    complaint = agency.complaint()
    said = {"bytes": len(data) if size is None else size, "media_type": media_type}
    line = content_line(lab, sha256(data).digest())
    changes = [agency.received(complaint), agency.change(complaint, "attached", said, rev=2, content=True)]
    await agency.push_new(changes, [agency.content(), line])
    await projected(lab)
    return Announced(lab, agency, complaint, data, line, agency.seq)


async def test_a_file_comes_in_pieces_and_goes_out_whole_and_in_parts(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), big_jpeg(600_000))
    assert (await named.ask()).json == {"offset": 0, "length": len(named.data)}
    first = await named.piece(0, PIECE)
    assert (first.status, first.json["offset"]) == (202, PIECE)
    assert (await named.ask()).json["offset"] == PIECE
    assert (await named.piece(PIECE, 2 * PIECE)).status == 202
    assert (await named.get()).kind == "not-found"  # not before all of it was verified
    assert (await named.piece(2 * PIECE, len(named.data))).status == 200
    assert (await named.ask()).status == 200

    whole = await named.get()
    assert (whole.status, whole.body) == (200, named.data)
    assert whole.headers["Content-Type"] == "image/jpeg"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert whole.headers["Content-Disposition"].startswith("attachment;")
    part = await named.get(Range="bytes=100-199")
    assert (part.status, part.body) == (206, named.data[100:200])
    assert (await named.get(Range="bytes=9999999-")).status == 416


async def test_a_piece_that_breaks_off_leaves_nothing_and_comes_again(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), big_jpeg(300_000))
    await named.piece(0, 1_000)
    path = named.path(query=f"?seq={named.seq}")
    body = named.data[1_000:5_000]
    headers = signed(lab, named.signer, path, method="PUT", nonce="cut", body=body)
    host, port = lab.url.removeprefix("http://").split(":")
    for sent in (0, 1, 2_000, 3_999):
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [f"PUT {path} HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {len(body)}"]
        lines += [f"Content-Range: bytes 1000-4999/{len(named.data)}", *(f"{k}: {v}" for k, v in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body[:sent])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        del reader
        assert (await named.ask()).json["offset"] == 1_000
    assert (await named.piece(1_000, 5_000)).json["offset"] == 5_000
    for start in range(5_000, len(named.data), PIECE):
        answer = await named.piece(start, min(start + PIECE, len(named.data)))
    assert answer.status == 200


async def test_a_piece_for_another_place_is_told_the_right_one(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), big_jpeg(10_000))
    assert (await named.piece(0, 1_000)).status == 202
    for start in (0, 999, 1_001, 5_000):
        answer = await named.piece(start, start + 100)
        assert (answer.status, answer.kind, answer.json["offset"]) == (409, "wrong-offset", 1_000)


async def test_of_two_that_bring_one_file_at_once_the_file_is_whole(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), big_jpeg(20_000))
    for start in range(0, len(named.data), 5_000):
        end = min(start + 5_000, len(named.data))
        answers = await asyncio.gather(*(named.piece(start, end) for _ in range(3)))
        assert {answer.status for answer in answers} <= {200, 202, 409}
    assert (await named.get()).body == named.data
    assert not list((lab.files.store.directory / "incoming").glob("*.part"))


async def test_other_bytes_than_the_announced_ones_are_refused_and_gone(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), jpeg())
    whole, altered = named.data, bytearray(named.data)
    altered[-5] ^= 1
    answer = await named.put(f"bytes 0-{len(whole) - 1}/{len(whole)}", bytes(altered))
    assert (answer.status, answer.kind) == (422, "file-differs")
    assert (await named.ask()).json["offset"] == 0
    await named.bring()


async def test_a_length_that_is_not_the_announced_one_is_refused(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    data = jpeg()
    for size in (1, 100, 2**40):
        named = await announce(lab, agency, data, size=size)
        assert (await named.piece(0, len(data))).kind == "malformed"
        answer = await named.put(f"bytes 0-{min(size, 100) - 1}/{size}", data[: min(size, 100)])
        assert answer.kind == {1: "file-type", 100: "file-differs", 2**40: "too-large"}[size]
    assert lab.files.store.totals() == (0, 0)


async def test_a_change_that_lies_about_the_type_brings_no_file(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    for data in (archive(), b"<html><script>alert(1)</script></html>", pdf()):
        named = await announce(lab, agency, data)
        answer = await named.piece(0, len(data))
        assert (answer.status, answer.kind) == (415, "file-type")
        assert (await named.get()).kind == "not-found"
    assert lab.files.store.totals() == (0, 0)


async def test_a_file_that_nothing_announces_is_not_taken(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    named = await announce(lab, agency, jpeg())
    other = Announced(lab, agency, named.complaint, pdf(), named.line, named.seq)
    for seq in (named.seq, named.seq + 1, 999):
        assert (await other.put(f"bytes 0-4/{len(other.data)}", b"%PDF-", seq=seq)).kind == "not-announced"
    assert (await other.put("bytes 0-4/5", b"%PDF-", seq=named.seq)).kind == "not-announced"


async def test_a_file_that_a_refused_change_names_is_not_taken(lab: Lab) -> None:
    owner, stranger = await lab.enrol("33.75"), await lab.enrol("35.71")
    named = await announce(lab, owner, jpeg())
    said = {"bytes": len(named.data), "media_type": "image/jpeg"}
    line = stranger.change(named.complaint, "attached", said, rev=3, content=True)  # not the owner
    await stranger.push_new([line], [content_line(lab, named.file)])
    await projected(lab)
    answer = await named.put(f"bytes 0-4/{len(named.data)}", named.data[:5], seq=stranger.seq, agency=stranger)
    assert (answer.status, answer.kind) == (403, "not-announced")


async def test_attack_a_hash_that_somebody_read_does_not_fetch_the_file(lab: Lab) -> None:
    owner, thief = await lab.enrol("33.75"), await lab.enrol("35.71")
    named = await announce(lab, owner, jpeg())
    await named.bring()
    assert (await named.get(thief)).kind == "not-found"
    stolen = await announce(lab, thief, named.data)  # names it as its own
    answer = await stolen.ask()
    assert (answer.status, answer.json["offset"]) == (202, 0)  # bring the bytes, if you have them
    assert (await named.get(thief)).kind == "not-found"
    path = named.path(owner.code)
    assert (await lab.call("GET", path, headers=signed(lab, thief.signer, path))).kind == "wrong-agency"
    assert (await lab.call("GET", path)).kind == "unauthorised"
    put = await named.put(f"bytes */{len(named.data)}", agency=Agency(lab, owner.code, thief.signer))
    assert put.kind == "wrong-agency"


async def test_whom_a_complaint_is_offered_to_and_who_owns_it_gets_its_files(lab: Lab) -> None:
    giver, taker = await lab.enrol("33.75"), await lab.enrol("35.71")
    named = await announce(lab, giver, jpeg())
    await named.bring()
    offered = await named.change("offered", {"reason": "named_by_reporter", "to": "35.71"})
    assert (await named.get(taker)).body == named.data
    await named.change("accepted", {"offer": b64u_encode(leaf_hash(offered))}, taker)
    assert (await named.get(taker)).body == named.data
    assert (await named.get(giver)).body == named.data  # what it brought itself
    second = await announce(lab, giver, pdf(), media_type="application/pdf")
    await second.bring()
    assert (await second.get(taker)).kind == "not-found"


async def test_an_auditor_sees_a_file_with_a_grant_for_content_and_it_is_recorded(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), jpeg())
    await named.bring()
    path = named.path()
    assert (await lab.call("GET", path, headers=await auditor(lab, "bpk"))).kind == "unauthorised"
    assert await lab.hub.store.content_reads() == []
    shown = await lab.call("GET", path, headers=await auditor(lab, "ombudsman", with_content=True))
    assert shown.body == named.data
    ((_, reader, what),) = await lab.hub.store.content_reads()
    assert (reader, what) == ("ombudsman", f"33.75/file {named.file.b64u}")


async def test_erasing_the_line_erases_the_file_and_it_does_not_come_back(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), jpeg())
    await named.bring()
    await named.agency.push_new([erasure(named.agency, named.complaint, named.line, rev=3)])
    await projected(lab)
    assert (await named.get()).kind == "not-found"  # at once, before anything was tidied
    assert lab.files.store.size_of(named.file) is not None

    assert await lab.files.tidy() == 1

    assert lab.files.store.size_of(named.file) is None
    assert (await named.ask()).kind == "not-announced"
    assert (await named.piece(0, len(named.data))).kind == "not-announced"


async def test_a_file_that_another_line_names_outlives_the_erased_one(lab: Lab) -> None:
    first, second = await lab.enrol("33.75"), await lab.enrol("35.71")
    named, other = await announce(lab, first, jpeg()), await announce(lab, second, jpeg())
    await named.bring()
    await other.bring()
    await first.push_new([erasure(first, named.complaint, named.line, rev=3)])
    await projected(lab)
    assert await lab.files.tidy() == 1
    assert (await named.get()).kind == "not-found"
    assert (await other.get()).body == other.data


async def test_what_came_before_the_erasure_is_not_kept_when_the_rest_comes_after_it(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), big_jpeg(5_000))
    assert (await named.piece(0, 4_000)).status == 202
    await named.agency.push_new([erasure(named.agency, named.complaint, named.line, rev=3)])
    await projected(lab)
    assert (await named.piece(4_000, len(named.data))).kind == "not-announced"
    assert lab.files.store.totals() == (0, 0)


async def test_a_second_line_that_names_a_file_needs_no_second_upload(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    named, again = await announce(lab, agency, jpeg()), await announce(lab, agency, jpeg())
    await named.bring()
    assert (await again.ask()).status == 200
    await agency.push_new([erasure(agency, named.complaint, named.line, rev=3)])
    await projected(lab)
    await lab.files.tidy()
    assert (await again.get()).body == again.data


class Overtaken(HubFiles):
    """Something happens once while it looks for what a set names."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def _look_up(self, agency: str, file: Digest, seq: int) -> tuple[int, list[Announcement]]:
        found = await super()._look_up(agency, file, seq)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return found


async def test_a_file_that_goes_while_a_second_line_that_names_it_is_noted_is_asked_for_again(lab: Lab) -> None:
    """Its agency would be told that it is here, and would never send it again."""
    agency = await lab.enrol("33.75")
    named, again = await announce(lab, agency, jpeg()), await announce(lab, agency, jpeg())
    await named.bring()

    async def erase() -> None:
        await agency.push_new([erasure(agency, named.complaint, named.line, rev=3)])
        await projected(lab)
        assert await lab.files.tidy() == 1

    lab.files.__class__ = Overtaken
    cast("Overtaken", lab.files).meanwhile = erase
    asked = ContentRange(None, 0, len(again.data))
    told = await lab.files.take("33.75", again.file, again.seq, asked, b"")  # not by HTTP: one at a time there
    assert told == FileArrival(offset=0, length=len(again.data))
    await again.bring()
    assert (await again.get()).body == again.data


async def test_a_second_line_that_names_a_file_with_another_size_does_not_have_it(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    named = await announce(lab, agency, jpeg())
    again = await announce(lab, agency, jpeg(), size=len(named.data) + 1)
    await named.bring()
    assert (await again.ask()).kind == "malformed"
    (line,) = await lab.hub.store.lines_naming(named.file)
    assert line.size == len(named.data)


async def test_lines_of_one_set_that_name_the_same_file_all_have_it(lab: Lab) -> None:
    agency, other = await lab.enrol("33.75"), await lab.enrol("35.71")
    data = jpeg()
    said = {"bytes": len(data), "media_type": "image/jpeg"}
    complaints = [agency.complaint(), agency.complaint()]
    lines = [content_line(lab, sha256(data).digest()) for _ in complaints]
    changes = [agency.received(complaint) for complaint in complaints]
    changes += [agency.change(complaint, "attached", said, rev=2, content=True) for complaint in complaints]
    await agency.push_new(changes, [agency.content(), agency.content(), *lines])
    await projected(lab)
    first, second = (
        Announced(lab, agency, complaint, data, line, agency.seq)
        for complaint, line in zip(complaints, lines, strict=True)
    )
    await first.bring()
    await second.change("offered", {"reason": "mine", "to": "35.71"})
    assert (await second.get(other)).body == data
    await agency.push_new([erasure(agency, first.complaint, first.line, rev=3)])
    await projected(lab)
    assert await lab.files.tidy() == 1
    assert (await second.get(other)).body == data


async def test_a_file_of_many_complaints_goes_with_each_of_them_whatever_stands_before(lab: Lab) -> None:
    """An office hangs its standard letter on hundreds of complaints at once; some of the changes are refused."""
    agency, other = await lab.enrol("33.75"), await lab.enrol("35.71")
    data = jpeg()
    said = {"bytes": len(data), "media_type": "image/jpeg"}
    complaints = [agency.complaint() for _ in range(300)]
    lines = [content_line(lab, sha256(data).digest()) for _ in complaints]
    known = complaints[280:]  # the others are nobody's, and what is done to them is refused
    changes = [agency.received(complaint) for complaint in known]
    changes += [agency.change(complaint, "attached", said, rev=2, content=True) for complaint in complaints]
    await agency.push_new(changes, [*(agency.content() for _ in known), *lines])
    await projected(lab)
    last = Announced(lab, agency, complaints[-1], data, lines[-1], agency.seq)
    await last.bring()
    await last.change("offered", {"reason": "mine", "to": "35.71"})
    assert (await last.get(other)).body == data
    assert len(await lab.hub.store.lines_naming(last.file)) == 20


async def test_a_damaged_file_is_never_shown_and_may_come_again(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), jpeg())
    await named.bring()
    path = lab.files.store.path_of(named.file)
    path.chmod(0o600)
    path.write_bytes(bytes(len(named.data)))
    assert (await named.get()).kind == "busy"
    assert (await named.get()).kind == "not-found"
    assert (await named.ask()).json["offset"] == 0
    await named.bring()
    assert (await named.get()).body == named.data


@pytest.mark.parametrize("limits", [FileLimits(store_max=100, free_min=0), FileLimits(free_min=2**62)])
async def test_a_hub_without_room_says_when_to_come_again(tmp_path: Path, limits: FileLimits) -> None:
    async with running_hub(tmp_path, file_limits=limits) as lab:
        named = await announce(lab, await lab.enrol("33.75"), jpeg())
        answer = await named.piece(0, len(named.data))
        assert (answer.status, answer.kind) == (503, "busy")
        assert int(answer.headers["Retry-After"]) >= 60
        assert (await named.agency.push_new(1)).status == 201  # sets go on


async def test_what_nobody_finishes_and_what_no_line_names_is_swept(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), big_jpeg(5_000))
    kept = await announce(lab, named.agency, jpeg())
    await named.piece(0, 1_000)
    await kept.bring()
    orphan = lab.files.store.add([b"of a process that died"])
    assert orphan is not None
    for path in lab.files.store.directory.rglob("*"):
        os.utime(path, (1, 1))
    lab.clock.at_ms += UNNAMED_LIFETIME_MS
    assert await lab.files.sweep() == 2
    assert lab.files.store.size_of(orphan.digest) is None
    assert (await kept.get()).body == kept.data
    assert (await named.ask()).json["offset"] == 0


async def test_a_range_that_is_none_is_refused(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), jpeg())
    places = [
        "",
        "bytes 0-9",
        "bytes 5-4/10",
        "bytes 0-10/10",
        "bytes 00-9/10",
        "items 0-9/10",
        "bytes 0-9/" + "9" * 99,
    ]
    for place in places:
        assert (await named.put(place, b"0123456789")).kind == "malformed"


async def test_attack_no_path_from_outside_is_used_at_the_hub(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    for name in ("..%2f..%2fhub.db", "%2e%2e", "A" * 42, "A" * 44, "=" * 43):
        path = f"/v1/agencies/33.75/files/{name}"
        url = URL(lab.url + path, encoded=True)
        async with lab.session.get(url, headers=signed(lab, agency.signer, path)) as answer:
            assert answer.status in (404, 422)


async def test_two_that_ask_for_a_file_whose_bytes_are_all_there_keep_it_once(lab: Lab) -> None:
    named = await announce(lab, await lab.enrol("33.75"), big_jpeg(5_000))
    assert (await named.piece(0, 4_000)).status == 202
    name = next((lab.files.store.directory / "incoming").glob("*.part"))
    with name.open("ab") as part:  # as if the process had died between the last byte and keeping the file
        part.write(named.data[4_000:])
    answers = await asyncio.gather(*(named.ask() for _ in range(4)))
    assert {answer.status for answer in answers} == {200}
    assert (await named.get()).body == named.data
