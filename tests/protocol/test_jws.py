"""The one form of a JWS (protocol §4.1), attacked."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_protocol import ed25519
from sync_protocol.errors import Refused
from sync_protocol.jws import parse_jws, sign_jws, verify_jws
from sync_protocol.limits import JWS_MAX_BYTES
from sync_protocol.values import b64u_decode, b64u_encode
from tests.protocol.log_samples import FixedSigner
from tests.protocol.set_samples import SIGNER, header_of, raw_jws, valid_jws

KID = SIGNER.kid
OTHER = FixedSigner("other agency")

HEADERS: dict[str, str] = {
    "alg none": f'{{"alg":"none","kid":"{KID}","typ":"x"}}',
    "alg HS256 with the public key as secret": f'{{"alg":"HS256","kid":"{KID}","typ":"x"}}',
    "alg ES256": f'{{"alg":"ES256","kid":"{KID}","typ":"x"}}',
    "alg in lower case": f'{{"alg":"eddsa","kid":"{KID}","typ":"x"}}',
    "alg as a list": f'{{"alg":["EdDSA"],"kid":"{KID}","typ":"x"}}',
    "no alg": f'{{"kid":"{KID}","typ":"x"}}',
    "no kid": '{"alg":"EdDSA","typ":"x"}',
    "no typ": f'{{"alg":"EdDSA","kid":"{KID}"}}',
    "crit": f'{{"alg":"EdDSA","crit":["exp"],"kid":"{KID}","typ":"x"}}',
    "empty crit": f'{{"alg":"EdDSA","crit":[],"kid":"{KID}","typ":"x"}}',
    "b64": f'{{"alg":"EdDSA","b64":false,"kid":"{KID}","typ":"x"}}',
    "jwk": f'{{"alg":"EdDSA","jwk":{{"kty":"OKP"}},"kid":"{KID}","typ":"x"}}',
    "jku": f'{{"alg":"EdDSA","jku":"https://evil.example/k","kid":"{KID}","typ":"x"}}',
    "x5c": f'{{"alg":"EdDSA","kid":"{KID}","typ":"x","x5c":[]}}',
    "x5u": f'{{"alg":"EdDSA","kid":"{KID}","typ":"x","x5u":"https://evil.example"}}',
    "x5t": f'{{"alg":"EdDSA","kid":"{KID}","typ":"x","x5t":"AA"}}',
    "cty": f'{{"alg":"EdDSA","cty":"json","kid":"{KID}","typ":"x"}}',
    "unknown member": f'{{"alg":"EdDSA","kid":"{KID}","typ":"x","note":1}}',
    "duplicate alg": f'{{"alg":"none","alg":"EdDSA","kid":"{KID}","typ":"x"}}',
    "duplicate kid by escape": f'{{"alg":"EdDSA","kid":"{KID}","k\\u0069d":"{OTHER.kid}","typ":"x"}}',
    "kid as a number": '{"alg":"EdDSA","kid":7,"typ":"x"}',
    "kid too short": f'{{"alg":"EdDSA","kid":"{KID[:-1]}","typ":"x"}}',
    "kid with spare bits": f'{{"alg":"EdDSA","kid":"{"A" * 42}B","typ":"x"}}',
    "kid that is a path": '{"alg":"EdDSA","kid":"../../../../../../../../../../../etc/passw","typ":"x"}',
    "typ as a number": f'{{"alg":"EdDSA","kid":"{KID}","typ":1}}',
    "empty typ": f'{{"alg":"EdDSA","kid":"{KID}","typ":""}}',
    "typ with a line feed": f'{{"alg":"EdDSA","kid":"{KID}","typ":"x\\n"}}',
    "typ too long": f'{{"alg":"EdDSA","kid":"{KID}","typ":"{"x" * 65}"}}',
    "header is a list": "[]",
    "header is not JSON": "alg=EdDSA",
    "byte order mark": "\ufeff" + header_of(),
    "empty header": "",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_well_signed_jws_with_this_header_is_malformed(name: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_jws(raw_jws(HEADERS[name].encode(), b"{}"))
    assert refused.value.kind == "malformed"


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b"not json", b'{"a":1,"a":2}', b'{"a":1.5}', b"\xff{}", b'{"a":{"a":{"a":{"a":{}}}}}'],
)
def test_a_payload_that_is_no_strict_object_is_malformed(payload: bytes) -> None:
    with pytest.raises(Refused) as refused:
        parse_jws(raw_jws(header_of().encode(), payload))
    assert refused.value.kind == "malformed"


def respelled() -> dict[str, str]:
    """The valid JWS, spelled in ways that lenient readers accept."""
    text = valid_jws().text
    header, payload, signature = text.split(".")
    return {
        "leading blank": " " + text,
        "trailing line feed": text + "\n",
        "blank after a dot": f"{header}. {payload}.{signature}",
        "line feed inside": f"{header[:9]}\n{header[9:]}.{payload}.{signature}",
        "tab": f"{header}.{payload}\t.{signature}",
        "padded header": f"{header}{'=' * (-len(header) % 4) or '===='}.{payload}.{signature}",
        "padded payload": f"{header}.{payload}{'=' * (-len(payload) % 4) or '===='}.{signature}",
        "padded signature": f"{header}.{payload}.{signature}==",
        "standard base64 alphabet": f"{header}.{payload}.{'+' + signature[1:]}",
        "two parts": f"{header}.{payload}",
        "empty signature": f"{header}.{payload}.",
        "four parts": f"{text}.",
        "five parts, as encryption has": f"{header}.{payload}.{signature}.AA.AA",
        "detached payload": f"{header}..{signature}",
        "JSON serialization": json.dumps({"protected": header, "payload": payload, "signature": signature}),
        "short signature": f"{header}.{payload}.{signature[:-2]}",
        "long signature": f"{header}.{payload}.{signature}AA",
        "fullwidth letter": f"{header}.{payload}.{signature[:-1]}\uff21",
        "letter outside ASCII": "é" + text[1:],
        "NUL": text + "\0",
        "nothing": "",
        "dots": "..",
    }


@pytest.mark.parametrize("name", respelled())
def test_another_spelling_is_malformed(name: str) -> None:
    for form in (respelled()[name], respelled()[name].encode()):
        with pytest.raises(Refused) as refused:
            parse_jws(form)
        assert refused.value.kind == "malformed"


def test_one_of_sixteen_spellings_of_a_signature_is_read_and_fifteen_are_refused() -> None:
    text = valid_jws().text
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(text[-1])
    spellings = [text[:-1] + alphabet[last & ~0xF | spare] for spare in range(16)]
    lenient = {urlsafe_decode(spelling.rpartition(".")[2]) for spelling in spellings}
    assert len(lenient) == 1
    refused = [spelling for spelling in spellings if not is_read(spelling)]
    assert len(refused) == 15
    assert text not in refused


def urlsafe_decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "==")


def is_read(text: str) -> bool:
    try:
        parse_jws(text)
    except Refused:
        return False
    return True


def test_both_names_of_the_algorithm_are_read_and_one_is_written() -> None:
    renamed = raw_jws(header_of().replace("EdDSA", "Ed25519").encode(), b"{}")
    verify_jws(parse_jws(renamed), SIGNER.public_key)
    assert b'"alg":"EdDSA"' in b64u_decode(sign_jws("simpul-tick", {}, SIGNER).text.split(".")[0])


def test_signed_and_read_back_it_is_the_same_and_canonical() -> None:
    signed = sign_jws("simpul-x-test", {"b": 1, "a": {"z": "é", "y": []}}, SIGNER)
    assert parse_jws(signed.text.encode()) == signed
    assert signed.payload == '{"a":{"y":[],"z":"é"},"b":1}'.encode()
    assert signed.fields == {"a": {"y": [], "z": "é"}, "b": 1}
    assert (signed.typ, signed.kid) == ("simpul-x-test", SIGNER.kid)
    verify_jws(signed, SIGNER.public_key)


def test_the_digest_is_of_the_signing_input_and_not_of_the_signature() -> None:
    jws = valid_jws()
    assert jws.digest == sha256(jws.text.rpartition(".")[0].encode()).digest()
    other = parse_jws(f"{jws.text.rpartition('.')[0]}.{'A' * 86}")
    assert other.digest == jws.digest


def test_blanks_inside_signed_json_are_the_signers_own_and_kept() -> None:
    jws = parse_jws(raw_jws(header_of().replace(",", " , ").encode(), b'{ "v" : 1 }'))
    assert jws.payload == b'{ "v" : 1 }'
    verify_jws(jws, SIGNER.public_key)


def test_another_key_is_a_bad_signature() -> None:
    with pytest.raises(Refused) as refused:
        verify_jws(valid_jws(), OTHER.public_key)
    assert refused.value.kind == "bad-signature"


def test_a_key_that_is_not_the_one_named_is_a_bad_signature_even_if_it_signed() -> None:
    forged = parse_jws(raw_jws(header_of(SIGNER).encode(), b"{}", OTHER))
    for key in (SIGNER.public_key, OTHER.public_key):
        with pytest.raises(Refused) as refused:
            verify_jws(forged, key)
        assert refused.value.kind == "bad-signature"


def test_every_single_bit_flip_is_refused() -> None:
    text = valid_jws().text.encode()
    for position in range(len(text)):
        for bit in range(8):
            flipped = bytearray(text)
            flipped[position] ^= 1 << bit
            with pytest.raises(Refused):
                verify_jws(parse_jws(bytes(flipped)), SIGNER.public_key)


def test_every_truncation_is_refused() -> None:
    text = valid_jws().text
    for length in range(len(text)):
        with pytest.raises(Refused):
            parse_jws(text[:length])


def test_the_limit_is_exact_and_checked_before_anything_is_decoded() -> None:
    texts = [raw_jws(header_of().encode(), b'{"x":"%s"}' % (b"y" * length)) for length in range(2700, 3000)]
    for text in texts:
        assert is_read(text) == (len(text) <= JWS_MAX_BYTES)
    assert {len(text) <= JWS_MAX_BYTES for text in texts} == {True, False}
    for over in (texts[-1], "!" * (JWS_MAX_BYTES + 1)):
        with pytest.raises(Refused) as refused:
            parse_jws(over)
        assert refused.value.kind == "too-large"
        assert refused.value.members == {"limit": JWS_MAX_BYTES}


def test_a_signer_refuses_what_a_reader_would_refuse() -> None:
    for typ, payload in (("", b"{}"), ("x", b"[]"), ("x", b'{"a":1,"a":1}'), ("x", b'{"a":"' + b"b" * 5000 + b'"}')):
        with pytest.raises(Refused):
            sign_jws(typ, payload, SIGNER)


def test_a_signer_that_gives_no_signature_is_caught_before_anything_leaves() -> None:
    class BrokenSigner(FixedSigner):
        def sign(self, message: bytes) -> bytes:
            return super().sign(message)[:-1]

    with pytest.raises(Refused):
        sign_jws("simpul-tick", {}, BrokenSigner("broken"))


def test_rfc_8037_a4_verifies_with_the_primitive_and_is_refused_for_its_foreign_form() -> None:
    text = (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR"
        "4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    key = b64u_decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", 32)
    signing_input, _, signature = text.rpartition(".")
    ed25519.verify(key, b64u_decode(signature, 64), signing_input.encode())
    assert ed25519.kid_of(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    with pytest.raises(Refused) as refused:
        parse_jws(text)
    assert refused.value.kind == "malformed"


def test_rfc_7515_a1_with_its_hmac_is_refused() -> None:
    text = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl"
        "LmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    with pytest.raises(Refused) as refused:
        parse_jws(text)
    assert refused.value.kind == "malformed"


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
def test_any_three_parts_are_read_exactly_or_refused(header: bytes, payload: bytes, signature: bytes) -> None:
    parts = [urlsafe_b64encode(part).decode().rstrip("=") for part in (header, payload, signature)]
    text = ".".join(parts)
    try:
        jws = parse_jws(text)
    except Refused:
        return
    assert jws.text == text


@given(st.text(max_size=60) | st.text(alphabet="eyJhbGciOiJFZERTQSJ9._-=", max_size=60))
def test_any_text_is_refused_by_our_own_error(text: str) -> None:
    with pytest.raises(Refused):
        parse_jws(text)


def test_the_public_members_hold_what_was_signed() -> None:
    jws = valid_jws()
    assert jws.signing_input + b"." + b64u_encode(jws.signature).encode() == jws.text.encode()
