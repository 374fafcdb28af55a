"""The hub's HTTP surface: C2SP to the byte, who may read what, problems, limits (protocol §6.2, §7)."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from node.hub.http import ROUTES, RUNNER_OPTIONS, build_app
from node.hub.openapi import hub_document
from node.serving import listening, server_tls
from sync_protocol.change_set import split_parts
from sync_protocol.compression import compress_frames, decode_body
from sync_protocol.merkle import leaf_hash, tree_root
from sync_protocol.receipt import parse_receipt, verify_receipt
from sync_protocol.tiles import entry_tiles_of, split_tile, tiles_of, unpack_entries
from tests.edge.hub_lab import ORIGIN, Agency, Lab, projected, running_hub
from tests.edge.hub_requests import auditor, read, signed


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_hub(tmp_path) as running:
        await running.enrol("33.75")
        yield running


@pytest.fixture
def agency(lab: Lab) -> Agency:
    return lab.agencies["33.75"]


async def test_the_tiles_and_entries_rebuild_the_signed_root(lab: Lab, agency: Agency) -> None:
    for _ in range(300):
        await agency.push_new([])
    opened = await lab.checkpoint()
    entries: list[bytes] = []
    for bundle in entry_tiles_of(opened.checkpoint.size):
        answer = await lab.call("GET", f"/{bundle.path}")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert "immutable" in answer.headers["Cache-Control"]
        entries += unpack_entries(answer.body, bundle.width)
    leaves = [leaf_hash(entry) for entry in entries]
    assert tree_root(leaves) == opened.checkpoint.root
    level_0: list[bytes] = []
    for tile in tiles_of(opened.checkpoint.size):
        hashes = split_tile((await lab.call("GET", f"/{tile.path}")).body)
        assert len(hashes) == tile.width
        if tile.level == 0:
            level_0 += hashes
        else:
            assert hashes == [tree_root(leaves[:256])]
    assert level_0 == leaves


async def test_a_checkpoint_is_plain_text_that_is_kept_for_seconds(lab: Lab) -> None:
    answer = await lab.call("GET", "/checkpoint")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "max-age=5"


@pytest.mark.parametrize(
    "path", ["0/000", "0/000.p/5", "0/000.p/0", "0/000.p/256", "1/000.p/1", "entries/001.p/1", "8/000", "0/0", "x"]
)
async def test_tiles_that_are_not_published_are_not_found(lab: Lab, path: str) -> None:
    answer = await lab.call("GET", f"/tile/{path}")
    assert (answer.status, answer.kind) == (404, "not-found")


async def test_a_partial_tile_stays_readable_after_it_grew(lab: Lab, agency: Agency) -> None:
    before = (await lab.call("GET", "/tile/0/000.p/4")).body
    await agency.push_new(1)
    assert (await lab.call("GET", "/tile/0/000.p/4")).body == before


async def test_consistency_is_proved_between_any_two_sizes(lab: Lab, agency: Agency) -> None:
    await agency.push_new(1)
    answer = await lab.call("GET", "/v1/consistency?from=3&to=5")
    assert (answer.json["from"], answer.json["to"]) == (3, 5)
    assert (await lab.call("GET", "/v1/consistency?from=5&to=5")).json["hashes"] == []
    assert (await lab.call("GET", "/v1/consistency?from=0&to=5")).json["hashes"] == []
    assert (await lab.call("GET", "/v1/consistency?from=5&to=3")).status == 422
    assert (await lab.call("GET", "/v1/consistency?from=1&to=99")).status == 404
    assert (await lab.call("GET", "/v1/consistency?from=01&to=3")).status == 422
    assert (await lab.call("GET", "/v1/consistency?to=3")).status == 422


async def test_a_head_tells_an_agency_where_it_stands(lab: Lab, agency: Agency) -> None:
    path = "/v1/agencies/33.75/head"
    first = (await read(lab, agency.signer, path)).json
    assert (first["seq"], first["epoch"], first["manifest"], first["receipt"]) == (0, 1, None, None)
    assert first["digest"] == first["statement"] == agency.prev.b64u
    await agency.push_new(1)
    head = (await read(lab, agency.signer, path)).json
    assert (head["seq"], head["digest"], head["kid"]) == (1, agency.prev.b64u, agency.signer.kid)
    receipt = parse_receipt(head["receipt"].encode())
    verify_receipt(receipt, head["manifest"].encode(), [lab.vkey], ORIGIN)
    assert receipt.note == head["checkpoint"].encode()


async def test_an_agency_reads_its_sets_whole_and_their_receipts(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(3)
    await agency.push(change_set)
    path = "/v1/agencies/33.75/change-sets/1"
    answer = await read(lab, agency.signer, path)
    assert answer.headers["Content-Encoding"] == "zstd"
    parts = decode_body(answer.body, "zstd")
    assert (parts.head, parts.contents) == (change_set.head, change_set.contents)
    headers = {**signed(lab, agency.signer, path), "Accept-Encoding": "identity"}
    plain = await lab.call("GET", path, headers=headers)
    assert plain.body == change_set.text
    assert "Content-Encoding" not in plain.headers
    receipt = await read(lab, agency.signer, path + "/receipt")
    verify_receipt(parse_receipt(receipt.body), change_set.manifest.jws.text.encode(), [lab.vkey], ORIGIN)
    assert (await read(lab, agency.signer, "/v1/agencies/33.75/change-sets/2")).status == 404


async def test_verdicts_are_paged_by_seq(lab: Lab, agency: Agency) -> None:
    await agency.push_new(1)
    await agency.push_new([agency.change(agency.complaint(), "noted", rev=2)])
    await projected(lab)
    page = (await read(lab, agency.signer, "/v1/agencies/33.75/verdicts?from=1")).json
    assert [line["seq"] for line in page["sets"]] == [1, 2]
    assert page["sets"][0]["refused"] == []
    assert [(line["position"], line["verdict"]) for line in page["sets"][1]["refused"]] == [(0, "unknown_complaint")]
    assert page["next"] == 3
    assert (await read(lab, agency.signer, "/v1/agencies/33.75/verdicts?from=3")).json == {"sets": [], "next": 3}


async def test_a_complaint_is_shown_to_those_who_have_to_do_with_it(lab: Lab, agency: Agency) -> None:
    complaint = agency.complaint()
    await agency.push_new([agency.received(complaint), agency.change(complaint, "noted", rev=2)])
    await projected(lab)
    path = f"/v1/complaints/{complaint}"
    answer = (await read(lab, agency.signer, path)).json
    assert (answer["owner"], answer["state"], answer["rev"]) == ("33.75", "received", 2)
    assert answer["history"] == [{"index": 4, "position": 0}, {"index": 4, "position": 1}]
    assert (answer["as_of"]["size"], answer["as_of"]["age_s"]) == (5, 0)
    assert answer["duty"] == "verify"
    assert not [name for name in answer if name.startswith("clock") or name == "ids"]
    assert (await lab.call("GET", path, headers=await auditor(lab))).json["owner"] == "33.75"
    other = await lab.enrol("35.71")
    assert (await read(lab, other.signer, path)).status == 404


async def test_totals_are_as_of_a_log_size(lab: Lab, agency: Agency) -> None:
    await agency.push_new(2)
    await projected(lab)
    answer = (await lab.call("GET", "/v1/totals", headers=await auditor(lab))).json
    assert answer["as_of"]["size"] == 5
    assert answer["state_hash"].startswith("fold1:")
    assert answer["totals"]["applied/33.75//"] == 2


async def test_keys_and_statements_are_public(lab: Lab, agency: Agency) -> None:
    keys = (await lab.call("GET", "/v1/agencies/33.75/keys")).json["keys"]
    assert [(key["kid"], key["from_index"], key["until_index"]) for key in keys] == [(agency.signer.kid, 3, None)]
    await lab.hub.revoke(agency.code)
    keys = (await lab.call("GET", "/v1/agencies/33.75/keys")).json["keys"]
    assert keys[0]["until_index"] == 4
    statements = (await lab.call("GET", "/v1/agencies/33.75/statements")).json
    assert [line["index"] for line in statements] == [0, 1, 3, 4]  # with the rules
    for line in statements:
        receipt = parse_receipt(line["receipt"].encode())
        opened = verify_receipt(receipt, line["statement"].encode(), [lab.vkey], ORIGIN)
        assert (receipt.index, opened.checkpoint.size) == (line["index"], lab.hub.log.size)
    assert (await lab.call("GET", "/v1/agencies/99.99/keys")).status == 404
    strangers = (await lab.call("GET", "/v1/agencies/99.99/statements")).json
    assert [line["index"] for line in strangers] == [0, 1]  # what it needs to prove the log before it is enrolled
    listed = (await lab.call("GET", "/v1/agencies")).json
    assert [(line["agency"], line["seq"], line["kid"]) for line in listed] == [("33.75", 0, None)]
    assert listed[0]["troubles"]


async def test_more_bodies_than_the_hub_takes_at_once_are_told_to_come_back(tmp_path: Path) -> None:
    async with running_hub(tmp_path, requests_max=2) as lab:
        agency = await lab.enrol("33.75")
        change_set = agency.cut(50)
        answers = await asyncio.gather(*(agency.push(change_set) for _ in range(40)))
        assert {answer.status for answer in answers} <= {200, 201, 503}
        busy = [answer for answer in answers if answer.status == 503]
        assert busy
        assert {(answer.kind, answer.headers["Retry-After"]) for answer in busy} == {("busy", "1")}


async def test_a_body_that_comes_too_slowly_is_cut_off(tmp_path: Path) -> None:
    async with running_hub(tmp_path, body_timeout_s=0.2) as lab:
        agency = await lab.enrol("33.75")

        async def slow() -> AsyncIterator[bytes]:
            yield b"\x28"
            await asyncio.sleep(1)
            yield b"\xb5"

        answer = await agency.send(slow(), 1)
        assert (answer.status, answer.kind) == (503, "busy")


async def test_a_body_that_comes_slowly_but_keeps_coming_is_taken(tmp_path: Path) -> None:
    async with running_hub(tmp_path, body_timeout_s=0.3) as lab:
        agency = await lab.enrol("33.75")
        change_set = agency.cut(80)
        body = b"".join(compress_frames(change_set.head, change_set.contents))
        piece = len(body) // 8

        async def steady() -> AsyncIterator[bytes]:
            for place in range(0, len(body), piece):
                yield body[place : place + piece]
                await asyncio.sleep(0.08)

        assert len(body) > 4_096
        answer = await agency.send(steady(), 1)
        assert answer.status == 201


async def test_a_silent_agency_and_an_unprojected_one_show_in_the_status(tmp_path: Path) -> None:
    async with running_hub(tmp_path, projector=False) as lab:
        agency = await lab.enrol("33.75")
        await agency.push_new(1)
        lab.clock.at_ms += 27 * 3600 * 1000
        status = await lab.hub.status()
        line = status["agencies"][0]
        assert (line["lag"], line["age_s"]) == (1, 27 * 3600)
        assert line["troubles"] == ["silent for 27 hours"]
        assert status["projected_to"] == 0
        assert status["log"]["size"] == lab.hub.log.size


async def test_the_figures_for_prometheus_count_requests(lab: Lab, agency: Agency) -> None:
    await agency.push_new(1)
    text = (await lab.call("GET", "/metrics")).body.decode()
    route = 'route="PUT /v1/agencies/{agency}/change-sets/{seq}",status="201"'
    assert f"simpul_hub_requests_total{{{route}}} 1.0" in text
    assert "simpul_hub_log_size 5.0" in text


async def test_the_openapi_document_is_valid_and_names_every_route(lab: Lab) -> None:
    document = (await lab.call("GET", "/openapi.json")).json
    validate(document)
    assert document == hub_document()
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    routed = {(method, path.replace(":.+", "")) for method, path, _ in ROUTES}
    assert described == routed | {("GET", "/metrics"), ("GET", "/openapi.json")}


async def test_unknown_addresses_and_methods_are_problems(lab: Lab) -> None:
    assert (await lab.call("GET", "/nothing")).kind == "not-found"
    answer = await lab.call("DELETE", "/checkpoint")
    assert answer.status == 405
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert "GET" in answer.headers["Allow"]
    assert answer.json["next"] == "Use one of the methods that the header Allow names."
    assert (await lab.call("HEAD", "/checkpoint")).status == 200


async def test_bad_names_in_addresses_are_malformed(lab: Lab) -> None:
    assert (await lab.call("PUT", "/v1/agencies/33.75/change-sets/0", data=b"x")).status == 422
    assert (await lab.call("PUT", "/v1/agencies/UPPER/change-sets/1", data=b"x")).status == 422
    assert (await lab.call("PUT", "/v1/agencies/33.75/change-sets/1?from=x", data=b"x")).status == 422
    assert (await lab.call("GET", "/v1/complaints/nothing", headers=await auditor(lab))).status == 422


async def test_the_hub_serves_tls_of_its_own(lab: Lab, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    tls = server_tls((certificate, key))
    async with listening(build_app(lab.hub), "127.0.0.1", 0, tls=tls, options=RUNNER_OPTIONS) as url:
        assert url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with lab.session.get(url + "/v1/hub", ssl=trusted) as response:
            assert response.status == 200


async def test_plain_lines_of_a_set_split_into_its_parts(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(2)
    assert split_parts(change_set.text) == (change_set.head, change_set.contents)
    assert (await agency.send(change_set.text, 1, encoding=None)).status == 201
