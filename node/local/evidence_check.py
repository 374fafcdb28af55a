"""Evidence that the hub hands out, held against the log that this node has seen (protocol §7.6, §12)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from node.local.hub_evidence import Contradiction, contradiction
from node.local.hub_session import HubSession
from node.local.ports import LocalStore
from node.store.shared_records import ForeignSet
from sync_protocol.change_set import parse_manifest_line
from sync_protocol.errors import Refused
from sync_protocol.evidence import EvidenceFile, EvidenceSet, OpenEvidence, verify_evidence
from sync_protocol.excerpt import hide_in_excerpt
from sync_protocol.receipt import parse_receipt
from sync_protocol.values import ComplaintId


async def verify_against_log(
    store: LocalStore, hub: HubSession, evidence: EvidenceFile, complaint: ComplaintId
) -> OpenEvidence:
    """Every signature and root, and that all of it stands in the log that we have seen; a newer checkpoint is kept.

    Raises Contradiction for whatever does not hold, and what the link raises where a proof has to be asked for.
    """
    known = (await hub.evidence()).roster
    try:
        verified = await asyncio.to_thread(verify_evidence, evidence, known.vkey)
    except Refused as refused:
        if refused.kind != "bad-signature" or len((await hub.refresh()).vkeys) == len(known.vkeys):
            raise Contradiction(refused) from None
        verified = await _verified_anew(hub, evidence)
    if verified.complaint != complaint:
        raise contradiction("bad-proof", f"the evidence is of {verified.complaint}")
    checkpoints: dict[bytes, EvidenceSet] = {}
    for shown in evidence.sets:  # each inclusion was verified above; that one log grew is asked once a checkpoint
        checkpoints.setdefault(parse_receipt(shown.receipt.encode("utf-8")).note, shown)
    for shown in checkpoints.values():
        entry = parse_manifest_line(shown.lines.encode("utf-8")).jws.text.encode("ascii")
        _, newer = await hub.receipt(shown.receipt.encode("utf-8"), entry, await store.seen())
        if newer is not None:
            await store.move_seen(newer)
    return verified


async def _verified_anew(hub: HubSession, evidence: EvidenceFile) -> OpenEvidence:
    try:
        vkey = (await hub.evidence()).roster.vkey
        return await asyncio.to_thread(verify_evidence, evidence, vkey)
    except Refused as refused:
        raise Contradiction(refused) from None


def foreign_set(lines: str, receipt: str, gone: Collection[bytes] = ()) -> ForeignSet:
    """A set of verified evidence as it is stored; content lines whose leaf hashes are `gone` are hidden."""
    raw = lines.encode("utf-8")
    if gone:
        raw = hide_in_excerpt(raw, gone)
    manifest = parse_manifest_line(raw).manifest
    proof = receipt.encode("utf-8")
    return ForeignSet(parse_receipt(proof).index, str(manifest.agency), manifest.seq, raw, proof)
