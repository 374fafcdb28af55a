"""The desk's escalations against a real hub: time that passes, and a hub that alters what it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from node.deadlines.overdue import OverduePage
from node.deadlines.tables import deadlines_of_tables
from node.local.escalation_book import FOLDER_MAX_BYTES, EscalationBook
from node.local.escalation_evidence import EscalationCheck
from node.local.escalation_types import Escalation
from node.local.escalation_watch import EscalationWatch
from node.local.federation import Federation
from node.local.hub_session import HubSession
from sync_protocol.evidence import EvidenceFile
from tests.edge.deadline_lab import DAY_MS, tick
from tests.edge.hub_lab import Lab, projected
from tests.edge.inbox_lab import Peer

Page = Callable[[OverduePage], OverduePage]
Bundle = Callable[[EvidenceFile], EvidenceFile]


@dataclass
class AlteredLink:
    """The hub's answers, altered; `error` instead of any, or of evidence alone."""

    true: Any
    page: Page = lambda page: page
    bundle: Bundle = lambda evidence: evidence
    error: Exception | None = None
    evidence_error: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def overdue(self, after: str, limit: int) -> OverduePage:
        if self.error is not None:
            raise self.error
        return self.page(await self.true.overdue(after, limit))

    async def silent(self) -> set[str]:
        return await self.true.silent()  # type: ignore[no-any-return]

    async def evidence(self, complaint: str) -> EvidenceFile:
        self.asked.append(complaint)
        if self.evidence_error is not None:
            raise self.evidence_error
        return self.bundle(await self.true.evidence(complaint))


@dataclass
class Desk:
    """The desk's node with what it keeps of escalations."""

    node: Peer
    link: AlteredLink
    book: EscalationBook
    watch: EscalationWatch

    async def items(self) -> list[Escalation]:
        return (await self.book.page(None, 200)).items

    async def looked(self) -> list[Escalation]:
        await self.watch.look()
        return await self.items()

    def files(self) -> set[str]:
        """Bundles on the disk."""
        return {path.name for path in self.book.folder.iterdir()} - {"list.json", "lock"}


async def desk_at(node: Peer, *, bytes_max: int = FOLDER_MAX_BYTES) -> Desk:
    """Of a node that may be the desk, with parts of its own as a process has them."""
    federation: Federation = node.inbox._federation
    await federation.read_rules(node.store)
    link = AlteredLink(node.link)
    book = EscalationBook(node.directory / "escalations", lambda: federation.desk == node.agency, bytes_max=bytes_max)
    true_hub = node.inbox._hub
    hub = HubSession(node.store, node.link, true_hub._keys, node.agency)
    check = EscalationCheck(node.store, hub, deadlines_of_tables())
    watch = EscalationWatch(book, link, check, node.store, federation, node.pusher.clock, node.agency)
    return Desk(node, link, book, watch)


async def pass_days(lab: Lab, days: int) -> None:
    """Everybody's clock goes on, and the hub says so."""
    lab.clock.at_ms += days * DAY_MS
    await tick(lab)
    await projected(lab)


def with_lines(alter: Callable[[str], str]) -> Bundle:
    """Every excerpt altered."""

    def lie(evidence: EvidenceFile) -> EvidenceFile:
        sets = [msgspec.structs.replace(one, lines=alter(one.lines)) for one in evidence.sets]
        return msgspec.structs.replace(evidence, sets=sets)

    return lie


def with_members(**members: Any) -> Page:
    """Every line of the list altered."""

    def lie(page: OverduePage) -> OverduePage:
        return msgspec.structs.replace(
            page, complaints=[msgspec.structs.replace(line, **members) for line in page.complaints]
        )

    return lie
