"""Leaves that were brought back, as the rows that they had (protocol §10.6): all that stood in them, and no more."""

from __future__ import annotations

from node.store.hub_records import Fork, NewSet, RecoveredLeaf, StoredSet, StoredStatement
from sync_protocol import statement as st
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.jws import parse_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.manifest import parse_manifest


def restored_set(leaf: RecoveredLeaf, now_ms: int) -> NewSet:
    """When it was received is not known any more; when it was signed is."""
    signed = parse_manifest(leaf.entry)
    manifest = signed.manifest
    stored = StoredSet(
        index=leaf.index,
        agency=manifest.agency,
        seq=manifest.seq,
        epoch=manifest.epoch,
        digest=signed.digest,
        changes=manifest.changes,
        size=manifest.size,
        hidden=leaf.hidden,
        erased=0,
        received_at_ms=min(manifest.at, now_ms),
    )
    return NewSet(stored, leaf.changes_frame or b"", leaf.contents_frame or b"")


def restored_statement(leaf: RecoveredLeaf) -> StoredStatement:
    """Raises Unavailable where this program cannot read it."""
    jws = parse_jws(leaf.entry, max_bytes=FORK_JWS_MAX_BYTES)
    try:
        agency = getattr(st.parse_statement(jws), "agency", None)
    except Refused as error:  # it has a signed root over it: then this program is too old for this log
        raise Unavailable(f"the statement at log index {leaf.index} cannot be read: {error}") from error
    return StoredStatement(leaf.index, jws.typ, agency, jws.digest, leaf.entry)


def restored_fork(statement: StoredStatement) -> Fork | None:
    """The evidence that a statement carries."""
    if statement.typ != st.Fork.TYP:
        return None
    told = st.parse_statement(parse_jws(statement.entry, max_bytes=FORK_JWS_MAX_BYTES))
    assert isinstance(told, st.Fork)
    held, other = told.manifests
    return Fork(
        agency=told.agency,
        epoch=told.epoch,
        seq=told.seq,
        held_digest=held.digest,
        other_digest=other.digest,
        held=held.jws.text.encode("ascii"),
        other=other.jws.text.encode("ascii"),
        at_ms=told.at,
        statement_index=statement.index,
    )
