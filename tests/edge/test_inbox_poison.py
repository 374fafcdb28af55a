"""What another agency signs must never stop an inbox, bring erased words back, or cost the hub a day."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from node.hub import evidence as hub_evidence
from node.hub import inbox as hub_inbox
from node.hub.evidence import EvidenceMaker
from node.hub.inbox import WAITERS_MAX
from node.local.hub_evidence import Contradiction
from node.local.inbox import Inbox
from node.store.complaint_keys import complaint_key
from node.store.local_base import fetch
from sync_protocol.errors import Unavailable
from sync_protocol.evidence import EvidenceFile
from sync_protocol.excerpt import OpenSet
from sync_protocol.halts import Halt, HaltReason
from sync_protocol.line import format_change, format_content, parse_change
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import AgencyId, ComplaintId, b64u_encode
from tests.edge.hub_lab import Lab, Role
from tests.edge.inbox_lab import DESK, Peer, settle_down

CITY, REGENCY = AgencyId("35.71"), AgencyId("35.06")
AGENCIES = (CITY, REGENCY, DESK)
GARBAGE = (b"no JSON at all", b'{"salt":1}', b'{"of":' + b"[" * 200 + b"]" * 200 + b"}", b'{"of":"x","of":"y"}')


async def rewrite(node: Peer, column: str, value: bytes, complaint: str, type_: str) -> None:
    """What a dishonest node would sign in place of what it recorded."""
    held = await node.held(complaint)
    async with node.store.writing() as connection:
        for no, line in await fetch(connection, "SELECT no, line FROM change WHERE complaint_no = ?", (held.no,)):
            if parse_change(line).type == type_:
                await fetch(connection, f"UPDATE change SET {column} = ? WHERE no = ?", (value, no))


async def transferred(lab: Lab, nodes: list[Peer]) -> str:
    """A complaint of the city's that the regency owns."""
    city, regency, _ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await regency.accept(complaint)
    await settle_down(nodes, lab)
    return complaint


@pytest.mark.parametrize("words", GARBAGE)
async def test_words_that_nobody_can_read_are_shown_as_none_and_stop_nothing(
    lab: Lab, nodes: list[Peer], words: bytes
) -> None:
    city, regency, _ = nodes
    complaint = await city.receive()
    await rewrite(city, "content", words, complaint, "received")
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    assert [one.content for one in await regency.history(complaint)] == [None, None]
    await regency.accept(complaint)
    await settle_down(nodes, lab)
    assert (await city.state(complaint)).owner == REGENCY


async def test_an_erasure_that_names_what_was_done_takes_nothing_out_of_anybodys_history(
    lab: Lab, nodes: list[Peer]
) -> None:
    """The new owner "erases" every change line of the complaint; whoever holds it would have none left to fold."""
    city, regency, _ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await regency.accept(complaint)
    await regency.change("verified", complaint, **{"class": "complaint_ordinary"})
    await settle_down(nodes, lab)
    history = await regency.history(complaint)
    assert history[0].content is not None
    named = b64u_encode(leaf_hash(history[0].content))
    recorded = await regency.change("erased", complaint, ground="request", leaves=[named])
    (line,) = [one.line for one in await regency.history(complaint) if parse_change(one.line).type == "erased"]
    members: dict[str, Any] = {"role": "officer", "content": False, "type": "erased", "complaint": complaint}
    leaves = sorted(b64u_encode(leaf_hash(one.line)) for one in history)
    data = {"ground": "request", "leaves": leaves}
    forged = format_change(id=recorded.change, rev=recorded.rev, at=parse_change(line).at, data=data, **members)
    await rewrite(regency, "line", forged, complaint, "erased")
    await settle_down(nodes, lab)
    types = ["received", "offered", "accepted", "verified"]
    assert await city.types(complaint) == types
    await regency.offer(complaint, CITY)
    await settle_down(nodes, lab)
    assert await city.types(complaint) == [*types, "erased", "offered"]


@dataclass
class StaleLink:
    """The hub's true answers but for evidence, which was on its way for a long time."""

    true: Any
    stale: EvidenceFile

    async def evidence(self, _complaint: str) -> EvidenceFile:
        return self.stale


def told_late(node: Peer, stale: EvidenceFile) -> Inbox:
    true, link = node.inbox, StaleLink(node.link, stale)
    return Inbox(node.store, link, true._hub, true._federation, node.pusher.clock, node.agency)  # type: ignore[arg-type]


async def test_evidence_that_was_under_way_while_words_were_erased_does_not_bring_them_back(
    lab: Lab, nodes: list[Peer]
) -> None:
    city, regency, _ = nodes
    complaint = await transferred(lab, nodes)
    stale = await regency.link.evidence(complaint)
    said = (await regency.history(complaint))[0].content
    assert said is not None
    assert "Jalan berlubang." in str(stale)
    await regency.change("erased", complaint, ground="request", leaves=[b64u_encode(leaf_hash(said))])
    for _ in range(2):  # before the log has the erasure, and after
        await told_late(regency, stale).fetch(ComplaintId.parse(complaint))
        assert (await regency.history(complaint))[0].content is None
        await settle_down(nodes, lab)
    assert (await city.history(complaint))[0].content is None


