"""Bugs of each kind, to be planted in the simulation (test_planted_bugs.py): a part of a machine, and how it is wrong.

`BUGS` has them by what they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from node.hub.draft import Place
from node.hub.folding import OpenBatch, open_batch
from node.hub.gathering import Gathering
from node.hub.hub import Hub
from node.hub.intake import Intake, Taken
from node.hub.log import HubLog
from node.hub.options import HubOptions
from node.hub.ports import HubPorts
from node.hub.projector import BATCH_BYTES, Projector
from node.hub.turns import Caller
from node.local.hub_session import HubSession
from node.local.pusher import Pusher
from node.store.hub_records import Commit, KeptErasure, LogLeaf, StoredCheckpoint, StoredSet
from node.store.local_records import Seen
from node.store.projection_records import ProjectionStep, step_is_stale
from sync_protocol.change_set import parse_manifest_line
from sync_protocol.compression import compress_frames, compress_part, decode_body
from sync_protocol.jws import parse_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.manifest import CHANGE_SET_TYP, parse_manifest
from sync_protocol.statement import Role
from sync_protocol.wire import Entered
from tests.sim.disk import Disk
from tests.sim.memory_hub import MemoryHubStore
from tests.sim.memory_locks import LockState, MemoryLockStore
from tests.sim.memory_projection import MemoryProjectionStore
from tests.sim.parts import MemoryLease, Parts

SEEDS_MAX: Final = 200  # within which each is caught
UNFLUSHED_S: Final = 1.0


class EagerHubStore(MemoryHubStore):
    """Says that it is done, and begins."""

    async def append(self, commit: Commit) -> None:
        asyncio.get_running_loop().create_task(super().append(commit))


class ForgetfulDisk(Disk[Any]):
    """Skips the flush: what was written in the last second is gone with the power."""

    def put(self, what: str, state: Any) -> None:
        self._before = (asyncio.get_running_loop().time(), self.state)
        super().put(what, state)

    def power_cut(self) -> None:
        at_s, before = getattr(self, "_before", (-UNFLUSHED_S, self.state))
        if asyncio.get_running_loop().time() - at_s < UNFLUSHED_S:
            self.state = before


class SeqOnlyIntake(Intake):
    """Takes for a repeat whatever comes for a seq that is there."""

    async def submit(self, url_agency: str, url_seq: int, body: bytes, encoding: str | None, caller: Caller) -> Taken:
        stored = (await self._log.store.find_sets([(url_agency, url_seq)])).get((url_agency, url_seq))
        if stored is not None and stored.index < self._log.size:
            return Taken(Place(stored.index, self._log.published, is_new=False), stored.hidden, stored.erased)
        return await super().submit(url_agency, url_seq, body, encoding, caller)


class SeqOnlyHub(Hub):
    """A hub with that intake."""

    def __init__(self, options: HubOptions, ports: HubPorts) -> None:
        super().__init__(options, ports)
        self.intake = SeqOnlyIntake(self.log, self.appender, lambda: self.speaking(Role.REGISTRAR), self.clock)


class CarelessLease(MemoryLease):
    """Never alone: a directory that comes into use keeps its epoch, whoever else may sign in it."""

    def join(self) -> bool:
        super().join()
        return False


class TrustingSession(HubSession):
    """Keeps receipts as they come."""

    async def entered(self, entered: Entered, entry: bytes, seen: Seen) -> Seen | None:
        return None


class TrustingPusher(Pusher):
    """A pusher with that session."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._hub = TrustingSession(self.store, self.link, self.keys, self.agency)


class TornProjection(MemoryProjectionStore):
    """Moves its cursor in a transaction of its own."""

    async def commit(self, step: ProjectionStep) -> None:
        async with self._mount.writing("rows") as draft:
            if draft.cursor.size != step.begins:
                raise step_is_stale(step)
            draft.add_rows(step)
        async with self._mount.writing("cursor") as draft:
            draft.cursor = step.cursor


class HastyLog(HubLog):
    """Believes its database, and signs on from there."""

    async def _reconcile(self, note: bytes | None) -> StoredCheckpoint | None:
        newest = await self.store.newest_checkpoint()
        if newest is not None and newest.note != note:
            await self.lock.swap(note, newest.note)
        return newest


class HastyHub(Hub):
    """A hub with that log."""

    def __init__(self, options: HubOptions, ports: HubPorts) -> None:
        super().__init__(options, ports)
        self.log.__class__ = HastyLog


class CredulousGathering(Gathering):
    """Takes lines for those of a set because its manifest stands above them."""

    async def take_lines(self, agency: str, seq: int, body: bytes, encoding: str | None) -> None:
        parts = decode_body(body, encoding)
        leaf = await self.check_wanted(agency, seq, parse_manifest_line(parts.head))
        await self._log.store.keep_lines(leaf.index, *compress_frames(parts.head, parts.contents), 0)
        self.is_fresh = True


class CredulousIntake(Intake):
    """The same for a set that stands in the log without lines."""

    async def _fill(self, stored: StoredSet, shown: Any, caller: Caller) -> bool:
        parts = decode_body(shown.wire, shown.encoding)
        await self._log.store.fill_missing(stored, compress_frames(parts.head, parts.contents))
        return False


