"""Vectors that others made: Wycheproof's Ed25519 where it is at hand, and examples of RFC 7515 that must be refused.

The examples of RFC 8032, RFC 7515 A.1 and RFC 8037 A.4 are among our own vectors (tests/vectors/, test_ed25519.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_protocol.ed25519 import check_public_key, verify
from sync_protocol.errors import Refused
from sync_protocol.jws import parse_jws
from tests.protocol.test_ed25519 import RFC_8032, L

NAME = "wycheproof_ed25519_test.json"
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "vectors" / NAME
Case = tuple[str, str, str, bool]  # key, signature, message, whether it holds

#: RFC 7515 A.5 (unsecured) and A.6.4 (JSON serialization): forms that this protocol does not have.
FOREIGN_FORMS = (
    "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
    '{"payload":"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"}',
)


def own() -> Iterator[Case]:
    """RFC 8032 §7.1, and what Wycheproof is about made from it: cut, lengthened and malleable signatures."""
    for key, message, signature in RFC_8032:
        s = int.from_bytes(bytes.fromhex(signature[64:]), "little")
        yield key, signature, message, True
        yield key, signature[:-2], message, False
        yield key, signature + "00", message, False
        yield key, "", message, False
        yield key, signature[:64] + (s + L).to_bytes(32, "little").hex(), message, False
        yield key, signature[64:] + signature[:64], message, False
        yield key, signature, message + "00", False
        yield key, "00" * 64, message, False
        yield key, signature[:64] + "00" * 32, message, False


def outside() -> Iterator[Case]:
    """Wycheproof's, from the file that WYCHEPROOF_ED25519 names or that lies beside the project."""
    path = Path(os.environ.get("WYCHEPROOF_ED25519", BESIDE))
    if path.is_file():
        for group in json.loads(path.read_text(encoding="utf-8"))["testGroups"]:
            for case in group["tests"]:
                yield group["publicKey"]["pk"], case["sig"], case["msg"], case["result"] == "valid"


@pytest.mark.parametrize("source", [own, outside])
def test_the_verdict_on_every_vector_is_the_one_of_its_makers(source: object) -> None:
    assert callable(source)
    wrong = [case for case in source() if holds(*case[:3]) is not case[3]]
    assert wrong == []


def holds(key: str, signature: str, message: str) -> bool:
    try:
        check_public_key(bytes.fromhex(key))
        verify(bytes.fromhex(key), bytes.fromhex(signature), bytes.fromhex(message))
    except Refused:
        return False
    return True


@pytest.mark.parametrize("text", FOREIGN_FORMS)
def test_forms_of_jws_that_the_protocol_does_not_have_are_malformed(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_jws(text)
    assert caught.value.kind == "malformed"
