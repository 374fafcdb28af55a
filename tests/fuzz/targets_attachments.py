"""Attached files and what is said about them: types, forms, ranges, announcements (protocol §13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.files.media import HEAD_BYTES, check_claim, clean, sniff
from node.files.pieces import read_pieces
from node.local.http_files import read_metadata
from sync_protocol.attachment import ContentRange, announcements, named_file
from sync_protocol.change_set import parse_change_set, split_parts
from tests.edge import file_samples as samples
from tests.fuzz.target import KIB, MIB, Target, must, text_of
from tests.protocol.set_samples import change_line, content_line, signed_set
from tests.vectors.make_files import FILE, attached_line, file_line


def _cleaned(data: bytes) -> bytes:
    media_type = check_claim(data[:HEAD_BYTES], None)
    kept = b"".join(read_pieces(data, clean(data, media_type)))
    must(sniff(kept[:HEAD_BYTES]) == media_type, "what is kept is of another type")
    must(b"".join(read_pieces(kept, clean(kept, media_type))) == kept, "what is kept is not clean")
    return kept


def _files() -> Sequence[bytes]:
    return [
        samples.jpeg(),
        samples.jpeg(order="<", orientation=3),
        samples.png(),
        samples.webp(),
        samples.heic(),
        samples.pdf(),
        samples.ogg(),
        *(samples.film(brand) for brand in (b"isom", b"qt  ", b"3gp5", b"M4A ")),
    ]


def _announced(data: bytes) -> Any:
    found = list(announcements(parse_change_set(*split_parts(data)), FILE))
    must(all(one.file == FILE and one.size >= 0 for one in found), "another file")
    return found


def _sets() -> Sequence[bytes]:
    return [
        signed_set([change_line(0), attached_line(1)], [content_line(0), file_line(1)]).text,
        signed_set([attached_line(1), attached_line(2)], [file_line(1), file_line(2)]).text,
    ]


def targets() -> tuple[Target, ...]:
    """All readers of this kind."""
    return (
        Target("attached-file", _cleaned, _files, None, 256 * KIB),
        Target("file-on-a-content-line", named_file, lambda: [file_line(1), content_line(1)], None, 32 * KIB),
        Target("announcements", _announced, _sets, None, MIB),
        Target(
            "content-range",
            lambda data: ContentRange.parse(text_of(data)),
            lambda: [b"bytes 0-4095/10000", b"bytes */10000"],
            lambda found: found.format().encode(),
        ),
        Target(
            "upload-metadata",
            lambda data: read_metadata(text_of(data)),
            lambda: [b"", b"filetype aW1hZ2UvanBlZw==,filename YQ==, sha256 QUFB"],
        ),
    )
