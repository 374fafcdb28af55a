"""What we sign is judged by others: OpenSSL through the very commands of docs/verify-by-hand.md, and joserfc.

Not one line of our own code says yes here; it only makes what is judged.
"""

from __future__ import annotations

import re
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc import jws as outside_jws
from joserfc.errors import BadSignatureError, SecurityWarning
from joserfc.jwk import OKPKey

from sync_protocol.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from sync_protocol.merkle import inclusion_proof, leaf_hash, tree_root
from sync_protocol.receipt import Receipt, format_receipt
from sync_protocol.values import b64u_encode
from tests.protocol.log_samples import LOG, ORIGIN, OTHER, FixedSigner, NaiveNodes, entry
from tests.protocol.set_samples import SIGNER, sample_set

PAGE = Path(__file__).parents[2] / "docs" / "verify-by-hand.md"
BEFORE_US = 11
AFTER_US = 5


def log_around(text: str) -> list[bytes]:
    """Log entries with this JWS in the midst of others."""
    total = BEFORE_US + 1 + AFTER_US
    return [text.encode() if index == BEFORE_US else entry(index) for index in range(total)]


def receipt_for(text: str, signer: FixedSigner = LOG) -> bytes:
    hashes = [leaf_hash(line) for line in log_around(text)]
    note = sign_checkpoint(Checkpoint(ORIGIN, len(hashes), tree_root(hashes)), signer)
    proof = inclusion_proof(BEFORE_US, len(hashes), NaiveNodes(hashes))
    return format_receipt(Receipt(BEFORE_US, tuple(proof), note))


def follow_the_page(directory: Path, change_set: bytes, receipt: bytes) -> subprocess.CompletedProcess[str]:
    """Run all shell blocks of the page, in order, stopping at the first command that fails."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    (directory / "set.jsonl").write_bytes(change_set)
    (directory / "receipt").write_bytes(receipt)
    known = f"set -eu\nx={b64u_encode(SIGNER.public_key)}\nvkey='{LOG.vkey().format()}'\n"
    return subprocess.run(
        ["/bin/sh", "-c", known + "\n".join(blocks)], cwd=directory, capture_output=True, text=True, check=False
    )


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def touch(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return touch


def unchanged(data: bytes) -> bytes:
    return data


@pytest.mark.parametrize(("changes", "contents"), [(1, 0), (1, 1), (3, 2), (8, 5)])
def test_the_page_verifies_a_set_a_checkpoint_and_a_receipt_with_openssl(
    tmp_path: Path, changes: int, contents: int
) -> None:
    made = sample_set(changes, contents)
    done = follow_the_page(tmp_path, made.text, receipt_for(made.manifest.jws.text))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Signature Verified Successfully") == 2
    assert done.stdout.endswith(f"entry {BEFORE_US} of {BEFORE_US + 1 + AFTER_US}: in the log {ORIGIN}\n")


@pytest.mark.parametrize(
    ("touch_set", "touch_receipt"),
    [
        (replaced(b"noted", b"n0ted"), unchanged),
        (replaced("№".encode(), b"N"), unchanged),
        (replaced(b"\n{", b"\n{}\n{"), unchanged),
        (replaced(b'{"manifest":"eyJ', b'{"manifest":"eyK'), unchanged),
        (unchanged, replaced(b"index 11", b"index 10")),
        (unchanged, replaced(b"\n17\n", b"\n18\n")),
        (unchanged, replaced(b"index 11\n", b"index 11\n" + b"A" * 43 + b"=\n")),
        (unchanged, replaced(ORIGIN.encode(), b"hub.example/lag")),
    ],
)
def test_the_page_refuses_what_was_touched(
    tmp_path: Path, touch_set: Callable[[bytes], bytes], touch_receipt: Callable[[bytes], bytes]
) -> None:
    made = sample_set(3, 2)
    receipt = receipt_for(made.manifest.jws.text)
    done = follow_the_page(tmp_path, touch_set(made.text), touch_receipt(receipt))
    assert done.returncode != 0
    assert "in the log" not in done.stdout


def test_the_page_refuses_a_log_that_somebody_else_signed(tmp_path: Path) -> None:
    made = sample_set(3, 2)
    done = follow_the_page(tmp_path, made.text, receipt_for(made.manifest.jws.text, OTHER))
    assert done.returncode != 0
    assert done.stdout.count("Signature Verified Successfully") == 1


def outside_key(signer: FixedSigner) -> OKPKey:
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": b64u_encode(signer.public_key)})


def test_joserfc_verifies_our_manifest_and_names_its_key_as_we_do() -> None:
    made = sample_set(3, 2).manifest.jws
    key = outside_key(SIGNER)
    with pytest.warns(SecurityWarning, match="RFC 9864"):  # `EdDSA` is what protocol 1 writes (§4.1)
        judged = outside_jws.deserialize_compact(made.text, key, algorithms=["EdDSA"])
    assert judged.payload == made.payload
    assert judged.headers() == {"alg": "EdDSA", "kid": key.thumbprint(), "typ": "simpul-change-set"}


def test_joserfc_refuses_our_manifest_under_another_key() -> None:
    made = sample_set(3, 2).manifest.jws
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        with pytest.raises(BadSignatureError):
            outside_jws.deserialize_compact(made.text, outside_key(OTHER), algorithms=["EdDSA"])


def test_joserfc_verifies_the_signature_in_our_checkpoint_and_receipt() -> None:
    receipt = receipt_for(sample_set(3, 2).manifest.jws.text)
    note = receipt.partition(b"\n\n")[2]
    opened = open_checkpoint(note, [LOG.vkey()], ORIGIN)
    text = note.partition(b"\n\n")[0] + b"\n"
    judge = outside_jws.JWSRegistry.algorithms["Ed25519"]
    assert judge.verify(text, opened.signature, outside_key(LOG))
    assert not judge.verify(text, opened.signature, outside_key(OTHER))
    assert not judge.verify(text[:-1], opened.signature, outside_key(LOG))
