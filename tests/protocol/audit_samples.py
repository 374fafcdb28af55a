"""Small whole logs for the tests of the audit: entries with their tree, and checkpoints by whoever wants to sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sync_protocol.audit import LogAudit
from sync_protocol.checkpoint import Checkpoint, sign_checkpoint
from sync_protocol.jws import Jws
from sync_protocol.manifest import SignedManifest
from sync_protocol.merkle import inclusion_proof, leaf_hash, tree_root
from sync_protocol.note import VerifierKey
from sync_protocol.receipt import Receipt, format_receipt
from sync_protocol.values import AgencyId, Digest
from tests.protocol.federation_samples import Federation
from tests.protocol.log_samples import LOG, ORIGIN, FixedSigner, NaiveNodes


@dataclass
class SampleLog:
    """A federation whose statements and manifests stand in one tree, as the hub would have appended them."""

    federation: Federation = field(default_factory=Federation)
    entries: list[bytes] = field(default_factory=list)
    pushed: list[SignedManifest] = field(default_factory=list)

    @classmethod
    def founded(cls, *agencies: AgencyId) -> SampleLog:
        """As `Federation.founded`."""
        federation = Federation.founded(*agencies)
        return cls(federation, [jws.text.encode() for _, jws in federation.log])

    def enter(self, jws: Jws) -> int:
        """A statement that holds; its index."""
        self.federation.enter(jws)
        self.entries.append(jws.text.encode())
        return len(self.entries) - 1

    def push(
        self, agency: AgencyId, seq: int = 1, prev: Digest | None = None, *, seen_signer: FixedSigner = LOG
    ) -> SignedManifest:
        """The agency's next heartbeat, which saw the log as it stands."""
        return self.put(
            self.federation.manifest(agency, seq, prev, seen_root=Digest(self.root()), seen_signer=seen_signer)
        )

    def put(self, signed: SignedManifest) -> SignedManifest:
        """A manifest, whatever it says."""
        self.entries.append(signed.jws.text.encode())
        self.pushed.append(signed)
        self.federation.size += 1
        return signed

    def root(self, size: int | None = None) -> bytes:
        return tree_root([leaf_hash(entry) for entry in self.entries[:size]])

    def note(self, signer: FixedSigner = LOG, size: int | None = None) -> bytes:
        """A checkpoint of the first `size` entries, by any key."""
        size = len(self.entries) if size is None else size
        return sign_checkpoint(Checkpoint(ORIGIN, size, self.root(size)), signer)

    def receipt(self, index: int, signer: FixedSigner = LOG, size: int | None = None) -> str:
        """The receipt of an entry at a checkpoint of `size`, by any key."""
        size = len(self.entries) if size is None else size
        leaves = [leaf_hash(entry) for entry in self.entries[:size]]
        proof = inclusion_proof(index, size, NaiveNodes(leaves))
        return format_receipt(Receipt(index, tuple(proof), self.note(signer, size))).decode()


def audited(
    entries: Sequence[bytes], note: bytes, trusted: VerifierKey | None, *, since: bytes | None = None
) -> list[str]:
    """The kinds of what an audit finds; sets are heartbeats, whose lines are their manifest."""
    audit = LogAudit()
    for entry in entries:
        if audit.read_entry(entry) is not None:
            audit.read_lines((b'{"manifest":"%b"}\n' % entry, b""))
    audit.close(note, trusted)
    if since is not None:
        audit.compare_earlier(since)
    return [finding.kind for finding in audit.findings]
