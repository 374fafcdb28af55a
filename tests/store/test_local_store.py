"""The contract of LocalStore (node/local/ports.py), run on every implementation: what services may rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from node.local.ports import LocalStore
from node.store.complaint_keys import complaint_key, complaint_of
from node.store.local_records import (
    AdoptedSet,
    Answer,
    ApiToken,
    ChainEnd,
    ComplaintFilter,
    Cuttable,
    Found,
    HeldStatement,
    Named,
    NodeIdentity,
    RowConflict,
    Seen,
    SetAside,
    SetStatus,
    SignedSet,
    WrittenChange,
    WrittenComplaint,
    WrittenRows,
)
from sync_protocol.backoff import Schedule
from sync_protocol.change_types import Source
from sync_protocol.complaint import State
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.halts import Halt, HaltReason
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import ComplaintId, Digest, format_tracking
from tests.store.conftest import LocalOpener
from tests.store.local_samples import AGENCY, ENROLMENT, SEEN, cut, key_of, receipt, record, signed, state_of


async def test_a_recorded_change_is_unsent_until_a_set_covers_it(store: LocalStore) -> None:
    await record(store, 1, 2, 3)
    assert (await store.outbox()).unsent == 3
    assert (await store.cuttable(10)).lines == [(n, b"line %d" % n, b"content %d" % n) for n in (1, 2, 3)]
    assert await cut(store, 1, 2, changes=2)
    assert (await store.outbox()).unsent == 1
    assert (await store.cuttable(10)).lines == [(3, b"line 3", b"content 3")]
    assert await store.unacknowledged() == 2


async def test_state_and_change_are_written_together_or_not_at_all(store: LocalStore) -> None:
    async def half() -> None:
        async with store.transaction() as transaction:
            await transaction.record([WrittenComplaint(key_of(1), state_of(1), 7)], [])
            await transaction.record([], [WrittenChange(key_of(2), b"line of nobody", None)])

    with pytest.raises(RowConflict):
        await half()
    assert await store.complaint(key_of(1)) is None
    assert (await store.outbox()).unsent == 0


async def test_an_exception_within_a_transaction_undoes_it_and_lets_the_next_one_in(store: LocalStore) -> None:
    async def failing() -> None:
        async with store.transaction() as transaction:
            await transaction.record(
                [WrittenComplaint(key_of(1), state_of(1), 7)], [WrittenChange(key_of(1), b"x", None)]
            )
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()
    await record(store, 2)
    assert [held.key for held in await store.complaints(ComplaintFilter())] == [key_of(2)]


async def test_a_transaction_reads_what_it_has_written(store: LocalStore) -> None:
    async with store.transaction() as transaction:
        await transaction.record([WrittenComplaint(key_of(1), state_of(1), 7)], [WrittenChange(key_of(1), b"x", None)])
        assert (await transaction.complaints([key_of(1), key_of(2)])).keys() == {key_of(1)}
        assert [(change.line, key) for change, key in await transaction.changes(0)] == [(b"x", key_of(1))]


async def test_a_complaint_keeps_every_part_of_its_state(store: LocalStore) -> None:
    state = state_of(1, offer=b"o" * 32, offer_to="35.71", source=Source("123", "sp4n"), rating=4, bounces=2)
    async with store.transaction() as transaction:
        await transaction.record([WrittenComplaint(key_of(1), state, 7)], [])
    held = await store.complaint(key_of(1))
    assert held is not None
    assert (held.state, held.changed_at_ms) == (state, 7)
    assert held.id == ComplaintId(f"{AGENCY}:01890000-0000-7000-8000-000000000001")
    assert complaint_of(key_of(1)) == held.id


async def test_complaints_are_listed_newest_first_page_by_page_and_by_what_is_asked(store: LocalStore) -> None:
    await record(store, *range(1, 6))
    await record(store, 6, 7, state=State.CLOSED, unit="dinas-pu", source=Source("77", "sp4n"))
    first = await store.complaints(ComplaintFilter(limit=3))
    second = await store.complaints(ComplaintFilter(limit=10, before_no=first[-1].no))
    assert [held.key for held in [*first, *second]] == [key_of(number) for number in range(7, 0, -1)]
    for wanted, numbers in (
        (ComplaintFilter(states=[State.CLOSED]), [7, 6]),
        (ComplaintFilter(states=[State.RECEIVED, State.CLOSED], unit="dinas-pu"), [7, 6]),
        (ComplaintFilter(source_id="77"), [7, 6]),
        (ComplaintFilter(source_id="77", source_system="other"), []),
        (ComplaintFilter(tracking=format_tracking("PKL", 3)), [3]),
    ):
        assert [held.key for held in await store.complaints(wanted)] == [key_of(number) for number in numbers]
    assert await store.sources([("sp4n", "77"), ("sp4n", "78")]) == {("sp4n", "77"): key_of(6)}


async def test_complaints_are_chosen_by_when_they_came_in_and_when_they_changed(store: LocalStore) -> None:
    for number, day in ((1, 1), (2, 2), (3, 3)):
        await record(store, number, received_at=f"2026-02-0{day}T00:00:00.000Z")
    first_ms, day_ms = 1_769_904_000_000, 86_400_000

    async def found(**wanted: int) -> list[bytes]:
        return [held.key for held in await store.complaints(ComplaintFilter(**wanted))]  # type: ignore[arg-type]

    assert await found(received_from_ms=first_ms, received_to_ms=first_ms) == [key_of(1)]
    assert await found(received_from_ms=first_ms + 1) == [key_of(3), key_of(2)]
    assert await found(received_to_ms=first_ms + 2 * day_ms - 1) == [key_of(2), key_of(1)]
    assert await found(received_from_ms=first_ms, received_to_ms=first_ms + day_ms, limit=1) == [key_of(2)]
    assert len(await found(changed_from_ms=7)) == 3
    assert await found(changed_from_ms=8) == []


async def test_lines_of_many_complaints_are_read_at_once_each_in_its_order(store: LocalStore) -> None:
    await record(store, 1, 2)
    await record(store, 3, 1)
    numbers = {held.key: held.no for held in await store.complaints(ComplaintFilter())}
    first, third = numbers[key_of(1)], numbers[key_of(3)]
    again = (b"line 1", b"content 1")
    assert await store.lines_of([third, first, 10_000]) == {first: [again, again], third: [(b"line 3", b"content 3")]}
    assert await store.lines_of([]) == {}
    assert set(await store.lines_of(range(1, 2_000))) == set(numbers.values())


async def test_a_history_says_which_set_took_each_change_and_where_it_stands(store: LocalStore) -> None:
    await record(store, 1)
    await record(store, 2)
    await cut(store, 1, 2, changes=2)
    await store.acknowledge(receipt(1), Schedule())
    await cut(store, 2, 2, changes=0)
    await record(store, 1)
    await cut(store, 3, 3)
    await record(store, 1)
    held = await store.complaint(key_of(1))
    assert held is not None
    changes = await store.complaint_changes(held.no)
    assert [(change.no, change.seq, change.index) for change in changes] == [(1, 1, 11), (3, 3, None), (4, None, None)]


async def test_a_place_in_the_chain_is_signed_once(store: LocalStore) -> None:
    end = await store.chain_end()
    assert end == ChainEnd(0, 1, ENROLMENT, 0)
    calls: list[int] = []

    def sign(held: Cuttable) -> tuple[SignedSet, int] | None:
        if held.end != end:
            return None
        calls.append(1)
        return signed(1, 1, 0), 0

    outcomes = await asyncio.gather(*(store.cut(sign, 0) for _ in range(8)))
    assert sorted(outcome is not None for outcome in outcomes) == [False] * 7 + [True]
    assert len(calls) == 1


async def test_what_is_cut_is_what_goes_out_with_its_attempt_counted(store: LocalStore) -> None:
    await record(store, 1)
    seen: list[Cuttable] = []

    def sign(held: Cuttable) -> tuple[SignedSet, int]:
        seen.append(held)
        return signed(1, 1), 1

    cut_now = await store.cut(sign, 10, Schedule(1, 10, 10, 20))
    assert cut_now == await store.outgoing(1)
    assert cut_now is not None
    assert (cut_now.frames, cut_now.seen, cut_now.manifest) == (b"headcontents", SEEN, "jws")
    assert seen[0].lines == [(1, b"line 1", b"content 1")]
    held = await store.live_set(1)
    assert held is not None
    assert (held.attempts, (await store.outbox()).schedule) == (1, Schedule(1, 10, 10, 20))
    assert await store.outgoing(2) is None


async def test_a_failing_signature_leaves_no_set(store: LocalStore) -> None:
    def sign(_: Cuttable) -> tuple[SignedSet, int]:
        raise OSError("the key is gone")

    with pytest.raises(OSError, match="the key is gone"):
        await store.cut(sign, 0, Schedule(1, 10, 10, 20))
    assert (await store.outbox()).schedule == Schedule()
    assert await store.live_set(1) is None
    assert await cut(store, 1, 0, changes=0)


async def test_a_receipt_moves_chain_checkpoint_and_schedule_together(store: LocalStore) -> None:
    await record(store, 1)
    await cut(store, 1, 1)
    await store.record_attempt(Schedule(1, 10, 10, 20), 1)
    assert (await store.outbox()).schedule == Schedule(1, 10, 10, 20)
    newer = Seen(9, Digest(b"n" * 32), b"t" * 64, b"note 9")
    after = await store.acknowledge(receipt(1, seen=newer), Schedule(attempted_at_ms=30))
    view = await store.outbox()
    assert after == view
    held = await store.live_set(1)
    assert held is not None
    assert (held.status, held.attempts, held.index) == (SetStatus.ACKNOWLEDGED, 1, 11)
    assert (view.acknowledged_seq, view.pending_epoch, view.schedule.failures) == (1, None, 0)
    assert (await store.seen(), await store.last_receipt_at_ms()) == (newer, 5_001)
    assert await store.set_receipt(held.id) == b"receipt 1"
    assert await store.set_frames(held.id) == (b"head", b"contents")
    assert not await store.acknowledge(receipt(2), Schedule())


async def test_an_older_checkpoint_never_replaces_a_newer_one(store: LocalStore) -> None:
    await store.move_seen(Seen(3, Digest(b"o" * 32), b"o" * 64, b"note 3"))
    assert await store.seen() == SEEN


async def test_the_outbox_tells_the_newest_the_acknowledged_and_the_pending_set(store: LocalStore) -> None:
    for seq in (1, 2, 3):
        await cut(store, seq, 0, changes=0)
    await store.acknowledge(receipt(1), Schedule())
    view = await store.outbox()
    assert (view.signed_seq, view.acknowledged_seq, view.pending_epoch, view.last_signed_at_ms) == (3, 1, 1, 1_003)
    assert [held.seq for held in await store.live_sets(2, 10)] == [2, 3]
    assert await store.first_seq_at(11) == 1
    assert await store.first_seq_at(12) is None


async def test_a_halt_stays_until_it_is_cleared_and_the_first_reason_counts(store: LocalStore) -> None:
    await store.halt(Halt(HaltReason.COPY_ALIVE, "first"), 1)
    await store.halt(Halt(HaltReason.FORKED, "second"), 2)
    assert (await store.outbox()).halt == Halt(HaltReason.COPY_ALIVE, "first")
    await store.clear_halt()
    assert (await store.outbox()).halt is None


async def test_adopted_sets_stand_in_the_chain_with_their_receipts_and_bytes(store: LocalStore) -> None:
    await record(store, 1, 2, 3)
    async with store.transaction() as transaction:
        await transaction.add_adopted([])
        await transaction.add_adopted(
            [
                AdoptedSet(signed(4, 1, 2), 1, 2, receipt(1, epoch=4)),
                AdoptedSet(signed(9, 2, 0), 3, 2, receipt(2, epoch=9)),
            ]
        )
    view = await store.outbox()
    assert (view.signed_seq, view.acknowledged_seq, view.unsent, view.pending_epoch) == (2, 2, 1, None)
    assert await store.last_receipt_at_ms() == 5_002
    for seq, epoch in ((1, 4), (2, 9)):
        held = await store.live_set(seq)
        assert held is not None
        assert (held.epoch, held.status, held.index, held.attempts) == (epoch, SetStatus.ACKNOWLEDGED, 10 + seq, 0)
        assert await store.set_frames(held.id) == (b"head", b"contents")
        assert await store.set_receipt(held.id) == b"receipt %d" % seq
    with pytest.raises(Corrupt, match="signed before"):
        async with store.transaction() as transaction:
            await transaction.add_adopted([AdoptedSet(signed(9, 2), 3, 3, receipt(2, epoch=9))])


async def test_that_a_node_is_behind_is_remembered_until_it_is_not(store: LocalStore) -> None:
    assert not await store.is_behind()
    for is_behind in (True, True, False):
        await store.set_behind(is_behind=is_behind)
        assert await store.is_behind() is is_behind


async def test_sets_of_which_the_hub_lacks_lines_are_named_until_they_were_shown_often_enough(
    store: LocalStore,
) -> None:
    await record(store, 1)
    await cut(store, 1, 1)
    await store.acknowledge(receipt(1, hidden=1), Schedule())
    for _ in range(2):
        assert [held.seq for held in await store.sets_with_hidden(2, 5)] == [1]
        await store.record_attempt(Schedule(), 1, shown_again=True)
    assert await store.sets_with_hidden(2, 5) == []


async def test_retention_keeps_young_sets_the_newest_and_all_unacknowledged(store: LocalStore) -> None:
    for seq in range(1, 6):
        await cut(store, seq, 0, changes=0)
        if seq < 5:
            await store.acknowledge(receipt(seq), Schedule())
    assert await store.retire_sets(1_002, 0) == 1
    assert await store.retire_sets(9_999, 3) == 1
    assert await store.retire_sets(9_999, 0) == 2
    kept = await store.live_sets(1, 10)
    assert [held.seq for held in kept] == [1, 2, 3, 4, 5]
    assert await store.set_frames(kept[4].id) == (b"head", b"contents")
    with pytest.raises(Corrupt):
        await store.set_frames(kept[0].id)
    with pytest.raises(Corrupt):
        await store.outgoing(1)


async def keep(store: LocalStore, answer: Answer) -> None:
    await store.record(Named(), lambda _: WrittenRows(answers=[answer]))


async def test_an_answer_is_kept_and_its_key_taken_once(store: LocalStore) -> None:
    answer = Answer(b"k" * 32, b"b" * 32, b"{}", 1)
    await keep(store, answer)
    assert await store.answer(b"k" * 32) == answer
    with pytest.raises(RowConflict):
        await keep(store, answer)


async def test_recording_finds_what_is_named_and_writes_what_is_made_of_it(store: LocalStore) -> None:
    answer = Answer(b"k" * 32, b"b" * 32, b"{}", 1)
    sourced = state_of(1, source=Source("77", "sp4n"))

    def first(found: Found) -> WrittenRows:
        assert found == Found({}, {}, {}, {key_of(1): set()})
        written = WrittenComplaint(key_of(1), sourced, 7)
        return WrittenRows([written], [WrittenChange(key_of(1), b"line 1", b"content 1")], [answer])

    named = Named([key_of(1)], [answer.key, b"x" * 32], [("sp4n", "77"), ("sp4n", "78")], [key_of(1)])
    await store.record(named, first)
    found: list[Found] = []

    def look(held: Found) -> WrittenRows:
        found.append(held)
        return WrittenRows()

    await store.record(named, look)
    await store.record(Named(sources=[("sp4n", "77")]), look)
    assert found[0].complaints[key_of(1)].state == sourced
    assert (found[0].answers, found[0].sources) == ({answer.key: answer}, {("sp4n", "77"): key_of(1)})
    assert found[0].shown == {key_of(1): {leaf_hash(b"content 1")}}
    assert found[1].complaints.keys() == {key_of(1)}


async def test_attack_a_number_that_another_agency_claimed_first_is_still_that_of_our_own(store: LocalStore) -> None:
    source, found = Source("77", "sp4n"), list[Found]()
    theirs = complaint_key("35.71:01890000-0000-7000-8000-000000000001")
    async with store.transaction() as transaction:
        claimed = [
            WrittenComplaint(theirs, state_of(1, minted_by="35.71", source=source), 7),
            *(WrittenComplaint(key_of(number), state_of(number, source=source), 7) for number in (2, 3)),
        ]
        await transaction.record(claimed, [])

    def look(held: Found) -> WrittenRows:
        found.append(held)
        return WrittenRows()

    await store.record(Named(sources=[("sp4n", "77")]), look)
    assert await store.sources([("sp4n", "77")]) == found[0].sources == {("sp4n", "77"): key_of(2)}


async def test_a_judge_that_fails_leaves_nothing_and_the_next_is_heard(store: LocalStore) -> None:
    def fail(_: Found) -> WrittenRows:
        raise ZeroDivisionError

    def of_nobody(_: Found) -> WrittenRows:
        written = WrittenComplaint(key_of(1), state_of(1), 7)
        return WrittenRows([written], [WrittenChange(key_of(2), b"line of nobody", None)])

    with pytest.raises(ZeroDivisionError):
        await store.record(Named(), fail)
    with pytest.raises(RowConflict):
        await store.record(Named(), of_nobody)
    assert await store.complaint(key_of(1)) is None
    await record(store, 1)
    assert (await store.outbox()).unsent == 1


async def test_numbers_of_changes_only_grow_even_after_changes_were_taken_out(store: LocalStore) -> None:
    await record(store, 1, 2, 3)
    async with store.transaction() as transaction:
        await transaction.forget_changes(1, [key_of(1), key_of(2), key_of(3)])
        assert (await transaction.complaints([key_of(1), key_of(2), key_of(3)])).keys() == {key_of(1)}
        assert await transaction.last_no() == 3
    await record(store, 4)
    assert [number for number, _, _ in (await store.cuttable(10)).lines] == [1, 4]


async def test_a_change_of_our_chain_to_a_complaint_that_is_not_ours_is_kept(store: LocalStore) -> None:
    async with store.transaction() as transaction:
        await transaction.record([], [WrittenChange(None, b"accepted elsewhere", None)])
    assert (await store.cuttable(10)).lines == [(1, b"accepted elsewhere", None)]


async def test_enrolling_again_keeps_the_chain_and_another_agency_is_refused(store: LocalStore) -> None:
    await cut(store, 1, 0, changes=0)
    renewed = NodeIdentity(AGENCY, "hub.test", "vkey 2", Digest(b"f" * 32), 9)
    await store.enrol(renewed, [], SEEN)
    held = await store.identity()
    assert held is not None
    assert (held.enrolment, held.vkey, held.enrolled_at_ms) == (renewed.enrolment, "vkey 2", 1)
    assert (await store.chain_end()).seq == 1
    with pytest.raises(Refused, match="belongs to agency"):
        await store.enrol(NodeIdentity("35.71", "hub.test", "v", ENROLMENT, 1), [], SEEN)


async def test_statements_are_kept_in_order_of_the_log_and_gain_their_receipts(store: LocalStore) -> None:
    later = HeldStatement(5, Digest(b"5" * 32), "five")
    first = HeldStatement(0, Digest(b"0" * 32), "zero", "receipt")
    await store.add_statements([later, first])
    await store.add_statements([HeldStatement(5, Digest(b"5" * 32), "five", "receipt 5")])
    await store.add_statements([HeldStatement(0, Digest(b"0" * 32), "zero", "other")])
    assert [(held.index, held.receipt) for held in await store.statements()] == [(0, "receipt"), (5, "receipt 5")]


async def test_tokens_end_by_name(store: LocalStore) -> None:
    for number, name in enumerate(("desk", "desk", "app")):
        await store.add_token(ApiToken(bytes([number]) * 32, name, 1))
    assert await store.end_tokens("desk", 9) == 2
    assert await store.end_tokens("desk", 10) == 0
    tokens = [await store.token(bytes([number]) * 32) for number in range(3)]
    assert [token and token.ended_at_ms for token in tokens] == [9, 9, None]


async def test_what_was_set_aside_is_kept_with_its_words(store: LocalStore) -> None:
    aside = SetAside("33.75:x", "id", "bad_transition", 3, b"line", b"content")
    async with store.transaction() as transaction:
        await transaction.add_set_aside([aside])
    assert await store.set_aside() == [aside]


@pytest.mark.parametrize(
    "ask", [LocalStore.outbox, LocalStore.chain_end, LocalStore.seen], ids=["outbox", "chain end", "seen"]
)
async def test_before_the_enrolment_there_is_no_chain(
    local_opener: LocalOpener, ask: Callable[[LocalStore], object]
) -> None:
    opened = await local_opener()
    name = ask.__name__
    with pytest.raises(Corrupt, match="not enrolled"):
        await getattr(opened, name)()
    await opened.close()


async def test_two_processes_on_one_file_wait_for_each_other(local_opener: LocalOpener, store: LocalStore) -> None:
    other = await local_opener()

    async def many(one: LocalStore, first: int) -> None:
        for number in range(first, first + 20):
            await record(one, number)

    await asyncio.gather(many(store, 1), many(other, 100))
    assert (await other.outbox()).unsent == 40
    await other.close()
