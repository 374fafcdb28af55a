"""What an audit says of single log entries (protocol §4.1, §5.1, §11)."""

from __future__ import annotations

from hashlib import sha256

from sync_protocol.audit import LogAudit
from sync_protocol.jws import sign_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.values import Digest
from tests.protocol.audit_samples import SampleLog, audited
from tests.protocol.federation_samples import PEKALONGAN, REGISTRAR
from tests.protocol.log_samples import LOG, FixedSigner


def test_a_manifest_that_is_longer_than_a_manifest_may_be_is_unreadable() -> None:
    """A log entry could hold it, and so could a fork statement; as a set it was never to be accepted."""
    log = SampleLog.founded(PEKALONGAN)
    members = {**log.federation.manifest(PEKALONGAN).jws.fields, "padding": "x" * 4_096}
    long = sign_jws("simpul-change-set", members, FixedSigner(PEKALONGAN), max_bytes=FORK_JWS_MAX_BYTES)
    log.entries.append(long.text.encode())
    assert audited(log.entries, log.note(), LOG.vkey()) == ["unreadable-entry"]


def test_a_long_statement_is_void_unless_it_is_a_fork() -> None:
    log = SampleLog.founded(PEKALONGAN)
    first = log.push(PEKALONGAN)
    other = log.federation.manifest(PEKALONGAN, at=first.manifest.at + 1, seen_size=0)
    log.enter(log.federation.fork(PEKALONGAN, first, other))
    tick = {**log.federation.tick().fields, "padding": "x" * 4_096}
    log.entries.append(sign_jws("simpul-tick", tick, REGISTRAR, max_bytes=FORK_JWS_MAX_BYTES).text.encode())
    assert audited(log.entries, log.note(), LOG.vkey()) == ["fork", "too-large"]


def test_what_a_revocation_disputes_is_reported_and_nothing_is_undone() -> None:
    log = SampleLog.founded(PEKALONGAN)
    first = log.push(PEKALONGAN)
    log.push(PEKALONGAN, 2, first.digest)
    index = log.enter(log.federation.revocation(PEKALONGAN, disputed_from=2))
    audit = LogAudit()
    for entry in log.entries:
        if audit.read_entry(entry) is not None:
            audit.read_lines((b'{"manifest":"%b"}\n' % entry, b""))
    audit.close(log.note(), LOG.vkey())
    assert audit.findings == []
    assert audit.complete
    (disputed,) = audit.unproven
    for word in (PEKALONGAN, "seq 2", f"index {index}", "nothing"):
        assert word in disputed


def test_a_revocation_that_disputes_nothing_is_silent() -> None:
    log = SampleLog.founded(PEKALONGAN)
    log.enter(log.federation.revocation(PEKALONGAN))
    audit = LogAudit()
    for entry in log.entries:
        audit.read_entry(entry)
    audit.close(log.note(), LOG.vkey())
    assert audit.unproven == []


def test_attack_a_split_view_is_convicted_by_what_an_agency_countersigned() -> None:
    """The hub showed this agency another log of the same size, signed: the agency's next set carries the proof."""
    log = SampleLog.founded(PEKALONGAN)
    other_root = Digest(sha256(b"the root of another history").digest())
    log.put(log.federation.manifest(PEKALONGAN, seen_root=other_root))
    assert audited(log.entries, log.note(), LOG.vkey()) == ["split-view"]
    ahead = SampleLog.founded(PEKALONGAN)
    ahead.put(ahead.federation.manifest(PEKALONGAN, seen_size=9))
    assert audited(ahead.entries, ahead.note(), LOG.vkey()) == ["split-view"]
