"""The contract of LocalStore on what others did (node/local/ports.py), run on every implementation."""

from __future__ import annotations

import pytest

from node.local.ports import LocalStore
from node.store.local_records import ComplaintFilter, WrittenChange
from node.store.shared_records import ForeignSet, Refusal
from tests.store.local_samples import AGENCY, cut, key_of, receipt, record

OTHERS = ForeignSet(7, "35.71", 3, b"lines", b"receipt")


async def _fail_after_moving(store: LocalStore) -> None:
    async with store.transaction() as transaction:
        await transaction.move_inbox(70_000)
        raise ZeroDivisionError


async def test_the_inbox_begins_before_everything_and_moves_with_what_is_taken_in(store: LocalStore) -> None:
    assert await store.inbox_place() == -1
    with pytest.raises(ZeroDivisionError):
        await _fail_after_moving(store)
    assert await store.inbox_place() == -1
    async with store.transaction() as transaction:
        await transaction.move_inbox(70_000)
        assert await transaction.inbox_place() == 70_000
    assert await store.inbox_place() == 70_000


async def test_own_changes_have_the_place_of_their_sets_receipt(store: LocalStore) -> None:
    await record(store, 1, 2)
    await cut(store, 1, 2, changes=2)
    await record(store, 1)
    async with store.transaction() as transaction:
        assert [one.place for one in (await transaction.shared(key_of(1))).own] == [None, None]
        await transaction.acknowledge(receipt(1))
        await transaction.refuse([Refusal(11 << 16, key_of(1), "id", "not_owner", 1)])
        shared = await transaction.shared(key_of(1))
        assert [(one.place, one.is_refused) for one in shared.own] == [(11 << 16, True), (None, False)]
        assert (await transaction.shared(key_of(2))).own[0].place == (11 << 16) + 1
        assert await transaction.own_line(11 << 16) == b"line 1"
        assert await transaction.own_line((11 << 16) + 2) is None
    (held, _) = await store.complaint_changes(1)
    assert held.verdict == "not_owner"


async def test_what_others_did_is_kept_once_for_each_set_and_replaced(store: LocalStore) -> None:
    await record(store, 1)
    async with store.transaction() as transaction:
        await transaction.put_foreign(key_of(1), [OTHERS])
        await transaction.put_foreign(key_of(1), [ForeignSet(7, "35.71", 3, b"more", b"newer")])
        await transaction.put_foreign(key_of(9), [OTHERS])  # not here: nothing is kept
        assert await transaction.with_others([key_of(1), key_of(2), key_of(9)]) == {key_of(1)}
    held = await store.complaint(key_of(1))
    assert held is not None
    assert await store.foreign_sets(held.no) == [ForeignSet(7, "35.71", 3, b"more", b"newer")]
    assert await store.shared_among(range(1, 2_000)) == {held.no}
    assert await store.shared_among([held.no + 1]) == set()


async def test_a_complaint_of_which_the_log_refused_a_change_counts_as_shared(store: LocalStore) -> None:
    await record(store, 1, 2)
    async with store.transaction() as transaction:
        await transaction.refuse([Refusal(11 << 16, key_of(2), "id", "not_owner", 1), Refusal(5, None, "id", "x", 1)])
    held = await store.complaint(key_of(2))
    assert held is not None
    assert await store.shared_among(range(1, 10)) == {held.no}


async def test_a_refusal_is_kept_once_also_of_what_is_not_here(store: LocalStore) -> None:
    first = Refusal(5, None, "id", "malformed", 1)
    async with store.transaction() as transaction:
        await transaction.refuse([first, Refusal(9, key_of(3), "id", "not_owner", 2)])
        await transaction.refuse([Refusal(5, None, "other", "not_owner", 9)])
    assert await store.refusals(10) == [Refusal(9, None, "id", "not_owner", 2), first]
    assert len(await store.refusals(1)) == 1
    assert [await store.count_refusals(at_most) for at_most in (1, 2, 9)] == [1, 2, 2]


async def test_changes_to_what_was_not_here_are_found_when_it_comes(store: LocalStore) -> None:
    complaint = f"{AGENCY}:01890000-0000-7000-8000-000000000001"
    line = b'{"complaint":"%b","content":0}' % complaint.encode()
    async with store.transaction() as transaction:
        await transaction.record([], [WrittenChange(None, line, None)])
    await record(store, 1)
    async with store.transaction() as transaction:
        assert len((await transaction.shared(key_of(1))).own) == 1
        await transaction.adopt_orphans(key_of(1), complaint)
        assert [one.line for one in (await transaction.shared(key_of(1))).own] == [line, b"line 1"]


async def test_unsettled_complaints_are_remembered_until_they_are_settled(store: LocalStore) -> None:
    await record(store, 1, 2)
    assert not await store.has_unsettled()
    async with store.transaction() as transaction:
        await transaction.mark_unsettled(key_of(2), is_unsettled=True)
        assert await transaction.unsettled() == [key_of(2)]
    assert await store.has_unsettled()
    async with store.transaction() as transaction:
        await transaction.mark_unsettled(key_of(2), is_unsettled=False)
    assert not await store.has_unsettled()


async def test_complaints_are_found_by_whose_they_are(store: LocalStore) -> None:
    await record(store, 1)
    await record(store, 2, offer=b"o" * 32, offer_to="35.06")
    await record(store, 3, owner="35.71")
    for wanted, numbers in (
        (ComplaintFilter(owner=AGENCY), [2, 1]),
        (ComplaintFilter(not_owner=AGENCY), [3]),
        (ComplaintFilter(offered_to="35.06"), [2]),
    ):
        assert [held.no for held in await store.complaints(wanted)] == numbers
    await record(store, 4, offer=b"o" * 32, offer_to="35.06")
    assert [await store.count_offered("35.06", at_most) for at_most in (1, 2, 9)] == [1, 2, 2]
    assert await store.count_offered("35.71", 9) == 0


async def test_a_complaint_that_others_wrote_to_outlives_changes_of_ours_that_are_forgotten(store: LocalStore) -> None:
    await record(store, 1, 2)
    async with store.transaction() as transaction:
        await transaction.put_foreign(key_of(1), [OTHERS])
        await transaction.forget_changes(0, [key_of(1), key_of(2)])
        assert set(await transaction.complaints([key_of(1), key_of(2)])) == {key_of(1)}
