"""A message's id is its key for ever, of a part as of a whole message: with other words it is told so, not recorded."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from itertools import permutations
from pathlib import Path

import pytest

from node.channels.guesses import GuessLimit
from node.channels.kannel_request import IncomingSms, PartOf
from node.channels.routing import Router
from node.channels.sms import REFILL_WAIT_S, Refill, SmsChannel
from node.channels.sms_keywords import load_keywords
from node.channels.sms_parts import ACROSS_MIDNIGHT_MS
from node.channels.sms_status import StatusDesk
from node.directory import load_directory
from node.local.abroad import Abroad
from node.store.local_records import ComplaintFilter
from sync_protocol.errors import Unavailable
from sync_protocol.line import parse_change
from tests.edge.sms_node import NoNumbers, SmsNode, sms_node
from tests.edge.test_sms_http import PARTS, udh
from tests.fakes.fake_hub import FakeHub
from tests.fakes.node_lab import AGENCY, Node, running_node

UUID = "6f1ed002-ab5d-4c3a-9f7e-0123456789ab"
MIDNIGHT_S = 1_767_571_200  # in UTC; 7 in the morning of 5 January 2026 in Jakarta
REUSED = (422, "idempotency-key-reused")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SmsNode]:
    async with sms_node(tmp_path) as served:
        yield served


def part(number: int, reference: int = 42, total: int = 3, at_s: int = MIDNIGHT_S + 11_000) -> dict[str, str]:
    return {"udh": udh(number, total, reference), "ts": str(at_s)}


async def lines(node: SmsNode) -> list[list[str]]:
    """What was done to each complaint, the oldest first."""
    return [[name for name, *_ in await node.changes(held)] for held in reversed(await node.held())]


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("lain sama sekali", {}),
        (PARTS[0], {"sender": "6281300000000"}),
        (PARTS[0], part(1, reference=43)),
        (PARTS[0], part(1, total=4)),
        ("lain sama sekali", {"udh": ""}),
        (PARTS[0], {"udh": ""}),
    ],
)
@pytest.mark.parametrize("first", [1, 2])
async def test_attack_an_id_of_a_part_that_comes_again_with_anything_else_is_no_second_complaint(
    node: SmsNode, text: str, changed: dict[str, str], first: int
) -> None:
    """Also of a part that was not the first to come."""
    if first == 2:
        await node.tell(PARTS[1], "other", **part(2))
    receipt = await node.tell(PARTS[0], "m-1", **part(1))
    before = await lines(node)
    answer = await node.send(text, "m-1", **(part(1) | changed))
    assert (answer.status, answer.kind) == REUSED
    assert "the gateway gives ids twice" in answer.text
    assert await lines(node) == before
    assert await node.tell(PARTS[0], "m-1", **part(1)) == receipt


async def test_attack_an_id_of_a_whole_message_is_no_parts(node: SmsNode) -> None:
    await node.tell("Kediri jalan rusak", "m-1")
    for text in ("Kediri jalan rusak", "lain"):
        answer = await node.send(text, "m-1", **part(1))
        assert (answer.status, answer.kind) == REUSED
    assert await lines(node) == [["received"]]


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
async def test_a_gateway_that_gives_all_parts_of_a_message_one_id_has_them_joined(
    node: SmsNode, order: tuple[int, ...]
) -> None:
    for number in (*order, *order):
        await node.tell(PARTS[number - 1], "m-1", **part(number))
    (held,) = await node.held()
    assert (await node.changes(held))[-2][2]["text"] == "jalan rusak di depan pasar, sudah lama."
    assert await lines(node) == [["received", "noted", "noted", "amended", "offered"]]


async def test_a_reused_id_that_comes_at_once_with_both_texts_is_one_complaint(node: SmsNode) -> None:
    answers = await asyncio.gather(*(node.send(f"teks {turn % 2}", "m-1", **part(1)) for turn in range(10)))
    assert sorted({(one.status, one.kind) for one in answers}) == [(200, ""), REUSED]
    assert len(await node.held()) == 1


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
async def test_parts_on_both_sides_of_midnight_are_one_message(node: SmsNode, order: tuple[int, ...]) -> None:
    for number in order:
        at_s = MIDNIGHT_S + (number - 2) * 3 - 1
        await node.tell(PARTS[number - 1], f"p-{number}", **part(number, at_s=at_s))
    assert await lines(node) == [["received", "noted", "noted", "amended", "offered"]]


async def test_at_midnight_a_reference_that_was_used_on_that_day_is_no_hindrance(node: SmsNode) -> None:
    for number in (1, 2):
        await node.tell(f"Kediri pagi {number} ", f"a-{number}", **part(number, total=2, at_s=MIDNIGHT_S - 70_000))
    for number, at_s in ((1, MIDNIGHT_S - 5), (2, MIDNIGHT_S + 5)):
        await node.tell(f"Kediri malam {number} ", f"b-{number}", **part(number, total=2, at_s=at_s))
    second, first = await node.held()
    assert (await node.changes(first))[-1][2]["text"] == "Kediri pagi 1 Kediri pagi 2"
    assert (await node.changes(second))[-1][2]["text"] == "Kediri malam 1 Kediri malam 2"


async def test_a_reference_used_again_on_the_next_day_begins_another_message(node: SmsNode) -> None:
    """The rest of yesterday's never came."""
    later_s = ACROSS_MIDNIGHT_MS // 1000 + 60
    await node.tell("Kediri kemarin ", "a-1", **part(1, total=2, at_s=MIDNIGHT_S - 3_600))
    await node.tell("hari ini", "b-2", **part(2, total=2, at_s=MIDNIGHT_S + later_s))
    assert await lines(node) == [["received"], ["received"]]


