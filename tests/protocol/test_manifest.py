"""Manifests: what is signed for a change set (protocol §4.2)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sync_protocol.errors import Refused
from sync_protocol.jws import sign_jws, verify_jws
from sync_protocol.limits import INTEGER_MAX, JWS_MAX_BYTES, SET_MAX_LEAVES
from sync_protocol.manifest import CHANGE_SET_TYP, parse_manifest, sign_manifest
from sync_protocol.merkle import EMPTY_ROOT
from sync_protocol.values import Digest, b64u_encode
from tests.protocol.set_samples import AT_MS, SIGNER, sample_manifest, sample_set

SPARE_BITS = "A" * 42 + "B"


def fields() -> dict[str, Any]:
    """The payload of the sample, as JSON."""
    decoded: dict[str, Any] = json.loads(sample_set().manifest.jws.payload)
    return decoded


def refusal_of(payload: dict[str, Any], typ: str = CHANGE_SET_TYP) -> Refused:
    with pytest.raises(Refused) as refused:
        parse_manifest(sign_jws(typ, payload, SIGNER))
    return refused.value


def test_a_signed_manifest_is_read_back_as_it_was() -> None:
    signed = sign_manifest(sample_manifest(), SIGNER)
    again = parse_manifest(signed.jws.text)
    assert again == signed
    assert again.manifest == sample_manifest()
    assert again.manifest.at == AT_MS
    assert again.digest == signed.jws.digest
    verify_jws(again.jws, SIGNER.public_key)


def test_signing_twice_gives_the_same_bytes() -> None:
    assert sign_manifest(sample_manifest(), SIGNER).jws.text == sign_manifest(sample_manifest(), SIGNER).jws.text


@pytest.mark.parametrize("member", sorted(fields()))
def test_every_member_is_needed(member: str) -> None:
    payload = fields()
    del payload[member]
    assert refusal_of(payload).kind == "malformed"


@pytest.mark.parametrize("member", ["root", "sig", "size"])
def test_every_member_of_seen_is_needed(member: str) -> None:
    payload = fields()
    del payload["seen"][member]
    refused = refusal_of(payload)
    assert (refused.kind, refused.where) == ("malformed", "seen")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("v", "1"),
        ("v", True),
        ("v", None),
        ("agency", "33.75/../x"),
        ("agency", "Kota"),
        ("agency", "a" * 65),
        ("agency", 33),
        ("epoch", 0),
        ("epoch", -1),
        ("epoch", "1"),
        ("epoch", True),
        ("seq", 0),
        ("seq", None),
        ("prev", SPARE_BITS),
        ("prev", "AA"),
        ("prev", 5),
        ("root", SPARE_BITS),
        ("root", "=" * 43),
        ("changes", -1),
        ("changes", 2),
        ("changes", 7),
        ("changes", False),
        ("size", 2),
        ("size", 7),
        ("size", "6"),
        ("at", "2026-01-03T10:31:12Z"),
        ("at", "2026-02-30T10:31:12.123Z"),
        ("at", "2026-01-03T10:31:60.000Z"),
        ("at", "2026-01-03T10:31:12.123+00:00"),
        ("at", 1767436272123),
        ("seen", None),
        ("seen", []),
        ("seen", {"root": SPARE_BITS, "sig": "A" * 86, "size": 1}),
        ("seen", {"root": "A" * 43, "sig": "A" * 85 + "B", "size": 1}),
        ("seen", {"root": "A" * 43, "sig": "A" * 84, "size": 1}),
        ("seen", {"root": "A" * 43, "sig": "A" * 86, "size": -1}),
    ],
)
def test_a_member_out_of_its_form_is_malformed(member: str, value: object) -> None:
    assert refusal_of(fields() | {member: value}).kind == "malformed"


def test_another_typ_is_no_manifest() -> None:
    assert refusal_of(fields(), "simpul-tick").kind == "malformed"


def test_another_version_is_named_as_such_with_those_that_are_spoken() -> None:
    refused = refusal_of(fields() | {"v": 2})
    assert (refused.kind, refused.members) == ("unsupported-version", {"versions": [1]})


def test_more_leaves_than_a_set_may_have_are_too_large() -> None:
    refused = refusal_of(fields() | {"changes": SET_MAX_LEAVES, "size": SET_MAX_LEAVES + 1})
    assert (refused.kind, refused.members) == ("too-large", {"limit": SET_MAX_LEAVES})


def test_counts_up_to_the_limits_are_read() -> None:
    payload = fields() | {"changes": 10_000, "size": 20_000, "epoch": INTEGER_MAX, "seq": INTEGER_MAX}
    assert parse_manifest(sign_jws(CHANGE_SET_TYP, payload, SIGNER)).manifest.size == 20_000


def test_a_heartbeat_has_the_root_of_the_empty_tree_and_nothing_else_has() -> None:
    empty = {"changes": 0, "size": 0}
    assert refusal_of(fields() | empty).kind == "malformed"
    heartbeat = parse_manifest(sign_jws(CHANGE_SET_TYP, fields() | empty | {"root": b64u_encode(EMPTY_ROOT)}, SIGNER))
    assert heartbeat.manifest.is_heartbeat
    assert not sample_manifest().is_heartbeat


def test_unknown_members_are_allowed_and_stay_in_the_signed_text() -> None:
    signed = parse_manifest(sign_jws(CHANGE_SET_TYP, fields() | {"later": {"x": 1}}, SIGNER))
    assert signed.jws.fields["later"] == {"x": 1}
    assert signed.manifest == sample_manifest()
    assert signed.digest != sample_set().manifest.digest


def test_a_manifest_that_contradicts_itself_cannot_be_made() -> None:
    manifest = sample_manifest()
    for wrong in ({"size": 1}, {"changes": 2}, {"size": 0, "changes": 0}, {"size": -1, "changes": -1}):
        with pytest.raises(Refused):
            replace(manifest, **wrong)  # type: ignore[arg-type]
    with pytest.raises(Refused):
        replace(manifest, seen_sig=b"short")


def test_a_node_cannot_sign_numbers_that_nobody_would_read() -> None:
    for wrong in ({"epoch": 0}, {"seq": 0}, {"seq": INTEGER_MAX + 1}, {"seen_size": -1}):
        with pytest.raises(Refused):
            sign_manifest(replace(sample_manifest(), **wrong), SIGNER)  # type: ignore[arg-type]


def test_the_longest_legal_manifest_fits_the_limit_with_room_to_spare() -> None:
    longest = replace(
        sample_manifest(),
        agency=type(sample_manifest().agency)("a" * 64),
        epoch=INTEGER_MAX,
        seq=INTEGER_MAX,
        prev=Digest(b"\xff" * 32),
        seen_size=INTEGER_MAX,
    )
    assert len(sign_manifest(longest, SIGNER).jws.text) < JWS_MAX_BYTES / 3
