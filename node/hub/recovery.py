"""A hub that was restored from a backup finds out, and signs nothing more (protocol §10.6, architecture G6).

Two things tell it: the lock store (log.py), and any node that shows a checkpoint which this hub signed and does not
hold. The finding is kept in the database and outlives the process.
"""

from __future__ import annotations

import structlog

from node.hub.log import RECOVERING, HubLog
from node.ports import Clock
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.errors import malformed
from sync_protocol.wire import RecoveryAnswer, RecoveryRequest, SeqRange

_logger = structlog.get_logger("simpul.hub.recovery")


async def begin_recovery(log: HubLog, clock: Clock, *, agency: str, size: int) -> None:
    """Nothing is signed from now on: `agency` proved that we signed a checkpoint of `size` that we do not hold."""
    why = (
        f"{agency} showed a checkpoint of size {size} that this hub signed and does not hold: the database was "
        "restored from a backup. Leave the hub running, so that its nodes can refill it."
    )
    await log.store.set_condition(RECOVERING, why.encode(), clock.now_ms())
    log.recovering = why
    _logger.critical("recovering", agency=agency, seen=size, size=log.size)


async def hear_recovery(log: HubLog, clock: Clock, asked: RecoveryRequest) -> RecoveryAnswer:
    """What a node holds, compared with what we hold; the sequences that we want back. Raises Refused."""
    note = asked.checkpoint.encode("utf-8")
    shown = open_checkpoint(note, log.roster.log_keys_for(note), log.roster.origin).checkpoint
    ours = (await log.roots_at([shown.size])).get(shown.size)
    if ours != shown.root and log.recovering is None:
        await begin_recovery(log, clock, agency=asked.agency, size=shown.size)
    if asked.seqs.from_seq > asked.seqs.to_seq + 1:
        raise malformed("a range ends before it begins", "seqs")
    head = log.heads.get(asked.agency)
    missing_from = (head.seq if head else 0) + 1
    if asked.seqs.to_seq < missing_from:
        return RecoveryAnswer(size=log.size)
    return RecoveryAnswer(size=log.size, wanted=SeqRange(from_seq=missing_from, to_seq=asked.seqs.to_seq))
