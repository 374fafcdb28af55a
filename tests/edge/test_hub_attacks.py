"""Bad submissions to the hub, each with its own answer, and nothing stored (issue table "Bad input", protocol §8)."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.hub.log import HubLog
from sync_protocol.change_set import ChangeSet, hide_contents
from sync_protocol.compression import compress_frames, compress_part
from sync_protocol.jws import Jws, parse_jws, sign_jws
from sync_protocol.limits import SET_MAX_BYTES, WIRE_MAX_BYTES
from sync_protocol.manifest import parse_manifest
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import Digest
from tests.edge.hub_lab import Agency, Lab, projected, running_hub


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_hub(tmp_path) as running:
        await running.enrol("33.75")
        yield running


@pytest.fixture
def agency(lab: Lab) -> Agency:
    return lab.agencies["33.75"]


async def rows(log: HubLog) -> tuple[int, int]:
    """Log size and number of sets: what must not move."""
    newest = await log.store.newest_checkpoint()
    assert newest is not None
    return newest.size, sum((await log.store.sets_after(0)).values())


async def refused(lab: Lab, answer: Any, status: int, kind: str) -> None:
    assert (answer.status, answer.kind) == (status, kind), answer.body
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json["next"]
    assert lab.hub.log.size == 4
    assert await rows(lab.hub.log) == (4, 0)


def wire(change_set: ChangeSet) -> bytes:
    return b"".join(compress_frames(change_set.head, change_set.contents))


def with_manifest(change_set: ChangeSet, text: str) -> bytes:
    """The set under another manifest text."""
    head = b'{"manifest":"%b"}\n' % text.encode() + change_set.change_block
    return compress_part(head) + compress_part(change_set.contents)


async def test_a_thousand_repeats_at_once_get_one_index_and_the_log_grows_by_one(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(3)
    size = lab.hub.log.size
    answers = await asyncio.gather(*(push_patiently(agency, change_set) for _ in range(1_000)))
    assert {answer.json["index"] for answer in answers} == {size}
    assert sorted({answer.status for answer in answers}) == [200, 201]
    assert sum(answer.status == 201 for answer in answers) == 1
    assert lab.hub.log.size == size + 1
    assert await rows(lab.hub.log) == (size + 1, 1)


async def push_patiently(agency: Agency, change_set: ChangeSet) -> Any:
    while True:
        answer = await agency.push(change_set)
        if answer.status != 503:
            return answer
        assert answer.kind == "busy"
        await asyncio.sleep(0.05)


async def test_other_content_for_an_accepted_seq_is_forked_and_both_manifests_are_kept(
    lab: Lab, agency: Agency
) -> None:
    first, second = agency.cut(1), agency.cut(2)
    assert (await agency.push(first)).status == 201
    for _ in range(3):
        answer = await agency.push(second)
        assert (answer.status, answer.kind) == (409, "forked")
        assert answer.json["manifest"] == first.manifest.jws.text
    statements = await lab.hub.store.statements()
    assert [statement.typ for statement in statements].count("simpul-fork") == 1
    status = await lab.hub.status()
    assert status["forks"][0]["manifests"] == [first.manifest.jws.text, second.manifest.jws.text]
    assert status["forks"][0]["index"] == statements[-1].index
    assert any("forked" in trouble for trouble in status["agencies"][0]["troubles"])
    assert status["agencies"][0]["seq"] == 1


async def test_two_histories_at_once_leave_one_accepted_and_one_as_evidence(lab: Lab, agency: Agency) -> None:
    answers = await asyncio.gather(agency.push(agency.cut(1)), agency.push(agency.cut(2)))
    assert sorted(answer.status for answer in answers) == [201, 409]
    assert len(await lab.hub.store.forks()) == 1


async def test_an_accepted_seq_cut_again_in_a_higher_epoch_is_forked_and_kept(lab: Lab, agency: Agency) -> None:
    assert (await agency.push(agency.cut(1))).status == 201
    answer = await agency.push(agency.cut(2, epoch=2))
    assert (answer.status, answer.kind) == (409, "forked")
    assert [fork.statement_index for fork in await lab.hub.store.forks()] == [None]


async def test_a_gap_is_behind_with_what_is_expected(lab: Lab, agency: Agency) -> None:
    answer = await agency.push(agency.cut(1, seq=3))
    await refused(lab, answer, 409, "behind")
    assert answer.json["expected_seq"] == 1
    assert answer.json["head_epoch"] == 1
    assert answer.json["head_digest"] == agency.prev.b64u


async def test_another_predecessor_is_forked_with_the_heads_manifest(lab: Lab, agency: Agency) -> None:
    await agency.push_new(1)
    answer = await agency.push(agency.cut(1, prev=Digest(b"x" * 32)))
    assert (answer.status, answer.kind) == (409, "forked")
    head = lab.hub.log.heads["33.75"]
    assert head.manifest is not None
    assert answer.json["manifest"] == head.manifest.jws.text


async def test_an_epoch_below_the_heads_is_superseded(lab: Lab, agency: Agency) -> None:
    agency.epoch = 5
    await agency.push_new(1)
    answer = await agency.push(agency.cut(1, epoch=4))
    assert (answer.status, answer.kind) == (409, "superseded")
    assert (answer.json["head_epoch"], answer.json["head_seq"]) == (5, 1)


async def test_an_unknown_key_is_refused(lab: Lab, agency: Agency) -> None:
    await refused(lab, await agency.push(agency.cut(1, signer=lab.new_key())), 403, "unknown-key")


async def test_another_agencys_key_is_refused(lab: Lab, agency: Agency) -> None:
    other = await lab.enrol("35.71")
    answer = await agency.push(agency.cut(1, signer=other.signer))
    assert (answer.status, answer.kind) == (403, "wrong-agency")
    assert await rows(lab.hub.log) == (5, 0)


async def test_an_agency_that_is_not_enrolled_is_refused(lab: Lab) -> None:
    stranger = Agency(lab, lab.agencies["33.75"].code.__class__("13.71"), lab.new_key())
    await refused(lab, await stranger.push(stranger.cut(1)), 403, "unknown-agency")


async def test_a_revoked_key_is_refused_but_its_accepted_sets_are_still_repeats(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(1)
    assert (await agency.push(change_set)).status == 201
    agency.took(change_set)
    await lab.hub.revoke(agency.code)
    answer = await agency.push(agency.cut(1))
    assert (answer.status, answer.kind) == (403, "revoked-key")
    again = await agency.push(change_set)
    assert (again.status, again.json["index"]) == (200, 4)


async def test_a_set_sent_to_another_address_is_refused(lab: Lab, agency: Agency) -> None:
    body = wire(agency.cut(1))
    await refused(lab, await agency.send(body, 2), 422, "malformed")
    answer = await lab.call("PUT", "/v1/agencies/35.71/change-sets/1", data=body, headers={"Content-Encoding": "zstd"})
    await refused(lab, answer, 403, "wrong-agency")


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


async def test_a_flipped_bit_anywhere_is_refused_and_nothing_is_stored(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(2)
    text = change_set.text
    places = [*range(0, len(text), 41), text.index(b"\n") + 5, len(text) - 3]
    for place in places:
        answer = await agency.send(flipped(text, place), 1, encoding=None)
        assert answer.status in {403, 404, 409, 422, 503}, (place, answer.body)
        assert answer.json["type"].startswith("urn:simpul:problem:")
    assert await rows(lab.hub.log) == (4, 0)
    assert (await agency.push(change_set)).status == 201


async def test_swapped_and_missing_lines_are_root_mismatch_or_malformed(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(3)
    manifest, first, second, third = change_set.head.splitlines(keepends=True)
    swapped = compress_part(manifest + second + first + third) + compress_part(change_set.contents)
    await refused(lab, await agency.send(swapped, 1), 422, "root-mismatch")
    missing = compress_part(manifest + first + second) + compress_part(change_set.contents)
    await refused(lab, await agency.send(missing, 1), 422, "malformed")


def forged(jws: Jws, header: bytes) -> str:
    """The same payload and signature under another header."""
    from sync_protocol.values import b64u_encode

    _, payload, signature = jws.text.split(".")
    return f"{b64u_encode(header)}.{payload}.{signature}"


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"none","kid":"%s","typ":"simpul-change-set"}',
        b'{"alg":"HS256","kid":"%s","typ":"simpul-change-set"}',
        b'{"alg":"EdDSA","crit":["b64"],"kid":"%s","typ":"simpul-change-set"}',
        b'{"alg":"EdDSA","jwk":{},"kid":"%s","typ":"simpul-change-set"}',
        b'{"alg":"EdDSA","alg":"EdDSA","kid":"%s","typ":"simpul-change-set"}',
    ],
    ids=["alg-none", "alg-hs256", "crit", "jwk", "duplicate-key"],
)
async def test_a_foreign_header_is_malformed(lab: Lab, agency: Agency, header: bytes) -> None:
    change_set = agency.cut(1)
    text = forged(change_set.manifest.jws, header % agency.signer.kid.encode())
    await refused(lab, await agency.send(with_manifest(change_set, text), 1), 422, "malformed")


async def test_base64url_that_is_not_canonical_is_malformed(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(1)
    text = change_set.manifest.jws.text
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spelled = text[:-1] + alphabet[alphabet.index(text[-1]) | 1]
    assert spelled != text
    await refused(lab, await agency.send(with_manifest(change_set, spelled), 1), 422, "malformed")


async def test_a_foreign_signature_under_the_right_key_is_bad_signature(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(1)
    other = sign_jws("simpul-change-set", change_set.manifest.jws.payload, lab.new_key())
    header, payload, _ = change_set.manifest.jws.text.split(".")
    text = f"{header}.{payload}.{other.text.split('.')[2]}"
    await refused(lab, await agency.send(with_manifest(change_set, text), 1), 403, "bad-signature")


async def test_a_checkpoint_that_the_log_never_signed_is_malformed(lab: Lab, agency: Agency) -> None:
    answer = await agency.push(agency.cut(1, seen_sig=bytes(64)))
    await refused(lab, answer, 422, "malformed")
    assert answer.json["where"] == "seen"


async def test_a_repeat_with_another_spelling_of_the_signature_is_the_same_set(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(1)
    assert (await agency.push(change_set)).status == 201
    header, payload, _ = change_set.manifest.jws.text.split(".")
    again = with_manifest(change_set, f"{header}.{payload}.{'A' * 86}")
    answer = await agency.send(again, 1)
    assert (answer.status, answer.json["index"]) == (200, 4)
    assert (await lab.hub.store.entries(4, 5)) == [change_set.manifest.jws.text.encode()]


async def test_bombs_and_oversized_bodies_are_too_large(lab: Lab, agency: Agency) -> None:
    bomb = compress_part(agency.cut(1).head + b" " * (SET_MAX_BYTES + 1))
    await refused(lab, await agency.send(bomb, 1), 413, "too-large")
    squeezed = gzip.compress(agency.cut(1).text + b" " * (SET_MAX_BYTES + 1))
    await refused(lab, await agency.send(squeezed, 1, encoding="gzip"), 413, "too-large")


async def test_a_body_that_is_announced_too_large_is_refused_before_it_is_read(lab: Lab, agency: Agency) -> None:
    answer = await agency.send(io.BytesIO(bytes(WIRE_MAX_BYTES + 1)), 1)
    await refused(lab, answer, 413, "too-large")
    assert answer.json["limit"] == WIRE_MAX_BYTES


async def test_of_an_endless_body_only_the_beginning_is_read_before_it_is_judged(lab: Lab, agency: Agency) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1024 * 1024)

    try:
        answer = await agency.send(endless(), 1)
    except ConnectionError:
        return  # the hub answered and closed while we were still sending
    await refused(lab, answer, 422, "malformed")


async def test_other_encodings_are_unsupported(lab: Lab, agency: Agency) -> None:
    await refused(lab, await agency.send(b"x", 1, encoding="br"), 415, "unsupported-encoding")


@pytest.mark.parametrize("encoding", ["gzip", None, "identity"])
async def test_gzip_and_plain_bodies_are_read(lab: Lab, agency: Agency, encoding: str | None) -> None:
    change_set = agency.cut(3)
    body = gzip.compress(change_set.text) if encoding == "gzip" else change_set.text
    assert (await agency.send(body, 1, encoding=encoding)).status == 201
    agency.took(change_set)
    await agency.push_new(1)


@pytest.mark.parametrize("garbage", [b"", b"\x00", b"{}", b"\x28\xb5\x2f\xfd", b"\xff" * 300])
async def test_garbage_is_malformed(lab: Lab, agency: Agency, garbage: bytes) -> None:
    await refused(lab, await agency.send(garbage, 1), 422, "malformed")
    await refused(lab, await agency.send(garbage, 1, encoding=None), 422, "malformed")


async def test_a_line_with_a_carriage_return_or_not_utf8_is_malformed(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(1)
    for contents in (change_set.contents.replace(b"Jalan", b"Jal\rn"), change_set.contents.replace(b"Jalan", b"\xff")):
        body = compress_part(change_set.head) + compress_part(contents)
        await refused(lab, await agency.send(body, 1), 422, "malformed")


async def test_an_unknown_version_is_named(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(1)
    fields = {**change_set.manifest.jws.fields, "v": 2}
    text = sign_jws("simpul-change-set", fields, agency.signer).text
    answer = await agency.send(with_manifest(change_set, text), 1)
    await refused(lab, answer, 422, "unsupported-version")
    assert answer.json["versions"] == [1]


async def test_a_fault_in_the_lines_is_told_only_after_what_comes_before_it(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(2, seq=7)
    damaged = compress_part(change_set.head) + compress_part(change_set.contents.replace(b"Jalan", b"Jalen"))
    await refused(lab, await agency.send(damaged, 7), 409, "behind")


async def test_stripped_content_is_accepted_and_completed_by_a_repeat_that_shows_it(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(4)
    stripped = replace(change_set, contents=hide_contents(change_set))
    answer = await agency.push(stripped)
    assert (answer.status, answer.json["hidden"]) == (201, 4)
    partly = replace(change_set, contents=hide_contents(change_set, {_content_leaf(change_set, 2)}))
    answer = await agency.push(partly)
    assert (answer.status, answer.json["hidden"]) == (200, 1)
    assert (await agency.push(stripped)).json["hidden"] == 1
    assert (await agency.push(change_set)).json["hidden"] == 0
    parts = await lab.hub.store.set_parts(4)
    assert parts is not None
    from sync_protocol.compression import decompress_part

    assert decompress_part(parts[1]) == change_set.contents


def _content_leaf(change_set: ChangeSet, number: int) -> bytes:
    return leaf_hash(change_set.contents.split(b"\n")[number])


async def test_a_repeat_that_shows_false_content_changes_nothing(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(2)
    stripped = replace(change_set, contents=hide_contents(change_set))
    assert (await agency.push(stripped)).status == 201
    false = replace(change_set, contents=change_set.contents.replace(b"Jalan", b"Jalen"))
    answer = await agency.push(false)
    assert (answer.status, answer.kind) == (422, "root-mismatch")
    assert (await agency.push(stripped)).json["hidden"] == 2


async def test_many_complete_the_same_set_at_once(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(8)
    stripped = replace(change_set, contents=hide_contents(change_set))
    assert (await agency.push(stripped)).json["hidden"] == 8
    leaves = [_content_leaf(change_set, number) for number in range(8)]
    partial = [replace(change_set, contents=hide_contents(change_set, set(leaves) - {leaf})) for leaf in leaves]
    await asyncio.gather(*(push_patiently(agency, one) for one in partial))
    assert (await agency.push(stripped)).json["hidden"] == 0


async def test_meaningless_changes_are_in_the_log_and_refused_by_the_fold(lab: Lab, agency: Agency) -> None:
    complaint = agency.complaint()
    lines = [
        agency.received(complaint),
        agency.change(complaint, "closed", {"by": "officer", "reason": "done"}, rev=2),
        agency.change(complaint, "verified", {"class": "aspiration"}, rev=1),
        agency.change(complaint, "noted", rev=5).replace(b'"type":"noted"', b'"type":"praised"'),
        b"free~text",
        agency.change(complaint, "noted", rev=3),
    ]
    await agency.push_new(lines)
    await projected(lab)
    refused_changes = await lab.hub.projection.refused("33.75", 1, 1)
    assert [(change.position, change.verdict) for change in refused_changes] == [(1, 14), (2, 13), (3, 3), (4, 2)]
    _, totals = await lab.hub.projection.totals()
    assert totals["applied/33.75//"] == 2


async def test_the_database_of_a_hub_that_was_attacked_still_audits(lab: Lab, agency: Agency) -> None:
    await agency.push_new(2)
    await agency.push(agency.cut(1, signer=lab.new_key()))
    assert parse_manifest(parse_jws((await lab.hub.store.entries(4, 5))[0])).manifest.seq == 1
    before, after = await lab.hub.rebuild()
    assert before == after
