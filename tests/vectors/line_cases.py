"""Vectors of change lines, content lines and blocks of lines (protocol §2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sync_protocol.line import parse_change
from tests.protocol.line_samples import DATA, LEAF, TRACKING, line_of, spoilt, uuid_of
from tests.vectors.vector_files import Vector

SUBJECT: Final = "lines"
_NIK: Final = "3375012345678901"
_REFUSED: Final = {"refuse": "malformed"}


def line_vectors() -> list[Vector]:
    """Every case of this subject."""
    return [*_valid_changes(), *_spoilt_members(), *_spoilt_bytes(), *_contents(), *_blocks()]


def _refused(name: str, what: str, line: bytes, spec: str = "§2.1") -> Vector:
    """A line that must be refused."""
    try:
        given: dict[str, Any] = {"line": line.decode("utf-8")}
    except UnicodeDecodeError:
        given = {"line_hex": line.hex()}
    return Vector(SUBJECT, name, what, spec, "parse-change", given, _REFUSED)


def _valid_changes() -> Iterator[Vector]:
    valid = {f"valid-{name.replace('_', '-')}": line_of(name) for name in DATA}
    valid["valid-unknown-type"] = spoilt("x.merged", data={"into": {"list": [1, "b"]}})
    valid["valid-largest-rev"] = spoilt("started", rev=2**53 - 1)
    valid["valid-leap-day"] = spoilt("started", at="2024-02-29T23:59:59.999Z")
    valid["valid-no-unit"] = spoilt("started", actor={"role": "system"})
    valid["valid-amended-nothing"] = spoilt("amended", data={})
    for name, line in valid.items():
        change = parse_change(line)
        accept: dict[str, Any] = {
            "type": change.type,
            "known": change.known,
            "complaint": change.complaint,
            "id": change.id,
        }
        accept |= {"rev": change.rev, "at": change.at, "content": change.content, "role": change.actor.role}
        what = f"a change line of type {change.type}"
        accept |= {"unit": change.actor.unit}
        yield Vector(SUBJECT, name, what, "§2.2", "parse-change", {"line": line.decode()}, {"accept": accept})


#: defect -> type of line, members spoilt
_FAULTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "rev-zero": ("started", {"rev": 0}),
    "rev-beyond-53-bits": ("started", {"rev": 2**53}),
    "rev-is-text": ("started", {"rev": "1"}),
    "content-two": ("started", {"content": 2}),
    "content-true": ("started", {"content": True}),
    "unknown-member": ("started", {"note": "x"}),
    "member-missing": ("started", {"at": None}),
    "actor-missing": ("started", {"actor": None}),
    "role-unknown": ("started", {"actor": {"role": "boss"}}),
    "actor-unknown-member": ("started", {"actor": {"name": "budi", "role": "officer"}}),
    "unit-free-text": ("started", {"actor": {"role": "officer", "unit": "DinasPU"}}),
    "id-version-4": ("started", {"id": uuid_of("x")[:14] + "4" + uuid_of("x")[15:]}),
    "id-wrong-variant": ("started", {"id": uuid_of("x")[:19] + "c" + uuid_of("x")[20:]}),
    "id-upper-case": ("started", {"id": uuid_of("abc").upper()}),
    "complaint-without-agency": ("started", {"complaint": uuid_of("x")}),
    "complaint-agency-upper-case": ("started", {"complaint": "Kota:" + uuid_of("x")}),
    "complaint-agency-too-long": ("started", {"complaint": "a" * 65 + ":" + uuid_of("x")}),
    "at-day-that-does-not-exist": ("started", {"at": "2026-02-29T10:00:00.000Z"}),
    "at-hour-24": ("started", {"at": "2026-01-03T24:00:00.000Z"}),
    "at-leap-second": ("started", {"at": "2016-12-31T23:59:60.000Z"}),
    "at-before-1970": ("started", {"at": "1969-12-31T23:59:59.999Z"}),
    "at-offset": ("started", {"at": "2026-01-03T10:00:00.000+07:00"}),
    "at-without-milliseconds": ("started", {"at": "2026-01-03T10:00:00Z"}),
    "type-free-text": ("Started!", {}),
    "type-is-a-nik": (_NIK, {}),
    "data-missing": ("started", {"data": None}),
    "data-not-an-object": ("started", {"data": []}),
    "data-of-an-empty-type": ("started", {"data": {"note": "x"}}),
    "data-member-missing": ("assigned", {"data_unit": None}),
    "data-member-unknown": ("assigned", {"data_text": "x"}),
    "data-member-null": ("amended", {"data": {"category": None}}),
    "nik-in-a-code": ("assigned", {"data_unit": _NIK}),
    "telephone-number-in-a-code": ("received", {"data_category": "081234567890"}),
    "nik-in-a-source-id": ("received", {"data_source": {"id": _NIK, "system": "sp4n"}}),
    "nik-in-a-media-type": ("attached", {"data_media_type": f"text/{_NIK}"}),
    "free-text-in-a-code": ("assigned", {"data_unit": "jalan_rusak_di_depan_rumah_pak_lurah_sekali"}),
    "code-ends-in-a-dot": ("assigned", {"data_unit": "dinas."}),
    "class-unknown": ("verified", {"data_class": "gossip"}),
    "channel-unknown": ("received", {"data_channel": "fax"}),
    "visibility-unknown": ("received", {"data_visibility": "secret"}),
    "state-none": ("imported", {"data_state": "none"}),
    "by-unknown": ("closed", {"data_by": "desk"}),
    "level-unknown": ("identified", {"data_level": "dna"}),
    "area-two-levels-short": ("received", {"data_area": "33.7"}),
    "area-with-letters": ("received", {"data_area": "33.aa"}),
    "rating-zero": ("rated", {"data_rating": 0}),
    "rating-six": ("rated", {"data_rating": 6}),
    "bytes-negative": ("attached", {"data_bytes": -1}),
    "tracking-wrong-check": ("received", {"data_tracking": TRACKING[:-1] + ("0" if TRACKING[-1] != "0" else "1")}),
    "tracking-lower-case": ("received", {"data_tracking": TRACKING.lower()}),
    "tracking-with-letter-o": ("received", {"data_tracking": TRACKING[:4] + "O" + TRACKING[5:]}),
    "offer-with-spare-bits": ("accepted", {"data_offer": LEAF[:-1] + "B"}),
    "offer-too-short": ("accepted", {"data_offer": LEAF[:-1]}),
    "erased-no-leaves": ("erased", {"data_leaves": []}),
    "erased-17-leaves": ("erased", {"data_leaves": [LEAF] * 17}),
    "unknown-type-nests-too-deep": ("x.merged", {"data": {"a": {"b": {"c": {}}}}}),
    "unknown-type-fraction": ("x.merged", {"data": {"a": 1}}),
}


def _spoilt_members() -> Iterator[Vector]:
    for name, (change_type, changes) in _FAULTS.items():
        line = spoilt(change_type, **changes)
        if name == "unknown-type-fraction":
            line = line.replace(b'{"a":1}', b'{"a":1.5}')
        yield _refused(name, f"a line of type {change_type}: {name.replace('-', ' ')}", line, "§2.2")


def _spoilt_bytes() -> Iterator[Vector]:
    line = line_of("started")
    unknown = spoilt("x.merged", data={"a": 1, "b": 2})
    cases = {
        "space-after-colon": line.replace(b'"rev":1', b'"rev": 1'),
        "leading-space": b" " + line,
        "trailing-line-feed": line + b"\n",
        "byte-order-mark": b"\xef\xbb\xbf" + line,
        "escape-for-a-plain-letter": line.replace(b"kominfo", rb"komin\u0066o"),
        "member-twice": line.replace(b'"rev":1', b'"rev":1,"rev":1'),
        "members-out-of-order": line.replace(b'"rev":1,"type":"started"', b'"type":"started","rev":1'),
        "rev-with-fraction": line.replace(b'"rev":1', b'"rev":1.0'),
        "rev-with-exponent": line.replace(b'"rev":1', b'"rev":1e0'),
        "rev-with-leading-zero": line.replace(b'"rev":1', b'"rev":01'),
        "unit-null": line.replace(b'"unit":"kominfo"', b'"unit":null'),
        "not-utf-8": line.replace(b"kominfo", b"\xff\xfe"),
        "cut-short": line[:-1],
        "two-objects": line + line,
        "empty": b"",
        "an-array": b"[" + line + b"]",
        "over-2048-bytes": spoilt("x.merged", data={"a": "b" * 2048}),
        "unknown-type-member-twice": unknown.replace(b'"a":1,', b'"a":1,"a":1,'),
        "unknown-type-out-of-order": unknown.replace(b'"a":1,"b":2', b'"b":2,"a":1'),
        "unknown-type-minus-zero": unknown.replace(b'"a":1', b'"a":-0'),
        "unknown-type-lone-surrogate": unknown.replace(b'"a":1', rb'"a":"\ud800"'),
        "unknown-type-blank": unknown.replace(b'"a":1', b'"a":"two words"'),
        "deep-nesting": b'{"a":' * 400,
    }
    for name, spoiled in cases.items():
        yield _refused(name, f"not the canonical spelling: {name.replace('-', ' ')}", spoiled)


def _contents() -> Iterator[Vector]:
    salt = '"salt":"AAECAwQFBgcICQoLDA0ODw"'
    cases: dict[str, tuple[str, str | None]] = {
        "content-valid": (f'{{"title":"Jalan berlubang","text":"Sudah lama…\\nsekali",{salt}}}', None),
        "content-in-any-order": (f'{{{salt}, "text": "x"}}', None),
        "content-without-salt": ('{"text":"x"}', "malformed"),
        "content-short-salt": ('{"salt":"AAEC"}', "malformed"),
        "content-salt-with-spare-bits": ('{"salt":"AAECAwQFBgcICQoLDA0ODx"}', "malformed"),
        "content-member-twice": (f'{{"text":"x","text":"y",{salt}}}', "malformed"),
        "content-fraction": (f'{{"lat":-6.88,{salt}}}', "malformed"),
        "content-lone-surrogate": (f'{{"text":"\\ud800",{salt}}}', "malformed"),
        "content-too-deep": (f'{{"a":{{"b":{{"c":{{"d":{{}}}}}}}},{salt}}}', "malformed"),
        "content-array": ("[]", "malformed"),
        "content-with-carriage-return": (f'{{"text":"x",{salt}}}\r', "malformed"),
        "content-over-32-kibibytes": (f'{{"text":"{"x" * 32_768}",{salt}}}', "too-large"),
    }
    for name, (line, refusal) in cases.items():
        expect: dict[str, Any] = {"accept": {}} if refusal is None else {"refuse": refusal}
        what = f"a content line: {name.removeprefix('content-').replace('-', ' ')}"
        yield Vector(SUBJECT, name, what, "§2.3", "parse-content", {"line": line}, expect)


def _blocks() -> Iterator[Vector]:
    line = line_of("started")
    cases: dict[str, tuple[bytes, dict[str, Any]]] = {
        "block-valid": (line + b"\n" + b"anything!~\n", {"accept": {"lines": 2}}),
        "block-empty": (b"", {"accept": {"lines": 0}}),
        "block-line-of-2048-bytes": (b"a" * 2048 + b"\n", {"accept": {"lines": 1}}),
        "block-line-of-2049-bytes": (line + b"\n" + b"a" * 2049 + b"\n", {"refuse": "too-large"}),
        "block-last-line-without-line-feed": (line, {"refuse": "malformed"}),
        "block-carriage-return": (line + b"\r\n", {"refuse": "malformed"}),
        "block-blank": (b"two words\n", {"refuse": "malformed"}),
        "block-delete-character": (b"a\x7fb\n", {"refuse": "malformed"}),
        "block-not-ascii": ("é\n".encode(), {"refuse": "malformed"}),
        "block-zero-byte": (b"a\x00b\n", {"refuse": "malformed"}),
    }
    for name, (block, expect) in cases.items():
        what = f"what intake checks of change lines: {name.removeprefix('block-').replace('-', ' ')}"
        yield Vector(SUBJECT, name, what, "§2.1", "check-lines", {"block_hex": block.hex()}, expect)
