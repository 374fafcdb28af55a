"""Vectors of change sets, hidden lines, excerpts and bodies (protocol §3, §8 steps 10 and 11)."""

from __future__ import annotations

import gzip
from typing import Any

from sync_protocol.change_set import ChangeSet, hide_contents, parse_change_set, split_parts, verify_lines
from sync_protocol.compression import compress_frames, compress_part
from sync_protocol.excerpt import OpenSet, parse_excerpt
from sync_protocol.hidden_lines import format_hidden_line
from sync_protocol.limits import CHANGE_LINE_MAX_BYTES, CONTENT_LINE_MAX_BYTES, SET_MAX_BYTES
from sync_protocol.manifest import sign_manifest
from sync_protocol.merkle import tree_root
from tests.protocol.log_samples import FixedSigner
from tests.protocol.set_samples import SIGNER, hostile_set, sample_lines, signed_set
from tests.vectors.vector_files import Vector

OTHER = FixedSigner("other agency")
SKIPPABLE_FRAME = b"\x50\x2a\x4d\x18\x04\0\0\0skip"
Case = tuple[str, str, bytes]  # what it shows, `accept` or the kind of the refusal, the bytes


def change_set_vectors() -> list[Vector]:
    """Valid ones and defects. Five changes and three contents, so that the contents' leaves are 5, 6 and 7."""
    whole = signed_set(*sample_lines(5, 3))
    sets = _valid_sets(whole) | _damaged_sets(whole) | _hidden_sets(whole) | _hostile_sets()
    return [
        *(_vector("verify-change-set", "§3.1, §8", name, case) for name, case in sets.items()),
        *(_vector("verify-excerpt", "§3.2", name, case) for name, case in _excerpts(whole).items()),
        *(_vector("verify-body", "§3.3", name, case) for name, case in _bodies(whole).items()),
    ]


def _vector(operation: str, spec: str, name: str, case: Case) -> Vector:
    what, outcome, data = case
    given = {"public_key_hex": SIGNER.public_key.hex()} | _bytes_of(operation, name, data)
    expect: dict[str, Any] = {"refuse": outcome}
    if outcome == "accept":
        expect = {"accept": _shown(data) if operation == "verify-excerpt" else _lines(name, data)}
    return Vector("change-sets", name, what, f"protocol {spec}", operation, given, expect)


def _bytes_of(operation: str, name: str, data: bytes) -> dict[str, str]:
    if operation == "verify-body":
        return {"encoding": "gzip" if name.startswith("gzip") else "zstd", "body_hex": data.hex()}
    member = "set" if operation == "verify-change-set" else "excerpt"
    try:
        return {member: data.decode()}
    except UnicodeDecodeError:
        return {f"{member}_hex": data.hex()}


def _lines(name: str, data: bytes) -> dict[str, Any]:
    text = signed_set(*sample_lines(5, 3)).text if name.startswith(("gzip", "zstd")) else data
    change_set = parse_change_set(*split_parts(text))
    lines = verify_lines(change_set)
    return {
        "root_hex": change_set.manifest.manifest.root.hex(),
        "changes": len(lines.change_lines),
        "size": change_set.manifest.manifest.size,
        "hidden_leaves": lines.hidden_leaves,
    }


def _shown(data: bytes) -> dict[str, Any]:
    return {"lines": {str(index): line.decode() for index, line in parse_excerpt(data).lines.items()}}


def _valid_sets(whole: ChangeSet) -> dict[str, Case]:
    leaves = verify_lines(whole).content_leaves
    poison = signed_set([b"poison"], [b"poison too"]).text
    return {
        "valid": ("Five changes, the first three with content.", "accept", whole.text),
        "valid-one-change": ("No contents at all.", "accept", signed_set(*sample_lines(1, 0)).text),
        "valid-heartbeat": ("No lines, the root of the empty tree.", "accept", signed_set([], []).text),
        "valid-one-hidden": ("One erased content.", "accept", whole.head + hide_contents(whole, leaves[1:2])),
        "valid-all-hidden": ("All contents in the fewest lines.", "accept", whole.head + hide_contents(whole)),
        "valid-meaningless": ("What lines say is not judged here.", "accept", poison),
    }


