"""Taking in what other processes appended and published (protocol §6.3), in one look at the database.

Only the leaves that are new are read. Their hashes, on top of the tiles that this process has, must lead to the root
that was signed: so whatever the database says, two views of one log cannot come about unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from node.store.hub_records import GrownLeaf, StoredCheckpoint
from sync_protocol.checkpoint import claimed_size, open_checkpoint
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.jws import parse_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.merkle import leaf_hash
from sync_protocol.roster import Roster

if TYPE_CHECKING:
    from node.hub.log import HubLog

LEAVES_MAX: Final = 20_000  # 20 MiB of entries; who is further behind reads the heads instead


async def follow_to(log: HubLog, note: bytes | None) -> bool:
    """Brings `log` to the checkpoint of `note`, which the lock store holds; only while nobody else changes it.

    False, changing nothing, where that takes a look at everything: the database does not lead there in one step, or
    not at all. Raises Corrupt if what it holds is not what was signed.
    """
    if note == (log.published.note or None):
        return True
    size = 0 if note is None else _size_in(note)
    if not 0 < log.size < size <= log.size + LEAVES_MAX:
        return False
    leaves = await log.store.grown(log.size, size)
    newest = leaves[-1].checkpoint if len(leaves) == size - log.size else None
    if newest is None or newest.note != note:
        return False
    await _take_in(log, leaves, newest)
    return True


async def _take_in(log: HubLog, leaves: Sequence[GrownLeaf], newest: StoredCheckpoint) -> None:
    growth = await log.tiles.grow(log.size, [leaf_hash(leaf.entry) for leaf in leaves])
    if growth.root != newest.root:
        raise Corrupt(
            f"the leaves up to size {newest.size} do not lead to its signed root",
            next_step="Stop the hub, keep its database as it is, and restore the newest backup beside it.",
        )
    # From here on nothing waits: whoever reads the view sees all of it before, or all of it after.
    for leaf in leaves:
        if leaf.head is None:
            admit(log.roster, leaf.index, leaf.entry)
    check_checkpoint(log.roster, newest)
    heads = {leaf.head.agency: leaf for leaf in leaves if leaf.head is not None}
    for leaf in heads.values():
        assert leaf.head is not None
        log.heads.take_in(leaf.head, leaf.entry)
    for leaf in leaves:
        if leaf.checkpoint is not None:
            log.remember_root(leaf.checkpoint)  # its sender names it as `seen` next, maybe to us
    log.publish(newest, growth.changed)


def admit(roster: Roster, index: int, entry: bytes) -> None:
    """A statement that the log holds. Raises Corrupt if it has no place there."""
    try:
        roster.admit(index, parse_jws(entry, max_bytes=FORK_JWS_MAX_BYTES))
    except Refused as error:
        raise Corrupt(f"the statement at log index {index} does not hold: {error}") from error


def check_checkpoint(roster: Roster, newest: StoredCheckpoint) -> None:
    """That a checkpoint of ours is signed by a key of this log, and says what its row says. Raises Corrupt."""
    try:
        opened = open_checkpoint(newest.note, roster.log_keys_for(newest.note), roster.origin)
    except Refused as error:
        raise Corrupt(f"the newest checkpoint is not by a key of this log: {error}") from error
    if (opened.checkpoint.size, opened.checkpoint.root) != (newest.size, newest.root):
        raise Corrupt("the newest checkpoint's note says something else than its row")


def _size_in(note: bytes) -> int:
    try:
        return claimed_size(note)
    except Refused as error:
        raise Corrupt(f"the lock store holds what is no checkpoint: {error}") from error
