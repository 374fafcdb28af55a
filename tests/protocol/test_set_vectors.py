"""The vectors of JWS and change sets: every file gives what it says, and is what its generator writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sync_protocol import ed25519
from sync_protocol.change_set import parse_change_set, verify_lines
from sync_protocol.compression import decode_body
from sync_protocol.errors import Refused
from sync_protocol.excerpt import parse_excerpt
from sync_protocol.jws import parse_jws, verify_jws
from tests.vectors.make_sets import SUBJECTS, all_vectors
from tests.vectors.vector_files import Vector, load

Given = Mapping[str, Any]


def data_of(given: Given, member: str) -> bytes:
    return given[member].encode() if member in given else bytes.fromhex(given[f"{member}_hex"])


def read_jws(given: Given) -> dict[str, Any]:
    jws = parse_jws(given["jws"])
    verify_jws(jws, bytes.fromhex(given["public_key_hex"]))
    return {"typ": jws.typ, "kid": jws.kid, "digest": jws.digest.b64u, "payload": jws.payload.decode()}


def read_lines(given: Given, body: bytes, encoding: str) -> dict[str, Any]:
    """As intake does; the signature is judged before the lines."""
    parts = decode_body(body, encoding)
    change_set = parse_change_set(parts.head, parts.contents)
    verify_jws(change_set.manifest.jws, bytes.fromhex(given["public_key_hex"]))
    lines = verify_lines(change_set)
    return {
        "root_hex": change_set.manifest.manifest.root.hex(),
        "changes": len(lines.change_lines),
        "size": change_set.manifest.manifest.size,
        "hidden_leaves": lines.hidden_leaves,
    }


def read_excerpt(given: Given) -> dict[str, Any]:
    excerpt = parse_excerpt(data_of(given, "excerpt"))
    verify_jws(excerpt.manifest.jws, bytes.fromhex(given["public_key_hex"]))
    return {"lines": {str(index): line.decode() for index, line in excerpt.lines.items()}}


def read_signature(given: Given) -> dict[str, Any]:
    ed25519.verify(*(bytes.fromhex(given[f"{member}_hex"]) for member in ("public_key", "signature", "message")))
    return {}


OPERATIONS: dict[str, Callable[[Given], dict[str, Any]]] = {
    "verify-jws": read_jws,
    "verify-signature": read_signature,
    "verify-change-set": lambda given: read_lines(given, data_of(given, "set"), "identity"),
    "verify-body": lambda given: read_lines(given, data_of(given, "body"), given["encoding"]),
    "verify-excerpt": read_excerpt,
}


@pytest.mark.parametrize("vector", load(*SUBJECTS), ids=lambda vector: f"{vector.subject}/{vector.name}")
def test_a_vector_gives_what_it_says(vector: Vector) -> None:
    try:
        outcome: dict[str, Any] = {"accept": OPERATIONS[vector.operation](vector.given)}
    except Refused as refused:
        outcome = {"refuse": refused.kind}
    assert outcome == vector.expect


def test_the_files_are_those_that_the_generator_writes() -> None:
    """Of compressed bodies only the names: another version of a compressor may spell them otherwise."""
    made = {vector.path: vector for vector in all_vectors()}
    assert {vector.path for vector in load(*SUBJECTS)} == set(made)
    for path, vector in made.items():
        if vector.operation != "verify-body":
            assert path.read_text("utf-8") == vector.text(), path
