"""A hub that was restored from a backup finds out, and signs nothing more (protocol §10.6, architecture G6).

Two things tell it: the lock store (log.py), and any node that shows a checkpoint which this hub signed and does not
hold. That proof is kept beside the lock, not in the database: whatever database is put back next is held against it.
"""

from __future__ import annotations

import structlog

from node.hub.log import HubLog, lacking
from sync_protocol.checkpoint import Checkpoint, OpenCheckpoint, claimed_size, open_checkpoint
from sync_protocol.errors import malformed
from sync_protocol.manifest import Manifest
from sync_protocol.note import Note, NoteSignature, format_note
from sync_protocol.wire import RecoveryAnswer, RecoveryRequest, SeqRange

_logger = structlog.get_logger("simpul.hub.recovery")


def seen_note(log: HubLog, manifest: Manifest) -> bytes:
    """The checkpoint note that a judged manifest's `seen` is the middle of."""
    seen = Checkpoint(log.roster.origin, manifest.seen_size, manifest.seen_root)
    key = log.roster.log_key_at(manifest.seen_size)
    return _note(seen, NoteSignature(key.name, key.key_id, manifest.seen_sig))


async def begin_recovery(log: HubLog, *, agency: str, note: bytes) -> None:
    """Nothing is signed from now on: `agency` proved by `note` that we signed a checkpoint that we do not hold.

    Only while holding the append lock. The largest proof is kept.
    """
    shown = claimed_size(note)
    kept = await log.lock.proof()
    if kept is None or claimed_size(kept) < shown:
        await log.lock.keep_proof(note)
    if log.recovering is None:
        log.recovering = lacking(shown, log.size)
        _logger.critical("recovering", agency=agency, shown=shown, size=log.size)


async def hear_recovery(log: HubLog, asked: RecoveryRequest) -> RecoveryAnswer:
    """What a node holds, compared with what we hold; the sequences that we lack. Raises Refused."""
    note = asked.checkpoint.encode("utf-8")
    opened = open_checkpoint(note, log.roster.log_keys_for(note), log.roster.origin)
    async with log.appending():
        await log.refresh()
        ours = (await log.roots_at([opened.checkpoint.size])).get(opened.checkpoint.size)
        if ours != opened.checkpoint.root:
            await begin_recovery(log, agency=asked.agency, note=_signed_by_us(opened))
    if asked.seqs.from_seq > asked.seqs.to_seq + 1:
        raise malformed("a range ends before it begins", "seqs")
    head = log.heads.get(asked.agency)
    missing_from = (head.seq if head else 0) + 1
    if asked.seqs.to_seq < missing_from:
        return RecoveryAnswer(size=log.size)
    return RecoveryAnswer(size=log.size, wanted=SeqRange(from_seq=missing_from, to_seq=asked.seqs.to_seq))


def _signed_by_us(opened: OpenCheckpoint) -> bytes:
    """The note without the signatures of others: those may be long, and prove nothing here."""
    vkey = opened.vkey
    return _note(opened.checkpoint, NoteSignature(vkey.name, vkey.key_id, opened.signature))


def _note(checkpoint: Checkpoint, line: NoteSignature) -> bytes:
    return format_note(Note(checkpoint.text().decode("utf-8"), (line,)))