def _damaged_sets(whole: ChangeSet) -> dict[str, Case]:
    """What anybody on the way can do without the key."""
    first, *changes = whole.head.splitlines(keepends=True)
    contents = whole.contents.splitlines(keepends=True)
    all_but_first = b"".join([*changes, *contents])
    foreign = b'{"manifest":"%s"}\n' % sign_manifest(whole.manifest.manifest, OTHER).jws.text.encode()
    fewer = b"".join([first, *changes[1:], *contents, contents[0]])
    swapped = b"".join([first, changes[1], changes[0], *changes[2:], *contents])
    return {
        "no-manifest": ("The first line is the manifest.", "malformed", all_but_first),
        "blank-in-manifest-line": (
            "The manifest line has one spelling.",
            "malformed",
            whole.text.replace(b":", b": ", 1),
        ),
        "no-final-line-feed": ("Each line ends in LF.", "malformed", whole.text[:-1]),
        "cr-lf": ("No CR.", "malformed", whole.text.replace(b"\n", b"\r\n")),
        "empty-line": ("No line is empty.", "malformed", whole.text + b"\n"),
        "missing-content": ("Leaves sum to size.", "malformed", b"".join([first, *changes, *contents[:-1]])),
        "repeated-content": ("Leaves sum to size.", "malformed", b"".join([first, *changes, *contents, contents[0]])),
        "missing-change": ("A content in the place of a change.", "malformed", fewer),
        "swapped-changes": ("Order is signed.", "root-mismatch", swapped),
        "one-letter": ("Every byte is signed.", "root-mismatch", whole.text.replace(b"Jalan", b"jalan", 1)),
        "another-signer": ("Right lines, wrong key.", "bad-signature", foreign + all_but_first),
    }


def _hidden(root: bytes, leaves: int) -> bytes:
    return format_hidden_line(root, leaves) + b"\n"


def _hidden_sets(whole: ChangeSet) -> dict[str, Case]:
    lines = verify_lines(whole)
    one, two, three = lines.content_leaves
    first, *changes = whole.head.splitlines(keepends=True)
    pair = tree_root([two, three])
    hidden_change = b"".join([first, _hidden(lines.change_leaves[0], 1), *changes[1:], whole.contents])
    unaligned = whole.head + _hidden(tree_root([one, two]), 2) + _hidden(three, 1)
    respelled = whole.head + _hidden(one, 1).replace(b":1}", b":01}") + _hidden(pair, 2)
    return {
        "hidden-change": ("What is pushed hides no change.", "malformed", hidden_change),
        "hidden-not-aligned": ("Two leaves from 5 on are no subtree.", "malformed", unaligned),
        "hidden-three-leaves": ("A power of two.", "malformed", whole.head + _hidden(tree_root([one, two, three]), 3)),
        "hidden-too-few-leaves": ("Leaves sum to size.", "malformed", whole.head + _hidden(one, 1) + _hidden(two, 1)),
        "hidden-too-many-leaves": (
            "Leaves sum to size.",
            "malformed",
            whole.head + _hidden(one, 1) + _hidden(pair, 2) * 2,
        ),
        "hidden-wrong-root": (
            "A hash that is not in the tree.",
            "root-mismatch",
            whole.head + _hidden(one, 1) + _hidden(one, 2),
        ),
        "hidden-spelled-otherwise": (
            "Not of the form: a literal line, not what was signed.",
            "root-mismatch",
            respelled,
        ),
    }


