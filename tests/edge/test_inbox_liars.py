"""A hub that lies in an inbox is found out, and nothing of the lie is stored (protocol §7.6, §10.7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from node.local.hub_evidence import Contradiction
from node.local.inbox import Inbox
from sync_protocol.errors import Refused, SimpulError
from sync_protocol.evidence import EvidenceFile
from sync_protocol.values import AgencyId
from sync_protocol.wire import InboxItem, InboxPage
from tests.edge.hub_lab import Lab
from tests.edge.inbox_lab import Peer, settle_down

CITY, REGENCY = AgencyId("35.71"), AgencyId("35.06")
AGENCIES = (CITY, REGENCY)
Lie = Callable[[InboxItem], InboxItem]


@dataclass
class LyingLink:
    """The hub's true answers, altered."""

    true: Any
    lie: Lie

    async def inbox(self, after: str, wait_s: float) -> InboxPage:
        page: InboxPage = await self.true.inbox(after, wait_s)
        return msgspec.structs.replace(page, items=[self.lie(item) for item in page.items])

    async def evidence(self, complaint: str) -> EvidenceFile:
        return await self.true.evidence(complaint)  # type: ignore[no-any-return]

    async def agencies(self) -> set[str]:
        return await self.true.agencies()  # type: ignore[no-any-return]


def lied_to(node: Peer, lie: Lie) -> Inbox:
    true = node.inbox
    return Inbox(node.store, LyingLink(node.link, lie), true._hub, true._federation, node.pusher.clock, node.agency)


def with_lines(alter: Callable[[str], str]) -> Lie:
    """Every excerpt altered."""

    def lie(item: InboxItem) -> InboxItem:
        assert item.evidence is not None
        sets = [msgspec.structs.replace(one, lines=alter(one.lines)) for one in item.evidence.sets]
        return msgspec.structs.replace(item, evidence=msgspec.structs.replace(item.evidence, sets=sets))

    return lie


async def test_altered_words_wrong_places_and_missing_proofs_are_not_taken_in(lab: Lab, nodes: list[Peer]) -> None:
    city, regency = nodes
    complaint = await city.receive()
    other = await city.receive()
    await city.offer(complaint, REGENCY)
    await city.push()
    await lab.hub.projector.catch_up()
    lies: list[Lie] = [
        with_lines(lambda lines: lines.replace("Jalan berlubang.", "Jalan mulus")),
        with_lines(lambda lines: lines.replace('"offered"', '"noted"')),
        lambda item: msgspec.structs.replace(item, evidence=None),
        lambda item: msgspec.structs.replace(item, place="9999.0"),
        lambda item: msgspec.structs.replace(item, complaint=other),
        lambda item: msgspec.structs.replace(item, place="no place"),
        lambda item: msgspec.structs.replace(
            item,
            evidence=msgspec.structs.replace(item.evidence, statements=[]),  # type: ignore[type-var]
        ),
        lambda item: msgspec.structs.replace(item, note="refused", verdict="applied", evidence=None),
        lambda item: msgspec.structs.replace(item, note="refused", verdict="because", evidence=None),
    ]
    for lie in lies:
        with pytest.raises((Contradiction, Refused)):
            await lied_to(regency, lie).drain()
        assert await regency.store.inbox_place() == -1
        assert await regency.store.complaints(_all()) == []
    assert await regency.inbox.drain() == 1
    assert (await regency.state(complaint)).offer_to == REGENCY


async def test_what_is_called_applied_and_is_not_possible_is_not_taken_in(lab: Lab, nodes: list[Peer]) -> None:
    """The hub shows a change that the log refused as if it had been applied."""
    city, regency = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await city.withdraw(complaint)
    await regency.accept(complaint)
    await city.push()
    await regency.push()
    await lab.hub.projector.catch_up()
    await city.inbox.drain()
    (refused,) = (await regency.link.inbox("", 0)).items[-1:]
    assert refused.note == "refused"
    shown = await lab.hub.inbox._evidence.make(
        (await city.held(complaint)).key, [_place_of(refused.place)], with_content=False
    )
    lie = msgspec.structs.replace(refused, note="change", verdict="applied", evidence=shown)
    before = await city.state(complaint)
    with pytest.raises(Contradiction):
        await city.inbox._take(lie, -1)
    assert await city.state(complaint) == before


async def test_a_refusal_of_another_change_than_stands_there_is_not_believed(lab: Lab, nodes: list[Peer]) -> None:
    city, regency = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await city.withdraw(complaint)
    await regency.accept(complaint)
    await city.push()
    await regency.push()
    await lab.hub.projector.catch_up()

    def lie(item: InboxItem) -> InboxItem:
        return msgspec.structs.replace(item, id="0" * 36) if item.note == "refused" else item

    with pytest.raises(SimpulError):
        await lied_to(regency, lie).drain()
    assert await regency.store.refusals(9) == []
    await regency.inbox.drain()
    assert len(await regency.store.refusals(9)) == 1


def _place_of(place: str) -> tuple[int, int]:
    index, _, position = place.partition(".")
    return int(index), int(position)


def _all() -> Any:
    from node.store.local_records import ComplaintFilter

    return ComplaintFilter()
