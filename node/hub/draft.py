"""One append being put together: submissions judged one after the other, each as if those before it were in the log.

A draft holds any number of sets and at most one statement, the last leaf: so the roster is the same for every set in
it, and a statement changes the roster only once it is published. Nothing here writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from node.hub.log import HubLog
from node.store.hub_records import Fork, Invitation, NewSet, StoredCheckpoint, StoredHead, StoredSet, StoredStatement
from sync_protocol import statement as st
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.intake import (
    Accept,
    Behind,
    Duplicate,
    Forked,
    Head,
    Held,
    IntakeView,
    Judgement,
    RolledBack,
    Superseded,
    judge,
)
from sync_protocol.jws import Jws
from sync_protocol.manifest import SignedManifest
from sync_protocol.roster import Admission
from sync_protocol.statement import sign_statement


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the log, and a published checkpoint that covers it."""

    index: int
    checkpoint: StoredCheckpoint
    is_new: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement made for the log as it is now. `uses`: the invitation that it uses up."""

    jws: Jws
    uses: Invitation | None = None


@dataclass(slots=True, eq=False)
class SetItem:
    """A set waiting to be judged. `fault` is what its lines are wrong in; told only if nothing else is (§8)."""

    submission: SignedManifest
    url_agency: str
    url_seq: int
    changes_frame: bytes
    contents_frame: bytes
    hidden: int
    fault: Refused | Unavailable | None
    received_at_ms: int
    answer: asyncio.Future[Place] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(slots=True, eq=False)
class StatementItem:
    """A statement waiting. `prepare`, called under the append lock, makes it, or tells where it stands already.

    Raises Refused.
    """

    prepare: Callable[[], Awaitable[Prepared | int]]
    answer: asyncio.Future[Place] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


Item = SetItem | StatementItem
Outcome = int | Refused | Unavailable
"""A log index, new or old; or why not."""


class Draft:
    """See the module. Made, judged and thrown away while the append lock is held."""

    def __init__(self, log: HubLog, registrar: Callable[[], Signer], now_ms: int) -> None:
        self.log = log
        self.follows = log.size
        self.entries: list[bytes] = []
        self.sets: list[NewSet] = []
        self.statements: list[StoredStatement] = []
        self.forks: list[Fork] = []
        self.evidence: list[Fork] = []
        self.uses: Invitation | None = None
        self.admission: Admission | None = None
        self.heads: dict[str, Head] = {}
        self.outcomes: dict[Item, Outcome] = {}
        self.rolled_back: RolledBack | None = None
        self._registrar = registrar
        self._now_ms = now_ms
        self._pending: dict[tuple[str, int], Held] = {}
        self._held: dict[tuple[str, int], Held] = {}
        self._roots: dict[int, bytes] = {}

    @property
    def size(self) -> int:
        """The log's size once this is appended."""
        return self.follows + len(self.entries)

    async def look_up(self, submissions: Sequence[SignedManifest]) -> None:
        """Everything that judging these sets will ask for."""
        manifests = [submission.manifest for submission in submissions]
        self._roots = await self.log.roots_at([manifest.seen_size for manifest in manifests])
        places = [(m.agency, m.seq) for m in manifests if self._is_passed(m.agency, m.seq)]
        if places:
            found = await self.log.store.find_sets(places)
            signed = await self.log.manifests_at([stored.index for stored in found.values()])
            self._held = {place: Held(stored.index, signed[stored.index]) for place, stored in found.items()}

    def _is_passed(self, agency: str, seq: int) -> bool:
        head = self.log.heads.get(agency)
        return head is not None and seq <= head.seq

    def add_sets(self, items: list[SetItem]) -> int:
        """Judges them in order; stops after one that brings evidence into the log. How many were judged."""
        for count, item in enumerate(items, 1):
            self.outcomes[item] = self._judge(item)
            if self.rolled_back is not None or self.admission is not None:
                return count
        return len(items)

    def judgement(self, submission: SignedManifest, url_agency: str, url_seq: int) -> Judgement:
        """What §8 says of one submission here and now. Raises Refused, Unavailable."""
        return judge(self._view(submission.manifest.agency), submission, url_agency, url_seq)

    def _judge(self, item: SetItem) -> Outcome:
        try:
            judgement = self.judgement(item.submission, item.url_agency, item.url_seq)
        except (Refused, Unavailable) as error:
            return error
        match judgement:
            case Accept(head):
                return item.fault or self._accept(item, head)
            case Duplicate(held):
                return held.index
            case Forked():
                self._keep_evidence(judgement)
                return judgement.refused()
            case Behind() | Superseded():
                return judgement.refused()
            case RolledBack():
                self.rolled_back = judgement
                return judgement.unavailable()

    def _view(self, agency: str) -> IntakeView:
        return IntakeView(
            roster=self.log.roster,
            log_size=self.size,
            root_at=self._roots.get,
            head=self.heads.get(agency) or self.log.heads.get(agency),
            held=lambda seq: self._pending.get((agency, seq)) or self._held.get((agency, seq)),
        )

    def _accept(self, item: SetItem, head: Head) -> int:
        index, manifest = self.size, item.submission.manifest
        stored = StoredSet(
            index=index,
            agency=manifest.agency,
            seq=manifest.seq,
            epoch=manifest.epoch,
            digest=item.submission.digest,
            changes=manifest.changes,
            size=manifest.size,
            hidden=item.hidden,
            erased=0,
            received_at_ms=item.received_at_ms,
        )
        self.entries.append(item.submission.jws.text.encode("ascii"))
        self.sets.append(NewSet(stored, item.changes_frame, item.contents_frame))
        self.heads[manifest.agency] = head
        self._pending[manifest.agency, manifest.seq] = Held(index, item.submission)
        return index

    def _keep_evidence(self, forked: Forked) -> None:
        """Both manifests are kept; a pair for one (agency, epoch, seq) is told to the log as well, once."""
        held, other = forked.held, forked.submission
        if held is None or held.manifest.seq != other.manifest.seq:
            return
        index = self._log_fork(held, other) if forked.is_evidence else None
        fork = Fork(
            agency=other.manifest.agency,
            epoch=other.manifest.epoch,
            seq=other.manifest.seq,
            held_digest=held.digest,
            other_digest=other.digest,
            held=held.jws.text.encode("ascii"),
            other=other.jws.text.encode("ascii"),
            at_ms=self._now_ms,
            statement_index=index,
        )
        (self.evidence if index is None else self.forks).append(fork)

    def _log_fork(self, held: SignedManifest, other: SignedManifest) -> int | None:
        record = self.log.roster.agency(other.manifest.agency)
        if record is None:
            return None
        fork = st.Fork(
            at=self._now_ms,
            log=self.log.roster.genesis_digest,
            agency=other.manifest.agency,
            prev=record.last_statement,
            epoch=other.manifest.epoch,
            seq=other.manifest.seq,
            manifests=(held, other),
        )
        try:
            return self.add_statement(Prepared(sign_statement(fork, self._registrar())))
        except Refused:
            return None  # this pair is in the log already

    def add_statement(self, prepared: Prepared) -> int:
        """Takes in a statement as the last leaf. Raises Refused, and stays as it was."""
        index = self.size
        self.admission = self.log.roster.examine(index, prepared.jws)
        self.uses = replace(prepared.uses, used_index=index) if prepared.uses else None
        jws = prepared.jws
        entry = jws.text.encode("ascii")
        self.entries.append(entry)
        agency = getattr(self.admission.statement, "agency", None)
        self.statements.append(StoredStatement(index, jws.typ, agency, jws.digest, entry))
        return index

    def stored_heads(self) -> dict[str, StoredHead]:
        """The heads as the store will have them."""
        return {
            new.stored.agency: StoredHead(
                new.stored.agency,
                new.stored.epoch,
                new.stored.seq,
                new.stored.digest,
                new.stored.index,
                new.stored.received_at_ms,
            )
            for new in self.sets
        }
