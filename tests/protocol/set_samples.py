"""What the tests of JWS and change sets share: lines, sets and wire bodies that are the same on every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256

from sync_protocol.change_set import ChangeSet, build_change_set, draft_change_set
from sync_protocol.jws import Jws, parse_jws
from sync_protocol.line import format_change, format_content
from sync_protocol.manifest import Manifest, sign_manifest
from sync_protocol.merkle import leaf_hashes, tree_root
from sync_protocol.values import AgencyId, Digest, b64u_encode, sha256_digest
from tests.protocol.log_samples import FixedSigner

AGENCY = AgencyId("33.75")
AT_MS = 1_767_436_272_123
SIGNER = FixedSigner("agency 33.75")


def uuid_of(label: str) -> str:
    """A UUIDv7 that depends on the label alone."""
    digits = sha256(label.encode()).hexdigest()
    return f"019b{digits[:4]}-{digits[4:8]}-7{digits[8:11]}-8{digits[11:14]}-{digits[14:26]}"


@lru_cache(maxsize=4096)
def change_line(number: int, *, content: bool = True) -> bytes:
    """A change that the fold would read: somebody's note on complaint `number`."""
    return format_change(
        id=uuid_of(f"change {number}"),
        complaint=f"{AGENCY}:{uuid_of(f'complaint {number}')}",
        rev=number + 1,
        type="noted",
        at="2026-01-03T10:31:12.123Z",
        role="officer",
        unit="dinas-pu",
        data={},
        content=content,
    )


@lru_cache(maxsize=4096)
def content_line(number: int) -> bytes:
    """What was said with that change; two-byte characters included."""
    words = f"Jalan rusak di depan pasar № {number} — mohon diperbaiki"
    return format_content({"text": words}, sha256(b"salt %d" % number).digest()[:16], uuid_of(f"change {number}"))


def sample_lines(changes: int, contents: int) -> tuple[list[bytes], list[bytes]]:
    """Change lines, the first `contents` of which announce a content line, and these."""
    announced = [change_line(number, content=number < contents) for number in range(changes)]
    return announced, [content_line(number) for number in range(contents)]


def signed_set(change_lines: Sequence[bytes], content_lines: Sequence[bytes], *, seq: int = 1) -> ChangeSet:
    """A set of just these lines, signed by SIGNER."""
    return build_change_set(
        draft_change_set(change_lines, content_lines),
        SIGNER,
        agency=AGENCY,
        epoch=1,
        seq=seq,
        prev=sha256_digest(b"enrolment statement"),
        at=AT_MS,
        seen_size=7,
        seen_root=sha256_digest(b"root at size 7"),
        seen_sig=bytes(range(64)),
    )


@lru_cache(maxsize=64)
def sample_set(changes: int = 3, contents: int = 3) -> ChangeSet:
    return signed_set(*sample_lines(changes, contents))


def sample_manifest() -> Manifest:
    return sample_set().manifest.manifest


def raw_jws(header: bytes, payload: bytes, signer: FixedSigner = SIGNER) -> str:
    """A compact JWS of whatever bytes, signed over them: what a careless or hostile signer would send."""
    signing_input = f"{b64u_encode(header)}.{b64u_encode(payload)}"
    return f"{signing_input}.{b64u_encode(signer.sign(signing_input.encode()))}"


def header_of(signer: FixedSigner = SIGNER, typ: str = "simpul-change-set") -> str:
    return f'{{"alg":"EdDSA","kid":"{signer.kid}","typ":"{typ}"}}'


def valid_jws() -> Jws:
    return parse_jws(raw_jws(header_of().encode(), b'{"v":1}'))


def hostile_set(changes: Sequence[bytes], contents: Sequence[bytes]) -> bytes:
    """A well signed set of any lines at all, which our own builder refuses to make."""
    leaves = leaf_hashes([*changes, *contents])
    manifest = replace(
        signed_set([], []).manifest.manifest,
        root=Digest(tree_root(leaves)),
        changes=len(changes),
        size=len(leaves),
    )
    first_line = b'{"manifest":"%s"}' % sign_manifest(manifest, SIGNER).jws.text.encode()
    return b"\n".join([first_line, *changes, *contents, b""])
