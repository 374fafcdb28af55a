"""A hub that was restored from a backup finds out, and signs nothing more (protocol §10.6, architecture G6).

Two things tell it: the lock store (log.py), and any node that shows a checkpoint which this hub signed and does not
hold. That proof is kept beside the lock, not in the database: whatever database is put back next is held against it.
From then on it gathers what it lacks (gathering.py) and takes its log back (restoring.py).
"""

from __future__ import annotations

import structlog

from node.hub.gathering import Gathering, ours_alone
from node.hub.log import HubLog, lacking
from sync_protocol.checkpoint import Checkpoint, claimed_size
from sync_protocol.errors import malformed
from sync_protocol.manifest import Manifest
from sync_protocol.note import Note, NoteSignature, format_note
from sync_protocol.wire import RecoveryAnswer, RecoveryRequest

_logger = structlog.get_logger("simpul.hub.recovery")


def seen_note(log: HubLog, manifest: Manifest) -> bytes:
    """The checkpoint note that a judged manifest's `seen` is the middle of."""
    seen = Checkpoint(log.roster.origin, manifest.seen_size, manifest.seen_root)
    key = log.roster.log_key_at(manifest.seen_size)
    line = NoteSignature(key.name, key.key_id, manifest.seen_sig)
    return format_note(Note(seen.text().decode("utf-8"), (line,)))


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


async def hear_recovery(log: HubLog, gathering: Gathering, asked: RecoveryRequest) -> RecoveryAnswer:
    """What a node holds is compared with what we hold, and kept where we lack it. Raises Refused."""
    if asked.seqs.from_seq > asked.seqs.to_seq + 1:
        raise malformed("a range ends before it begins", "seqs")
    trust = await gathering.trust()
    opened = trust.open(asked.checkpoint.encode("utf-8"))
    if log.recovering is None:
        async with log.appending():
            await log.refresh()
            ours = (await log.roots_at([opened.checkpoint.size])).get(opened.checkpoint.size)
            if ours != opened.checkpoint.root:
                await begin_recovery(log, agency=asked.agency, note=ours_alone(opened))
    if log.recovering is not None:
        return await gathering.take_in(asked)
    return await gathering.answer(asked.agency)
