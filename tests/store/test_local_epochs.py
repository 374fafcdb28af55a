"""What a local node's store does so that no place in the chain is ever signed twice (protocol §10.2, §10.3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from node.local.ports import LocalStore
from node.store.complaint_keys import complaint_of
from node.store.local_records import Seen, SetStatus, WrittenChange, WrittenComplaint
from sync_protocol.backoff import Schedule
from sync_protocol.compression import compress_frames
from sync_protocol.errors import Corrupt
from sync_protocol.line import format_change, format_content
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import Digest, b64u_encode
from tests.protocol.set_samples import signed_set, uuid_of
from tests.store.local_samples import SEEN, cut, key_of, receipt, record, signed, state_of


async def test_nothing_is_signed_in_an_epoch_that_is_over(store: LocalStore) -> None:
    async with store.transaction() as transaction:
        await transaction.set_epoch(3)
        await transaction.set_epoch(2)
    assert (await store.outbox()).epoch == 3
    assert not await cut(store, 1, 0, epoch=2)


async def test_a_place_whose_set_was_withdrawn_is_never_signed_again(store: LocalStore) -> None:
    await record(store, 1)
    await cut(store, 1, 1)
    async with store.transaction() as transaction:
        assert await transaction.withdraw_sets(1) == 1
    assert (await store.outbox()).unsent == 1
    with pytest.raises(Corrupt, match="signed before"):
        await cut(store, 1, 1)
    async with store.transaction() as transaction:
        await transaction.set_epoch(2)
    assert await cut(store, 1, 1, epoch=2)
    held = await store.live_set(1)
    assert held is not None
    assert (held.epoch, held.first_no, held.last_no) == (2, 1, 1)


async def test_a_receipt_for_a_withdrawn_set_does_not_acknowledge_its_recut(store: LocalStore) -> None:
    await record(store, 1)
    await cut(store, 1, 1)
    async with store.transaction() as transaction:
        await transaction.withdraw_sets(1)
        await transaction.set_epoch(2)
    await cut(store, 1, 1, epoch=2)
    newer = Seen(9, Digest(b"n" * 32), b"t" * 64, b"note 9")
    assert not await store.acknowledge(receipt(1, seen=newer), Schedule())
    held = await store.live_set(1)
    assert held is not None
    assert (held.epoch, held.status, held.index) == (2, SetStatus.SIGNED, None)
    assert await store.set_receipt(held.id) is None
    assert (await store.seen(), await store.last_receipt_at_ms()) == (SEEN, None)
    assert await store.acknowledge(receipt(1, epoch=2), Schedule())


async def test_an_epoch_is_claimed_once_and_never_over_a_set_that_may_be_on_its_way(store: LocalStore) -> None:
    await cut(store, 1, 0, changes=0)
    assert not await store.claim_epoch(1, 5)
    await store.acknowledge(receipt(1), Schedule())
    outcomes = await asyncio.gather(*(store.claim_epoch(1, epoch) for epoch in range(5, 13)))
    assert sorted(outcomes) == [False] * 7 + [True]
    view = await store.outbox()
    assert view.is_claimed
    assert not await store.claim_epoch(view.epoch, view.epoch + 1)
    async with store.transaction() as transaction:
        await transaction.disown_epoch()
    assert not await store.claim_epoch(1, view.epoch + 1)
    assert await store.claim_epoch(view.epoch, view.epoch + 1)


async def test_a_new_enrolment_raises_the_epoch_and_the_same_one_does_not(store: LocalStore) -> None:
    identity = await store.identity()
    assert identity is not None
    await store.claim_epoch(1, 7)
    await store.enrol(identity, [], SEEN)
    assert ((await store.outbox()).epoch, (await store.outbox()).is_claimed) == (7, True)
    await store.enrol(replace(identity, enrolment=Digest(b"f" * 32)), [], SEEN)
    assert ((await store.outbox()).epoch, (await store.outbox()).is_claimed) == (8, False)


async def test_words_that_were_erased_in_a_withdrawn_set_are_announced_no_more(store: LocalStore) -> None:
    def line(type_: str, data: dict[str, object], *, content: bool) -> bytes:
        made = {
            "id": uuid_of(type_),
            "complaint": str(complaint_of(key_of(1))),
            "rev": 1,
            "at": "2026-02-02T02:40:00.000Z",
        }
        return format_change(**made, type=type_, role="officer", unit=None, data=data, content=content)  # type: ignore[arg-type]

    words, other = format_content({"text": "Rumah nomor 12."}, b"s" * 16), format_content({"text": "x"}, b"t" * 16)
    leaves = [b64u_encode(leaf_hash(words))]
    lines = [
        (line("answered", {}, content=True), words),
        (line("noted", {}, content=True), other),
        (line("erased", {"ground": "request", "leaves": leaves}, content=False), None),
    ]
    async with store.transaction() as transaction:
        changes = [WrittenChange(key_of(1), *one) for one in lines]
        await transaction.record([WrittenComplaint(key_of(1), state_of(1), 7)], changes)
    made = signed_set([one for one, _ in lines], [words, other])
    frames = dict(zip(("head_frame", "contents_frame"), compress_frames(made.head, made.contents), strict=True))
    assert await store.cut(lambda _: (replace(signed(1, 1, 3), **frames), 3), 10)  # type: ignore[arg-type]
    assert await store.carry_out_erasures() == 1
    async with store.transaction() as transaction:
        await transaction.withdraw_sets(1)
    (_, first, gone), (_, second, kept), (_, third, _) = (await store.cuttable(10)).lines
    assert (gone, kept) == (None, other)
    assert [b'"content":1' in one for one in (first, second, third)] == [False, True, False]
    assert second == lines[1][0]
