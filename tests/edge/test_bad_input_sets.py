"""Sets that mean nothing, say two things or are too much: signed by an outsider, sent to a hub in its own process.

What each single fault in a set is answered with is in test_hub_attacks.py; here is what becomes of it (issue 2).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sync_protocol.compression import compress_frames, compress_part
from sync_protocol.limits import SET_MAX_BYTES, WIRE_MAX_BYTES
from sync_protocol.values import b64u_encode
from tests.edge.outsider import Outsider, Said, change_line
from tests.edge.whole_way import HubDirectory, serving_hub

BODIES_AT_ONCE = 16
PEAK_GROWTH_MAX_MIB = 400  # 96 MiB of bodies at once, copies and lines of those at work, and what the allocator keeps
FLAT_MIB = 80  # the second wave finds what the first one left


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubDirectory]:
    with serving_hub(tmp_path) as running:
        yield running


def test_other_content_for_an_accepted_place_is_kept_as_evidence_and_shown_by_status_and_audit(
    hub: HubDirectory, tmp_path: Path
) -> None:
    kediri = Outsider.enrol(hub, "35.71")
    first, second = (kediri.cut([kediri.received(kediri.complaint())]) for _ in range(2))
    assert kediri.push(first).status == 201
    for _ in range(2):
        said = kediri.push(second)
        assert (said.status, said.kind, said.body["manifest"]) == (409, "forked", first.manifest.jws.text)
    assert kediri.push(kediri.cut([kediri.received(kediri.complaint())])).status == 201
    status = hub.status()
    (fork,) = status["forks"]
    assert fork["manifests"] == [first.manifest.jws.text, second.manifest.jws.text]
    assert [line["troubles"] for line in status["agencies"]] == [["forked at epoch 1 seq 1"]]
    report = hub.audit_export(tmp_path / "export", code=1)
    assert [(found["kind"], found["agency"], found["seq"]) for found in report["findings"]] == [("fork", "35.71", 1)]
    assert (report["complaints"], report["complete"]) == (2, True)


def test_a_gap_is_answered_with_what_is_expected(hub: HubDirectory) -> None:
    kediri = Outsider.enrol(hub, "35.71")
    assert kediri.push(kediri.cut([kediri.received(kediri.complaint())])).status == 201
    size = hub.size
    said = kediri.push(kediri.cut([kediri.received(kediri.complaint())], seq=4))
    assert (said.status, said.kind) == (409, "behind")
    assert (said.body["expected_seq"], said.body["head_digest"], said.body["head_epoch"]) == (2, kediri.prev.b64u, 1)
    assert hub.size == size


def test_what_has_no_meaning_is_refused_by_the_fold_with_its_reason_and_the_rest_applies(
    hub: HubDirectory, tmp_path: Path
) -> None:
    kediri, padang = Outsider.enrol(hub, "35.71"), Outsider.enrol(hub, "13.71")
    ours, theirs = kediri.complaint(), padang.complaint()
    assert padang.push(padang.cut([padang.received(theirs)])).status == 201
    verified = {"class": "aspiration"}
    with_nik = kediri.received(kediri.complaint(), category="jalan").replace(b'"jalan"', b'"3571012345678901"')
    words = kediri.received(kediri.complaint(), category="jalan").replace(b'"jalan"', b'"Bu_Sri,_rumah_biru"')
    lines = [
        kediri.received(ours),
        change_line(ours, "noted", rev=2).replace(b'"type":"noted"', b'"type":"praised"'),
        change_line(ours, "verified", verified, rev=1),
        change_line(theirs, "verified", verified, rev=2),
        change_line(ours, "closed", {"by": "officer", "reason": "done"}, rev=2),
        change_line(kediri.complaint(), "noted", rev=1),
        kediri.received(padang.complaint()),
        kediri.received(ours),
        with_nik,
        words,
        b'{"not":"a_change"}',
        change_line(ours, "verified", verified, rev=3),
    ]
    assert kediri.push(kediri.cut(lines)).status == 201
    export = hub.export(tmp_path / "export")
    report = hub.audit(export)
    assert (report["findings"], report["changes"], report["complaints"], report["refused"]) == ([], 13, 2, 10)
    assert report["by_state"] == {"verified": 1, "received": 1}
    totals = json.loads((export / "hub.json").read_text())["totals"]
    refused = {key.split("/")[2]: count for key, count in totals.items() if key.startswith("refused/35.71/")}
    once = ("unknown_type", "wrong_rev", "not_owner", "bad_transition", "unknown_complaint", "foreign_id")
    assert refused == dict.fromkeys((*once, "already_exists"), 1) | {"malformed": 3}
    assert totals["applied/35.71//"] == 2


def test_bytes_that_no_line_may_hold_are_refused_at_the_intake(hub: HubDirectory) -> None:
    kediri = Outsider.enrol(hub, "35.71")
    size = hub.size
    good = kediri.cut([kediri.received(kediri.complaint())])
    for old, new in ((b"sms", "s\u00e9".encode()), (b"sms", b"s s"), (b"sms", b"s\rs"), (b"sms", b"s\x00s")):
        body = b"".join(compress_frames(good.head.replace(old, new, 1), good.contents))
        said = kediri.send(body)
        assert (said.status, said.kind) == (422, "malformed")
    long = compress_part(good.head.replace(b"sms", b"s" * 2_100, 1)) + compress_part(good.contents)
    said = kediri.send(long)
    assert (said.status, said.kind, said.body["limit"]) == (413, "too-large", 2_048)
    assert hub.size == size


def test_a_manifest_that_says_a_thing_twice_is_malformed_though_it_is_signed(hub: HubDirectory) -> None:
    kediri = Outsider.enrol(hub, "35.71")
    good = kediri.cut([kediri.received(kediri.complaint())])
    header, payload, _ = good.manifest.jws.text.split(".")
    twice = b64u_encode(good.manifest.jws.payload.replace(b'{"', b'{"v":1,"', 1))
    assert twice != payload
    signature = kediri.signer.sign(f"{header}.{twice}".encode())
    text = f"{header}.{twice}.{b64u_encode(signature)}"
    head = good.head.replace(good.manifest.jws.text.encode(), text.encode())
    said = kediri.send(b"".join(compress_frames(head, good.contents)))
    assert (said.status, said.kind) == (422, "malformed")
    assert kediri.push(good).status == 201


def hostile_bodies(head: bytes) -> dict[str, Callable[[Outsider], Said]]:
    """Each wants as much memory as it can get, and its answer."""
    bomb = compress_part(head + bytes(SET_MAX_BYTES))
    many_bombs = compress_part(head) + compress_part(bytes(64 * SET_MAX_BYTES))
    gzip_bomb = gzip.compress(head + bytes(4 * SET_MAX_BYTES))
    heavy = head + b"x" * (WIRE_MAX_BYTES - len(head) - 1) + b"\n"
    return {
        "zstd bomb": lambda outsider: outsider.send(bomb),
        "zstd bomb in the second frame": lambda outsider: outsider.send(many_bombs),
        "gzip bomb": lambda outsider: outsider.send(gzip_bomb, encoding="gzip"),
        "body over the limit": lambda outsider: outsider.send(bytes(WIRE_MAX_BYTES + 1), encoding=None),
        "one line of 16 MiB": lambda outsider: outsider.send(heavy, encoding=None),
    }


def test_whatever_is_thrown_at_it_the_hub_answers_and_its_memory_stays_bounded(hub: HubDirectory) -> None:
    kediri = Outsider.enrol(hub, "35.71")
    assert kediri.push(kediri.cut([kediri.received(kediri.complaint()) for _ in range(50)])).status == 201
    assert hub.server is not None
    size, peaks = hub.size, [hub.server.peak_mib]
    bodies = hostile_bodies(kediri.cut([kediri.received(kediri.complaint())]).head)
    for _ in range(2):
        for name, send in bodies.items():
            throw(send, kediri, name)
        peaks.append(hub.server.peak_mib)
    print("peaks in MiB:", [round(peak) for peak in peaks])
    assert peaks[1] - peaks[0] < PEAK_GROWTH_MAX_MIB
    assert peaks[-1] - peaks[1] < FLAT_MIB
    assert hub.size == size
    assert kediri.push(kediri.cut([kediri.received(kediri.complaint())])).status == 201


def throw(send: Callable[[Outsider], Said], outsider: Outsider, name: str) -> None:
    """Many at once; each is answered with its reason or asked to come back."""
    with ThreadPoolExecutor(BODIES_AT_ONCE) as callers:
        answers = list(callers.map(lambda _: try_to(send, outsider), range(BODIES_AT_ONCE)))
    kinds = {answer.kind for answer in answers if answer is not None}
    assert kinds <= {"too-large", "malformed", "busy"}, name
    assert kinds - {"busy"}, name


def try_to(send: Callable[[Outsider], Said], outsider: Outsider) -> Said | None:
    """None where the hub answered and closed while the body was still on its way."""
    try:
        return send(outsider)
    except (ConnectionError, BrokenPipeError):
        return None
