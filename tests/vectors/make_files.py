"""Writes the vectors of attached files: `python -m tests.vectors.make_files`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sync_protocol.line import format_change, format_content
from sync_protocol.values import sha256_digest
from tests.protocol.set_samples import SIGNER, change_line, content_line, signed_set, uuid_of
from tests.vectors.vector_files import Vector, save

SUBJECTS: Final = ("files",)
FILE: Final = sha256_digest(b"a photograph")
OTHER: Final = sha256_digest(b"another")


def attached_line(number: int, *, size: int = 12, media_type: str = "image/jpeg", type_: str = "attached") -> bytes:
    data = {"bytes": size, "media_type": media_type} if type_ == "attached" else {}
    return format_change(
        id=uuid_of(f"change {number}"),
        complaint=f"33.75:{uuid_of(f'complaint {number}')}",
        rev=number + 1,
        type=type_,
        at="2026-01-03T10:31:12.123Z",
        role="officer",
        unit=None,
        data=data,
        content=True,
    )


def file_line(number: int, file: object = FILE.b64u) -> bytes:
    return format_content({"file": file, "name": "foto.jpg"}, bytes(range(16)), uuid_of(f"change {number}"))


def _ranges() -> Iterator[Vector]:
    cases: list[tuple[str, str, str, dict[str, Any] | None]] = [
        ("range-piece", "the first piece of a file", "bytes 0-4095/10000", {"start": 0, "size": 4096, "length": 10000}),
        ("range-last", "the last byte", "bytes 9999-9999/10000", {"start": 9999, "size": 1, "length": 10000}),
        ("range-question", "how far it came", "bytes */10000", {"start": None, "size": 0, "length": 10000}),
        ("range-beyond", "a last byte that is not in the file", "bytes 0-10000/10000", None),
        ("range-backwards", "the last before the first", "bytes 5-4/10", None),
        ("range-leading-zero", "a second spelling", "bytes 00-4/10", None),
        ("range-unknown-length", "without the length", "bytes 0-4/*", None),
        ("range-empty-file", "of a file without bytes", "bytes */0", None),
        ("range-unit", "another unit", "items 0-4/10", None),
        ("range-two", "two ranges", "bytes 0-4/10, 6-7/10", None),
    ]
    for name, what, text, accepted in cases:
        expect = {"refuse": "malformed"} if accepted is None else {"accept": accepted}
        yield Vector("files", name, what, "§13.5", "parse-content-range", {"text": text}, expect)


def _announced() -> Iterator[Vector]:
    good = {"complaint": f"33.75:{uuid_of('complaint 1')}", "position": 1, "bytes": 12, "media_type": "image/jpeg"}
    cases: list[tuple[str, str, list[bytes], list[bytes], dict[str, Any] | None]] = [
        (
            *("announced", "a content line names the file"),
            *([change_line(0), attached_line(1)], [content_line(0), file_line(1)], good),
        ),
        ("announced-other", "it names another file", [attached_line(1)], [file_line(1, OTHER.b64u)], None),
        ("announced-hex", "the hash in another spelling", [attached_line(1)], [file_line(1, FILE.hex())], None),
        ("announced-no-text", "the member is no text", [attached_line(1)], [file_line(1, [FILE.b64u])], None),
        ("announced-noted", "the change is no `attached`", [attached_line(1, type_="noted")], [file_line(1)], None),
    ]
    for name, what, changes, contents, accepted in cases:
        made = signed_set(changes, contents)
        given = {"set": made.text.decode(), "file": FILE.b64u}
        yield Vector(
            "files", name, what, "§13", "announcements", given, {"accept": {"found": [accepted] if accepted else []}}
        )


def all_vectors() -> list[Vector]:
    """Every case, made afresh."""
    assert SIGNER.kid  # the sets are signed by the samples' key
    return [*_ranges(), *_announced()]


if __name__ == "__main__":
    save(all_vectors())
