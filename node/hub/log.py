"""The log as one hub process knows it: what is published, the roster and the heads that follow from it (protocol §6).

Three copies of the newest checkpoint exist, and their order is the whole safety of the log (§6.3):

    database  ≥  lock store  ≥  what this process publishes

The database may be one commit ahead of the lock: an append that was committed and not yet published. Whoever holds
the lock next moves it on. The lock is never ahead of the database: then the database was restored from a backup, and
this hub signs nothing more (`recovering`). The same holds where somebody shows a checkpoint that we signed and the
database does not lead to; that proof is kept beside the lock. Both end when the database holds everything again: it was
taken back (restoring.py), or a newer database was put in its place.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog

from node.hub.following import admit, check_checkpoint, follow_to
from node.hub.heads import Heads
from node.hub.ports import HubStore, LockStore
from node.hub.recent import RecentLeaves
from node.hub.tile_cache import TileCache
from node.store.hub_records import StoredCheckpoint, StoredHead
from sync_protocol.checkpoint import Checkpoint, parse_checkpoint_text
from sync_protocol.errors import Corrupt, Refused, Unavailable
from sync_protocol.manifest import SignedManifest, parse_manifest
from sync_protocol.merkle import CompactRange, consistency_proof, inclusion_proof
from sync_protocol.note import parse_note
from sync_protocol.problems import Recovering
from sync_protocol.receipt import Receipt, format_receipt
from sync_protocol.roster import Roster
from sync_protocol.tiles import TileReader, TileTree

ROOTS_KEPT_MAX: Final = 4_096  # what nodes have lately seen; older ones are looked up
EMPTY_LOG: Final = StoredCheckpoint(0, 0, Checkpoint("empty", 0, CompactRange().root()).root, b"", 0)
_NEXT: Final = (
    "It was restored from a backup. Nothing is signed and no set is taken in. Keep it serving: nodes hand over what is "
    "missing by themselves, and then it goes on. What they lack comes from an export or a mirror: `simpul hub recover "
    "DIR --from COPY`; or stop it and put back a newer copy of the database. Never touch the lock folder "
    "(docs/operations.md, 'A restored hub')."
)

_logger = structlog.get_logger("simpul.hub.log")


class HubLog:
    """One process's view, read at any time on its event loop.

    It changes where this process appends, which takes the append lock (`appending`), and where it takes in what others
    published (`follow`), which does not. `published` is the newest checkpoint that this process knows to be published;
    `roster` and `heads` are as of it.
    """

    def __init__(self, store: HubStore, lock: LockStore) -> None:
        self.store = store
        self.lock = lock
        self.roster = Roster()
        self.heads = Heads()
        self.published = EMPTY_LOG
        self.tiles = TileCache(store)
        self.recent = RecentLeaves()
        self.recovering: str | None = None
        self.broken: Corrupt | None = None
        self.is_stale = False  # an append ended in an unknown way: read again before the next one
        self._admitted = 0
        self._roots: OrderedDict[int, bytes] = OrderedDict()
        self._changing = asyncio.Lock()

    @property
    def stored_heads(self) -> dict[str, StoredHead]:
        """The heads as the database has them."""
        return self.heads.stored

    @property
    def size(self) -> int:
        """Number of published leaves."""
        return self.published.size

    @property
    def is_signing(self) -> bool:
        """False while recovering, or once our state contradicted itself."""
        return self.recovering is None and self.broken is None

    def check_signing(self) -> None:
        """Raises Recovering or Unavailable while nothing may be signed."""
        if self.broken is not None:
            raise Unavailable(f"the hub stopped signing: {self.broken.detail}", retry_after_s=60)
        if self.recovering is not None:
            raise Recovering(self.recovering, size=self.size, retry_after_s=60)

    def stop_signing(self, error: Corrupt) -> None:
        """Our state contradicts itself: nothing more is signed by this process."""
        self.broken = error
        _logger.critical("stopped signing", detail=error.detail, next=error.next_step)

    async def open(self) -> None:
        """Reads everything, and moves the lock on if a commit was not published. Raises Corrupt.

        Whether this hub is recovering is found out anew: what a database that was put back holds again is settled.
        """
        async with self.appending():
            await self.refresh(force=True)
            await self.settle()
            if self.is_signing:
                await self.keep_statements(self.size)

    @asynccontextmanager
    async def appending(self) -> AsyncIterator[None]:
        """The append lock; and nothing in this process changes the view beside whoever is in here."""
        async with self.lock.hold(), self._changing:
            yield

    async def follow(self) -> bool:
        """Takes in what is published by now, whoever appended it. True if there was something new.

        What the lock store holds is published; what only the database holds is not. So what anybody was told before
        this was called is known afterwards. Raises Corrupt, and what store and lock raise.
        """
        if not self.is_signing or await self.lock.read() == (self.published.note or None):
            return False
        before = self.size
        try:
            async with self._changing:
                has_followed = await follow_to(self, await self.lock.read())
            if not has_followed:
                async with self.appending():
                    await self.refresh(force=True)
        except Corrupt as error:
            self.stop_signing(error)
            raise
        return self.size > before

    async def keep_statements(self, size: int) -> None:
        """Those below `size` that the lock store lacks go there; only while appending.

        An older program kept none, and a crash may have come in between.
        """
        statements = await self.store.statements(await self.lock.statements_kept_to() + 1)
        lacking_there = [(one.index, one.entry) for one in statements if one.index < size]
        if lacking_there:
            await self.lock.keep_statements(lacking_there)

    async def settle(self) -> None:
        """Whether our log leads to all that we are known to have signed; only while appending, after `refresh`.

        Until that is known nobody sees this hub as one that signs.
        """
        if await self.lock.read() != (self.published.note or None):
            return  # behind its lock store: `refresh` said so
        note = await self.lock.proof()
        if note is not None:
            shown = checkpoint_in(note)
            if (await self.roots_at([shown.size])).get(shown.size) != shown.root:
                self.recovering = self.recovering or lacking(shown.size, self.size)
                return
            await self.lock.keep_proof(None)
            _logger.warning("recovered", shown=shown.size, size=self.size)
        self.recovering = None

    async def refresh(self, *, force: bool = False) -> None:
        """Only while appending: takes in what another process appended, or a crash left unpublished.

        A crash is noticed by `is_stale`, or by an append that the database does not take.
        """
        note = await self.lock.read()
        if not force:
            await self._heed_others()
            if not self.is_stale and await follow_to(self, note):
                return
        newest = await self._reconcile(note)
        if newest is not None:
            await self._take_in(newest)
        self.is_stale = False

    async def _heed_others(self) -> None:
        """What one process was shown stops all of them: a proof that the database lost something."""
        if self.recovering is None and (note := await self.lock.proof()) is not None:
            self.recovering = lacking(checkpoint_in(note).size, self.size)

    async def _reconcile(self, note: bytes | None) -> StoredCheckpoint | None:
        """The newest checkpoint that both database and lock hold afterwards; None for an empty log."""
        newest = await self.store.newest_checkpoint()
        if newest is None:
            if note is not None:
                self.recovering = lacking(checkpoint_in(note).size, 0)
            return None
        if note == newest.note:
            return newest
        before = await self.store.checkpoint_of(newest.follows) if newest.follows else None
        if note == (before.note if before else None):
            # One commit ahead: it was complete (one transaction) and nobody has seen it, or only we have.
            await self.keep_statements(newest.size)
            await self.lock.swap(note, newest.note)
            return newest
        locked = None if note is None else checkpoint_in(note).size
        if locked is not None and locked > newest.size:
            self.recovering = lacking(locked, newest.size)
            return newest
        raise Corrupt(
            f"the lock holds checkpoint {locked or 'none'}, the database {newest.size}: neither follows the other",
            next_step="Do not start the hub. Put back the newest lock folder; never restore it from a backup.",
        )

    async def _take_in(self, newest: StoredCheckpoint) -> None:
        for statement in await self.store.statements(self._admitted):
            admit(self.roster, statement.index, statement.entry)
        self._admitted = newest.size
        check_checkpoint(self.roster, newest)
        await self._load_heads()
        await self.tiles.load_edge(newest.size)
        await self._check_root(newest)
        self.published = newest
        self.remember_root(newest)

    async def _check_root(self, newest: StoredCheckpoint) -> None:
        """That the tiles lead to the signed root: a flipped bit on the disk is found before anything is built on it."""
        if await self.tiles.compute(partial(_root_from_tiles, newest.size)) != newest.root:
            raise Corrupt(
                f"the hash tiles do not lead to the signed root of size {newest.size}",
                next_step="Stop the hub, keep its database as it is, and restore the newest backup beside it.",
            )

    async def _load_heads(self) -> None:
        """Heads that moved since the last look."""
        moved = [head for head in await self.store.heads() if self.stored_heads.get(head.agency) != head]
        entries = await self.store.entries_at([head.index for head in moved])
        for head in moved:
            self.heads.take_in(head, entries[head.index])

    def publish(self, checkpoint: StoredCheckpoint, changed: dict[tuple[int, int], bytes]) -> None:
        """Only after the lock store holds `checkpoint`, with its roster and heads."""
        self.tiles.put(changed)
        self.published = checkpoint
        self._admitted = checkpoint.size
        self.remember_root(checkpoint)

    def remember_root(self, checkpoint: StoredCheckpoint) -> None:
        """Nodes name it as `seen` from now on."""
        self._roots[checkpoint.size] = checkpoint.root
        while len(self._roots) > ROOTS_KEPT_MAX:
            self._roots.popitem(last=False)

    async def roots_at(self, sizes: Sequence[int]) -> dict[int, bytes]:
        """Our own roots at those sizes that are not beyond what is published."""
        roots: dict[int, bytes] = {}
        for size in set(sizes):
            if size > self.size:
                continue
            root = self._roots.get(size)
            if root is None:
                root = await self.tiles.compute(partial(_root_from_tiles, size))
                self._roots[size] = root
            roots[size] = root
        return roots

    async def receipt(self, index: int, checkpoint: StoredCheckpoint) -> str:
        """The tlog-proof of a leaf at a checkpoint."""

        def prove(read: TileReader) -> list[bytes]:
            return inclusion_proof(index, checkpoint.size, TileTree(checkpoint.size, read).node)

        hashes = await self.tiles.compute(prove)
        return format_receipt(Receipt(index, tuple(hashes), checkpoint.note)).decode("utf-8")

    async def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """Hashes between two sizes. Raises Refused(malformed) if old > new, not-found beyond what is published."""
        if new_size > self.size:
            raise Refused("not-found", f"the log has {self.size} leaves", where="to")

        def prove(read: TileReader) -> list[bytes]:
            return consistency_proof(old_size, new_size, TileTree(new_size, read).node)

        return await self.tiles.compute(prove)

    async def manifests_at(self, indices: Sequence[int]) -> dict[int, SignedManifest]:
        """The manifests of stored sets, by log index."""
        return {index: parse_manifest(entry) for index, entry in (await self.store.entries_at(indices)).items()}


def _root_from_tiles(size: int, read: TileReader) -> bytes:
    return edge_from_tiles(size, read).root()


def edge_from_tiles(size: int, read: TileReader) -> CompactRange:
    """The right edge of a log of `size` leaves: the complete subtrees that make it up."""
    node: Callable[[int, int], bytes] = TileTree(size, read).node
    edge, start = CompactRange(), 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            edge.append_subtree(level, node(level, start >> level))
            start += 1 << level
    return edge


def lacking(shown: int, held: int) -> str:
    """What an operator reads of a database that is behind what was signed, both in leaves."""
    return f"This hub signed a log of {shown} leaves, its database leads to none such: it holds {held}. {_NEXT}"


def checkpoint_in(note: bytes) -> Checkpoint:
    """What a note says that we wrote ourselves; it was opened when it was written."""
    try:
        return parse_checkpoint_text(parse_note(note).text)
    except Refused as error:
        raise Corrupt(f"the lock folder holds what is no checkpoint: {error}") from error