def _hostile_sets() -> dict[str, Case]:
    """What only the holder of the key can do: every one is well signed over exactly these lines."""
    form = format_hidden_line(bytes(32), 1)
    long_change, long_content = b"a" * (CHANGE_LINE_MAX_BYTES + 1), b"b" * (CONTENT_LINE_MAX_BYTES + 1)
    return {
        "change-with-blank": ("Bytes 0x21 to 0x7E.", "malformed", hostile_set([b'{"a": 1}'], [])),
        "change-outside-ascii": ("Bytes 0x21 to 0x7E.", "malformed", hostile_set([b'{"a":"\xc3\xa9"}'], [])),
        "change-with-delete": ("Bytes 0x21 to 0x7E.", "malformed", hostile_set([b'{"a":"\x7f"}'], [])),
        "change-empty": ("No line is empty.", "malformed", hostile_set([b"{}", b""], [])),
        "change-of-hidden-form": ("Hidden, wherever it stands.", "malformed", hostile_set([form], [])),
        "change-too-long": ("2,048 bytes at most.", "too-large", hostile_set([long_change], [])),
        "content-with-cr": ("No CR.", "malformed", hostile_set([b"{}"], [b'{"a":1}\r'])),
        "content-not-utf-8": ("A content is UTF-8.", "malformed", hostile_set([b"{}"], [b'{"a":"\xff"}'])),
        "content-surrogate": ("A content is UTF-8.", "malformed", hostile_set([b"{}"], [b'{"a":"\xed\xa0\x80"}'])),
        "content-empty": ("No line is empty.", "malformed", hostile_set([b"{}", b"{}"], [b"{}", b""])),
        "content-of-hidden-form": (
            "Hidden, so its own hash is not in the tree.",
            "root-mismatch",
            hostile_set([b"{}"], [form]),
        ),
        "content-too-long": ("32,768 bytes at most.", "too-large", hostile_set([b"{}"], [long_content])),
    }


def _excerpts(whole: ChangeSet) -> dict[str, Case]:
    excerpt = OpenSet(whole).excerpt([2, 6])
    lines = excerpt.splitlines(keepends=True)
    return {
        "excerpt-valid": ("One change and its neighbour's content.", "accept", excerpt),
        "excerpt-valid-nothing-shown": ("The root alone.", "accept", OpenSet(whole).excerpt([])),
        "excerpt-valid-whole-set": ("A set is an excerpt of itself.", "accept", whole.text),
        "excerpt-one-letter": ("Every byte is signed.", "root-mismatch", excerpt.replace(b"Jalan", b"jalan")),
        "excerpt-line-missing": ("Leaves sum to size.", "malformed", b"".join(lines[:-1])),
        "excerpt-lines-swapped": (
            "Subtrees are aligned.",
            "malformed",
            b"".join([lines[0], lines[2], lines[1], *lines[3:]]),
        ),
    }


def _bodies(whole: ChangeSet) -> dict[str, Case]:
    """Their bytes depend on the compressor's version; what they must give does not."""
    head, contents = compress_frames(whole.head, whole.contents)
    zipped = gzip.compress(whole.text, mtime=0)
    bomb = b"\0" * (SET_MAX_BYTES + 1)
    members = gzip.compress(whole.head, mtime=0) + gzip.compress(whole.contents, mtime=0)
    damaged = contents[:-1] + bytes([contents[-1] ^ 1])
    return {
        "zstd-valid": ("Two frames.", "accept", head + contents),
        "zstd-one-frame": ("Contents are a frame of their own.", "malformed", compress_part(whole.text)),
        "zstd-three-frames": ("Two frames at most.", "malformed", head + contents + compress_part(b"")),
        "zstd-second-frame-missing": ("Leaves sum to size.", "malformed", head),
        "zstd-skippable-frame": ("No skippable frames.", "malformed", head + SKIPPABLE_FRAME + contents),
        "zstd-trailing-byte": ("Nothing behind the frames.", "malformed", head + contents + b"\0"),
        "zstd-cut-short": ("Frames are whole.", "malformed", (head + contents)[:-1]),
        "zstd-wrong-checksum": ("A checksum is checked.", "malformed", head + damaged),
        "zstd-bomb": ("16 MiB, capped while decompressing.", "too-large", compress_part(bomb)),
        "gzip-valid": ("One member, split by the manifest.", "accept", zipped),
        "gzip-two-members": ("One member.", "malformed", members),
        "gzip-trailing-byte": ("Nothing behind the member.", "malformed", zipped + b"\0"),
        "gzip-cut-short": ("The member is whole.", "malformed", zipped[:-1]),
        "gzip-bomb": ("16 MiB, capped while decompressing.", "too-large", gzip.compress(bomb, mtime=0)),
    }