class CredulousHub(Hub):
    """A hub that is refilled so."""

    def __init__(self, options: HubOptions, ports: HubPorts) -> None:
        super().__init__(options, ports)
        self.gathering.__class__ = CredulousGathering
        self.intake.__class__ = CredulousIntake


class ForgettingProjector(Projector):
    """Goes on with the query tables that it has: what was erased after the backup is not erased again."""

    async def drop(self) -> None:
        self._cursor = None


class ForgettingHub(Hub):
    """A hub with that projector."""

    def __init__(self, options: HubOptions, ports: HubPorts) -> None:
        super().__init__(options, ports)
        self.projector.__class__ = ForgettingProjector


class SkippingProjector(Projector):
    """Folds a set whose lines are missing as one whose lines say nothing."""

    async def _open(self, start: int, end: int) -> OpenBatch:
        leaves = self._log.recent.take(start, end, BATCH_BYTES) or await self._store.leaves(start, end, BATCH_BYTES)
        return open_batch([_without_lines(leaf) for leaf in leaves])


def _without_lines(leaf: LogLeaf) -> LogLeaf:
    jws = parse_jws(leaf.entry, max_bytes=FORK_JWS_MAX_BYTES)
    if jws.typ != CHANGE_SET_TYP or leaf.changes_frame is not None:
        return leaf
    head = leaf.entry + b"\n" + b"{}\n" * parse_manifest(jws).manifest.changes
    return replace(leaf, changes_frame=compress_part(head))


class SkippingHub(Hub):
    """A hub with that projector."""

    def __init__(self, options: HubOptions, ports: HubPorts) -> None:
        super().__init__(options, ports)
        self.projector.__class__ = SkippingProjector


class AmnesicLockStore(MemoryLockStore):
    """Keeps no ledger of what was erased: either of the two makes up for the want of the other."""

    async def keep_erasures(self, erasures: Sequence[KeptErasure]) -> None:
        return None


class BlindLockStore(MemoryLockStore):
    """Writes what it is given, whatever is there: no compare-and-swap."""

    def _swapped(self, before: LockState, expected: bytes | None, note: bytes) -> LockState:
        return replace(before, note=note)


class BlindHubStore(MemoryHubStore):
    """Does not look where its append goes."""

    async def append(self, commit: Commit) -> None:
        async with self._mount.writing("append") as draft:
            draft.append(replace(commit, follows=draft.newest_size))


class EarlyLog(HubLog):
    """Shows what stands in the database, published or not."""

    async def follow(self) -> bool:
        newest, before = await self.store.newest_checkpoint(), self.size
        if newest is not None and newest.size > before and self.is_signing:
            async with self._changing:
                await self._take_in(newest)
        return self.size > before


class EarlyHub(Hub):
    """A hub with that log."""

    def __init__(self, options: HubOptions, ports: HubPorts) -> None:
        super().__init__(options, ports)
        self.log.__class__ = EarlyLog


class DeafProjection(MemoryProjectionStore):
    """Takes a step from whoever comes, also from one who was overtaken."""

    async def commit(self, step: ProjectionStep) -> None:
        async with self._mount.writing("commit") as draft:
            draft.add_rows(step)
            draft.cursor = step.cursor


@dataclass(frozen=True)
class Bug:
    """`signs`: what the witness must say of it, a pattern. `seed`: the first that caught it, last time."""

    make: Callable[[], Parts]
    signs: str
    seed: int


BUGS: Final[dict[str, Bug]] = {
    "acknowledges before the commit": Bug(lambda: Parts(hub_store=EagerHubStore), "published|shown", 1),
    "skips the flush": Bug(
        lambda: Parts(disk=ForgetfulDisk), "rewritten or cut|not in the log|lost something|never came", 1
    ),
    "compares seq without digest": Bug(lambda: Parts(hub=SeqOnlyHub), "no honest hub takes|hub-contradicts", 5),
    "reuses an epoch after a restore": Bug(lambda: Parts(lease=CarelessLease), "signed two sets", 6),
    "keeps receipts unverified": Bug(lambda: Parts(pusher=TrustingPusher), "is acknowledged at|does not hold", 4),
    "moves the cursor apart from the rows": Bug(
        lambda: Parts(projection=TornProjection), "hub never came|projection", 11
    ),
    "signs at once after a restore": Bug(
        lambda: Parts(hub=HastyHub), "was published after|rewritten or cut|was put back|without a reason", 2
    ),
    "refills without verifying": Bug(
        lambda: Parts(hub=CredulousHub), "never signed|other changes|lines of the set", 66
    ),
    "goes on folding where it was": Bug(lambda: Parts(hub=ForgettingHub, lock=AmnesicLockStore), "that was erased", 94),
    "folds past missing lines": Bug(lambda: Parts(hub=SkippingHub), "another state hash", 28),
    "swaps the lock without comparing": Bug(lambda: Parts(lock=BlindLockStore), "was published after|two roots", 46),
    "appends without comparing": Bug(
        lambda: Parts(hub_store=BlindHubStore), "another root|rewritten or cut|be folded", 27
    ),
    "shows what is not published": Bug(lambda: Parts(hub=EarlyHub), "was shown|about:blank|without a reason", 27),
    "projects without comparing": Bug(lambda: Parts(projection=DeafProjection), "another state hash|projection", 75),
}