async def test_one_complaint_that_cannot_be_settled_keeps_no_other_waiting(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, _ = nodes
    broken, sound = await transferred(lab, nodes), await transferred(lab, nodes)
    keys = [complaint_key(ComplaintId.parse(one)) for one in (broken, sound)]
    async with city.store.transaction() as transaction:
        for key in keys:
            await transaction.mark_unsettled(key, is_unsettled=True)
    held = await city.held(broken)
    async with city.store.writing() as connection:  # a damaged database: the offer that was accepted is gone
        await fetch(connection, "UPDATE change SET complaint_no = 0 WHERE complaint_no = ?", (held.no,))
    await regency.change("verified", sound, **{"class": "complaint_ordinary"})
    await regency.push()
    await lab.hub.projector.catch_up()
    assert await city.inbox.drain() == 1
    async with city.store.transaction() as transaction:
        assert await transaction.unsettled() == keys[:1]
    with pytest.raises(Contradiction):
        await city.inbox.fetch(ComplaintId.parse(broken))


async def test_a_crowd_that_waits_for_one_agency_is_cut_to_its_places_at_once(lab: Lab, nodes: list[Peer]) -> None:
    inbox = lab.hub.inbox
    waiting = [asyncio.create_task(inbox.read(CITY, -1, 300)) for _ in range(10 * WAITERS_MAX)]
    async with asyncio.timeout(20):
        while sum(not one.done() for one in waiting) > WAITERS_MAX:  # noqa: ASYNC110 - the hub's own tasks
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert sum(not one.done() for one in waiting) == WAITERS_MAX
    inbox.close()
    await asyncio.wait_for(asyncio.gather(*waiting), 10)


async def test_a_history_of_many_sets_asks_once_for_the_growth_of_the_log(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, _ = nodes
    complaint = await city.receive()
    for _ in range(5):
        await city.change("noted", complaint, "Sudah ditinjau.")
        await city.push()
    await city.offer(complaint, REGENCY)
    await city.push()
    await lab.hub.projector.catch_up()
    page = await regency.link.inbox("", 0)
    assert page.items[0].evidence is not None
    await regency.receive()
    await regency.push()  # the newest checkpoint here is beyond that of the page now
    asked: list[tuple[int, int]] = []
    true = regency.link.consistency

    async def counting(from_size: int, to_size: int) -> list[bytes]:
        asked.append((from_size, to_size))
        return await true(from_size, to_size)

    regency.link.consistency = counting  # type: ignore[method-assign]
    await regency.inbox._prepare()
    await regency.inbox._take(page.items[0], -1)
    assert len(asked) == 1
    assert len(await regency.history(complaint)) == 7


async def test_words_that_grow_when_they_are_written_down_are_left_out_before_the_answer_is_too_large(
    lab: Lab, nodes: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backslashes count twice in an answer: a node would refuse it, again and again."""
    city, regency, _ = nodes
    complaint = await city.receive()
    said = format_content({"text": "\\" * 5_000}, b"s" * 16, parse_change(await _line(city, complaint)).id)
    await rewrite(city, "content", said, complaint, "received")
    await city.offer(complaint, REGENCY)
    await city.push()
    await lab.hub.projector.catch_up()
    monkeypatch.setattr(hub_evidence, "EVIDENCE_MAX_BYTES", 15_000)
    assert len(said) < 11_000
    evidence = (await regency.link.inbox("", 0)).items[0].evidence
    assert evidence is not None
    assert "\\\\\\" not in str(evidence.sets[0].lines)
    await regency.inbox.drain()
    assert (await regency.state(complaint)).offer_to == REGENCY


async def test_a_set_that_concerns_one_agency_a_hundred_times_is_read_and_opened_once(
    lab: Lab, nodes: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    city, regency, _ = nodes
    complaints = [await city.receive() for _ in range(20)]
    for complaint in complaints:
        await city.offer(complaint, REGENCY)
    await city.push()
    await lab.hub.projector.catch_up()
    opened: list[OpenSet] = []
    read: list[int] = []
    parts_of = lab.hub.store.set_parts

    def counting(change_set: Any) -> OpenSet:
        opened.append(OpenSet(change_set))
        return opened[-1]

    async def reading(index: int) -> tuple[bytes, bytes] | None:
        read.append(index)
        return await parts_of(index)

    monkeypatch.setattr(hub_evidence, "OpenSet", counting)
    monkeypatch.setattr(lab.hub.store, "set_parts", reading)
    assert await regency.inbox.drain() == 20
    assert (len(opened), len(read)) == (1, 1)


async def test_a_set_that_does_much_to_one_complaint_is_told_once_not_once_for_each_change(
    lab: Lab, nodes: list[Peer]
) -> None:
    """Thousands of notes in one small set would be told thousands of times, each time with all of them."""
    city, regency, _ = nodes
    complaint = await transferred(lab, nodes)
    for number in range(30):
        await regency.change("noted", complaint, f"Catatan {number}")
    await regency.offer(complaint, CITY)
    await regency.withdraw(complaint)
    said = (await regency.history(complaint))[0].content
    assert said is not None
    await regency.change("erased", complaint, ground="request", leaves=[b64u_encode(leaf_hash(said))])
    await regency.push()
    await lab.hub.projector.catch_up()
    after = await city.store.inbox_place()
    page = await city.link.inbox(f"{after >> 16}.{after & 0xFFFF}", 0)
    assert [item.note for item in page.items] == ["history", "erased"]
    await city.inbox.drain()
    assert len(await city.history(complaint)) == 3 + 30 + 2 + 1
    assert (await city.history(complaint))[0].content is None
    assert (await city.state(complaint)).offer_to is None


async def test_a_long_history_that_is_offered_again_and_again_is_told_once_and_then_what_is_new(
    lab: Lab, nodes: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two thousand offers, each withdrawn, would be told with four thousand changes each."""
    monkeypatch.setattr(hub_inbox, "AGAIN_MAX", 3)
    city, regency, _ = nodes
    complaint = await city.receive()
    for _ in range(4):
        await city.offer(complaint, REGENCY)
        await city.push()
        await city.withdraw(complaint)
        await city.push()
    await lab.hub.projector.catch_up()
    page = await regency.link.inbox("", 0)
    shown = [len(item.evidence.sets) for item in page.items if item.evidence is not None and item.note == "history"]
    assert shown == [1, 2, 2, 2]
    await regency.inbox.drain()
    assert await regency.types(complaint) == ["received", *(4 * ["offered", "withdrawn"])]
    whole = await city.link.evidence(complaint)
    assert len(whole.sets) == 8


async def test_what_was_kept_for_the_next_one_who_asks_never_shows_words_that_are_gone(
    lab: Lab, nodes: list[Peer]
) -> None:
    _, regency, _ = nodes
    complaint = await transferred(lab, nodes)
    for _ in range(2):
        assert "Jalan berlubang." in str(await regency.link.evidence(complaint))
    said = (await regency.history(complaint))[0].content
    assert said is not None
    await regency.change("erased", complaint, ground="request", leaves=[b64u_encode(leaf_hash(said))])
    await settle_down(nodes, lab)
    assert "Jalan berlubang." not in str(await regency.link.evidence(complaint))


async def test_a_set_whose_lines_are_waited_for_holds_back_nothing_that_was_told_before_it(
    lab: Lab, nodes: list[Peer]
) -> None:
    city, regency, _ = nodes
    first, second = await city.receive(), await city.receive()
    for complaint in (first, second):
        await city.offer(complaint, REGENCY)
        await city.push()
    await lab.hub.projector.catch_up()
    true = lab.hub.inbox._evidence

    class Waiting(EvidenceMaker):
        async def make(self, key: bytes, *args: Any, **words: Any) -> EvidenceFile:
            if key == complaint_key(ComplaintId.parse(second)):
                raise Unavailable("the lines of a set were lost, and are waited for", retry_after_s=60)
            return await true.make(key, *args, **words)

    lab.hub.inbox._evidence = Waiting(lab.hub.log)
    page = await regency.link.inbox("", 0)
    assert [item.complaint for item in page.items] == [first]
    assert page.judged_to <= int(page.next.partition(".")[0])
    with pytest.raises(Unavailable):
        await lab.hub.inbox.read(REGENCY, _place(page.next), 0)


async def _line(node: Peer, complaint: str) -> bytes:
    return (await node.history(complaint))[0].line


def _place(text: str) -> int:
    index, _, position = text.partition(".")
    return int(index) << 16 | int(position)


@pytest.mark.parametrize("disputed_from", [0, 1])
async def test_what_was_signed_in_time_is_taken_in_after_its_key_was_revoked_and_both_hub_keys_rotated(
    lab: Lab, nodes: list[Peer], disputed_from: int
) -> None:
    """Between the set and the reading everything that can be rotated was; the reader knows none of it yet."""
    city, regency, _ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await city.push()
    await lab.hub.revoke(CITY, disputed_from=disputed_from, reason="stolen")
    for role in (Role.LOG, Role.REGISTRAR, Role.LOG):
        await lab.hub.rotate(role)
    await lab.hub.projector.catch_up()
    assert await regency.inbox.drain() == 1
    assert (await regency.state(complaint)).offer_to == REGENCY
    await regency.accept(complaint)
    await regency.push()
    await lab.hub.projector.catch_up()
    assert await regency.inbox.drain() == 0
    assert await regency.store.refusals(9) == []


async def test_a_halted_node_goes_on_taking_in_what_it_is_told(lab: Lab, nodes: list[Peer]) -> None:
    """Offers to it must not be unseen because its pusher waits for a person."""
    city, regency, _ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down([city], lab)
    await regency.store.halt(Halt(HaltReason.COPY_ALIVE, "two of us"), lab.clock.now_ms())
    assert await regency.inbox.drain() == 1
    assert (await regency.state(complaint)).offer_to == REGENCY