def channel_of(node: Node) -> SmsChannel:
    directory, clock = load_directory(), node.clock
    statuses = StatusDesk(node.store, NoNumbers(), AGENCY, directory, clock, GuessLimit(clock))
    router = Router(node.service, Abroad(), clock)
    refill = Refill(node.store, clock)
    return SmsChannel(node.service, node.store, clock, load_keywords(), directory, router, statuses, refill)


def sms(text: str, message: str, sent_ms: int | None = None, part: PartOf | None = None) -> IncomingSms:
    return IncomingSms(message, "6281234567890", "1708", text, sent_ms, part)


async def test_parts_on_both_sides_of_midnight_that_come_at_once_are_joined_once(tmp_path: Path) -> None:
    async with running_node(tmp_path / "node", FakeHub.found()) as node:
        channel = channel_of(node)

        async def send(number: int) -> str:
            sent_ms = (MIDNIGHT_S + (number - 2) * 3 - 1) * 1000
            return await channel.answer(sms(PARTS[number - 1], f"p-{number}", sent_ms, PartOf(42, number, 3)))

        texts = await asyncio.gather(*(send(number) for number in (3, 1, 2, 2, 3, 1)))
        (held,) = await node.store.complaints(ComplaintFilter())
        assert [parse_change(one.line).type for one in await node.store.complaint_changes(held.no)] == [
            *("received", "noted", "noted", "amended")
        ]
        assert {text for text in texts if text} == {texts[0]}
        assert held.state.tracking in texts[0]


async def test_an_id_is_known_to_an_old_backup_that_has_filled_up_and_until_then_the_gateway_waits(
    tmp_path: Path,
) -> None:
    """What smsbox repeats is what the machine was about to answer when it died."""
    hub, place = FakeHub.found(), tmp_path / "node"
    async with running_node(place, hub) as node:
        await channel_of(node).answer(sms("PekalonganKota lampu padam", "earlier"))
        await node.settle()
    shutil.copytree(place, tmp_path / "backup")
    async with running_node(place, hub, seed=2) as node:
        receipt = await channel_of(node).answer(sms("PekalonganKota jalan rusak", UUID))
        await node.settle()
    async with running_node(tmp_path / "backup", hub, seed=3) as node:
        await node.store.set_behind(is_behind=True)
        channel = channel_of(node)
        with pytest.raises(Unavailable):
            await channel.answer(sms("PekalonganKota jalan rusak", UUID))
        await node.settle()
        assert not await node.store.is_behind()
        for _ in range(2):
            assert await channel.answer(sms("PekalonganKota jalan rusak", UUID)) == receipt
        assert len(await node.store.complaints(ComplaintFilter())) == 2


async def test_with_the_hub_away_an_old_backup_takes_sms_in_after_a_while(tmp_path: Path) -> None:
    async with running_node(tmp_path / "node", FakeHub.found()) as node:
        await node.store.set_behind(is_behind=True)
        channel = channel_of(node)
        message = sms("PekalonganKota jalan rusak", UUID)
        with pytest.raises(Unavailable):
            await channel.answer(message)
        assert "Cara lapor" in await channel.answer(sms("INFO", "m-1"))  # nothing to record
        node.clock.at_ms += int(REFILL_WAIT_S * 1000) - 1
        with pytest.raises(Unavailable):
            await channel.answer(message)
        node.clock.at_ms += 1
        assert "Terima kasih" in await channel.answer(message)


@pytest.mark.parametrize("message", ["6281234567890-20260105", "m-1", UUID + "0"])
async def test_an_id_that_may_be_made_of_a_telephone_number_is_on_no_line(node: SmsNode, message: str) -> None:
    await node.tell("Kediri jalan rusak", message)
    await node.tell("Kediri jalan rusak", UUID)
    second, first = await node.held()
    assert first.state.source is None
    assert second.state.source is not None
    assert (second.state.source.system, second.state.source.id) == ("sms", UUID)
