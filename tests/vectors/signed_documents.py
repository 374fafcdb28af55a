"""Vectors of the one form of a JWS (protocol §4.1): every other one is a defect."""

from __future__ import annotations

import json

from sync_protocol.jws import parse_jws
from sync_protocol.values import b64u_decode, b64u_encode
from tests.protocol.log_samples import FixedSigner
from tests.protocol.set_samples import SIGNER, header_of, raw_jws
from tests.vectors.vector_files import Vector

OTHER = FixedSigner("other agency")
KID = SIGNER.kid
PAYLOAD = b'{"note":"what was signed","v":1}'
RFC_8037_KEY = b64u_decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", 32)
RFC_8037_JWS = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR"
    "4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
RFC_7515_JWS = (
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl"
    "LmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

# name: (what it shows, header); all are signed well over exactly this header
HEADERS: dict[str, tuple[str, str]] = {
    "alg-none": ("No algorithm is no signature.", f'{{"alg":"none","kid":"{KID}","typ":"x"}}'),
    "alg-hs256": ("The header does not choose the algorithm.", f'{{"alg":"HS256","kid":"{KID}","typ":"x"}}'),
    "alg-in-lower-case": ("Names are compared to the letter.", f'{{"alg":"eddsa","kid":"{KID}","typ":"x"}}'),
    "alg-missing": ("alg is needed.", f'{{"kid":"{KID}","typ":"x"}}'),
    "kid-missing": ("kid is needed.", '{"alg":"EdDSA","typ":"x"}'),
    "kid-with-spare-bits": ("A kid has one spelling.", f'{{"alg":"EdDSA","kid":"{"A" * 42}B","typ":"x"}}'),
    "typ-missing": ("typ is needed.", f'{{"alg":"EdDSA","kid":"{KID}"}}'),
    "header-crit": ("No extensions.", f'{{"alg":"EdDSA","crit":["b64"],"kid":"{KID}","typ":"x"}}'),
    "header-b64-false": ("No unencoded payloads (RFC 7797).", f'{{"alg":"EdDSA","b64":false,"kid":"{KID}","typ":"x"}}'),
    "header-jwk": (
        "A key in the header is not looked at, it is refused.",
        f'{{"alg":"EdDSA","jwk":{{"crv":"Ed25519","kty":"OKP","x":"AA"}},"kid":"{KID}","typ":"x"}}',
    ),
    "header-jku": ("No keys from elsewhere.", f'{{"alg":"EdDSA","jku":"https://example.org","kid":"{KID}","typ":"x"}}'),
    "header-x5c": ("No certificates.", f'{{"alg":"EdDSA","kid":"{KID}","typ":"x","x5c":["AA=="]}}'),
    "header-x5u": (
        "No certificates elsewhere.",
        f'{{"alg":"EdDSA","kid":"{KID}","typ":"x","x5u":"https://example.org"}}',
    ),
    "header-unknown-member": ("Nothing else in the header.", f'{{"alg":"EdDSA","kid":"{KID}","note":1,"typ":"x"}}'),
    "header-duplicate-key": ("Duplicate keys.", f'{{"alg":"none","alg":"EdDSA","kid":"{KID}","typ":"x"}}'),
    "header-duplicate-key-by-escape": (
        "Keys are compared after their escapes are undone.",
        f'{{"alg":"EdDSA","k\\u0069d":"{OTHER.kid}","kid":"{KID}","typ":"x"}}',
    ),
    "header-byte-order-mark": ("No byte order mark.", "\ufeff" + header_of()),
}
PAYLOADS: dict[str, tuple[str, bytes]] = {
    "payload-duplicate-key": ("Duplicate keys.", b'{"v":1,"v":2}'),
    "payload-duplicate-key-inside": ("Duplicate keys at any depth.", b'{"a":[{"v":1,"v":2}]}'),
    "payload-float": ("Integers are the only numbers.", b'{"v":1.0}'),
    "payload-exponent": ("Integers are written without exponent.", b'{"v":1e2}'),
    "payload-minus-zero": ("Zero has no sign.", b'{"v":-0}'),
    "payload-integer-too-large": ("2^53 is one too many.", b'{"v":9007199254740992}'),
    "payload-list": ("A payload is an object.", b"[]"),
    "payload-not-utf-8": ("JSON is UTF-8.", b'{"v":"\xff"}'),
    "payload-half-of-a-surrogate-pair": ("No UTF-8 text can hold it.", b'{"v":"\\ud800"}'),
    "payload-nested-too-deep": ("Nesting is at most 4.", b'{"v":[[[[]]]]}'),
}


def jws_vectors() -> list[Vector]:
    """Valid ones and defects."""
    return [*_valid(), *_bad_signatures(), *_defects(), _rfc_8037_signature()]


def _rfc_8037_signature() -> Vector:
    signing_input, _, signature = RFC_8037_JWS.rpartition(".")
    given = {
        "public_key_hex": RFC_8037_KEY.hex(),
        "message_hex": signing_input.encode().hex(),
        "signature_hex": b64u_decode(signature, 64).hex(),
    }
    what = "RFC 8037 A.4: the signature alone, over the signing input."
    return Vector("jws", "rfc-8037-a4-signature", what, "RFC 8037 A.4", "verify-signature", given, {"accept": {}})


def _accepted(name: str, what: str, text: str) -> Vector:
    jws = parse_jws(text)
    accept = {"typ": jws.typ, "kid": jws.kid, "digest": jws.digest.b64u, "payload": jws.payload.decode()}
    return _vector(name, what, text, {"accept": accept})


def _vector(name: str, what: str, text: str, expect: dict[str, object], key: bytes = SIGNER.public_key) -> Vector:
    given = {"public_key_hex": key.hex(), "jws": text}
    return Vector("jws", name, what, "protocol §4.1", "verify-jws", given, expect)


def _valid() -> list[Vector]:
    renamed = header_of().replace("EdDSA", "Ed25519").encode()
    spaced = header_of().replace(",", " , ").encode()
    return [
        _accepted("valid", "The form that is written.", raw_jws(header_of().encode(), PAYLOAD)),
        _accepted("valid-ed25519-name", "RFC 9864 renames the algorithm; both are read.", raw_jws(renamed, PAYLOAD)),
        _accepted("valid-blanks-in-json", "Blanks are the signer's own and kept.", raw_jws(spaced, b'{ "v" : 1 }')),
    ]


def _bad_signatures() -> list[Vector]:
    good = raw_jws(header_of().encode(), PAYLOAD)
    header, payload, signature = good.split(".")
    other_first = "B" if signature[0] == "A" else "A"
    texts = {
        "bad-signature-other-bits": ("One character differs.", f"{header}.{payload}.{other_first}{signature[1:]}"),
        "bad-signature-other-key": ("Another key signed it.", raw_jws(header_of().encode(), PAYLOAD, OTHER)),
        "bad-signature-other-payload": ("Another payload.", f"{header}.{b64u_encode(b'{}')}.{signature}"),
        "bad-signature-kid-of-another": (
            "The key that verifies is not the one that kid names.",
            raw_jws(header_of(OTHER).encode(), PAYLOAD, SIGNER),
        ),
    }
    return [_vector(name, what, text, {"refuse": "bad-signature"}) for name, (what, text) in texts.items()]


def _defects() -> list[Vector]:
    good = raw_jws(header_of().encode(), PAYLOAD)
    header, payload, signature = good.split(".")
    unprotected = json.dumps({"payload": payload, "protected": header, "signature": signature})
    texts = {
        "signature-with-spare-bits": ("One of fifteen foreign spellings.", good[:-1] + chr(ord(good[-1]) + 1)),
        "signature-padded": ("No padding.", good + "=="),
        "signature-empty": ("A signature has 86 characters.", f"{header}.{payload}."),
        "standard-base64-alphabet": ("base64url alone.", f"{header}.{payload}.+{signature[1:]}"),
        "two-parts": ("Three parts.", f"{header}.{payload}"),
        "four-parts": ("Three parts.", good + "."),
        "detached-payload": ("The payload is inside.", f"{header}..{signature}"),
        "trailing-line-feed": ("Nothing behind it.", good + "\n"),
        "blank-inside": ("Nothing in between.", f"{header}. {payload}.{signature}"),
        "letter-outside-ascii": ("A fullwidth A is not an A.", good[:-1] + "\uff21"),
        "json-serialization": ("The compact form alone.", unprotected),
        "rfc-7515-a1": ("RFC 7515 A.1: HMAC.", RFC_7515_JWS),
    }
    texts |= {name: (what, raw_jws(text.encode(), PAYLOAD)) for name, (what, text) in HEADERS.items()}
    texts |= {name: (what, raw_jws(header_of().encode(), data)) for name, (what, data) in PAYLOADS.items()}
    malformed: dict[str, object] = {"refuse": "malformed"}
    oversized = raw_jws(header_of().encode(), b'{"x":"' + b"y" * 3000 + b'"}')
    foreign = "RFC 8037 A.4: its signature is good, its header is not ours."
    return [
        *(_vector(name, what, text, malformed) for name, (what, text) in texts.items()),
        _vector("rfc-8037-a4", foreign, RFC_8037_JWS, malformed, RFC_8037_KEY),
        _vector("over-the-limit", "4,096 bytes at most.", oversized, {"refuse": "too-large"}),
    ]
