"""What LocalStore (node/local/ports.py) keeps of deadlines, on every implementation."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from node.deadlines.clocks import Clocks, Duty
from node.deadlines.slot import HOUR_MS, Due, slot_of, slots_due
from node.local.ports import LocalStore
from node.store.local_base import pack_state
from node.store.local_records import ComplaintFilter, Measured, WrittenComplaint
from node.store.local_store import SqlLocalStore
from node.store.migration import migrate
from node.store.sqlite import open_writer, sqlite_url
from sync_protocol.complaint import State
from tests.store.local_samples import key_of, state_of

CLOCKS = Clocks(verify=7)


async def write(store: LocalStore, number: int, slot: int | None, state: State = State.RECEIVED, rev: int = 1) -> None:
    written = WrittenComplaint(key_of(number), state_of(number, state=state, rev=rev), 7, CLOCKS, slot)
    async with store.transaction() as transaction:
        await transaction.record([written], [])


async def listed(store: LocalStore, wanted: ComplaintFilter) -> list[int]:
    return [held.no for held in await store.complaints(wanted)]


async def test_clocks_and_slot_come_back_with_the_complaint_and_move_with_its_state(store: LocalStore) -> None:
    await write(store, 1, 99)
    held = await store.complaint(key_of(1))
    assert held is not None
    assert (held.clocks, held.slot) == (CLOCKS, 99)
    await write(store, 1, None, rev=2)
    assert [one.no for one in await store.unmeasured(9)] == [1]
    async with store.transaction() as transaction:
        assert (await transaction.complaints([key_of(1)]))[key_of(1)].clocks == CLOCKS


async def test_what_is_due_is_listed_between_two_slots_by_slot_and_number(store: LocalStore) -> None:
    for number, hour in enumerate((50, 40, 50, 60, 98, 99), start=1):
        await write(
            store, number, slot_of(Due(hour, Duty.VERIFY), 0), State.ASSIGNED if number == 3 else State.RECEIVED
        )
    await write(store, 7, slot_of(None, 1))
    await write(store, 8, None)
    overdue, soon = (slots_due(which, 50 * HOUR_MS) for which in ("overdue", "soon"))
    assert await listed(store, ComplaintFilter(slots=overdue)) == [2, 1, 3]
    assert await listed(store, ComplaintFilter(slots=soon)) == [4, 5]
    assert await listed(store, ComplaintFilter(slots=overdue, limit=2)) == [2, 1]
    after = (slot_of(Due(50, Duty.VERIFY), 0), 1)
    assert await listed(store, ComplaintFilter(slots=overdue, after=after)) == [3]
    assert await listed(store, ComplaintFilter([State.ASSIGNED], slots=overdue)) == [3]
    assert await listed(store, ComplaintFilter()) == [8, 7, 6, 5, 4, 3, 2, 1]


async def test_only_answered_complaints_whose_duty_to_close_is_over_are_found_for_closing(store: LocalStore) -> None:
    close, verify = slot_of(Due(40, Duty.CLOSE), 0), slot_of(Due(30, Duty.VERIFY), 0)
    await write(store, 1, close, State.ANSWERED)
    await write(store, 2, close, State.ON_HOLD)
    await write(store, 3, verify, State.ANSWERED)
    await write(store, 4, slot_of(Due(41, Duty.CLOSE), 0), State.ANSWERED)
    await write(store, 5, slot_of(Due(39, Duty.CLOSE), 0), State.ANSWERED)
    last = slots_due("overdue", 40 * HOUR_MS)[1]
    assert [held.no for held in await store.closing(last, None, 9)] == [5, 1]
    assert [held.no for held in await store.closing(last, None, 1)] == [5]
    assert [held.no for held in await store.closing(last, (slot_of(Due(39, Duty.CLOSE), 0), 5), 9)] == [1]


async def test_what_was_measured_is_kept_unless_the_complaint_moved_on(store: LocalStore) -> None:
    await write(store, 1, None)
    await write(store, 2, None, rev=3)
    async with store.transaction() as transaction:
        await transaction.measure([Measured(1, 1, Clocks(settle=5), 77), Measured(2, 2, Clocks(), 78)])
    held = await store.complaint(key_of(1))
    assert held is not None
    assert (held.clocks, held.slot) == (Clocks(settle=5), 77)
    assert [one.no for one in await store.unmeasured(9)] == [2]


async def test_other_tables_make_what_is_open_unmeasured_and_the_same_tables_nothing(store: LocalStore) -> None:
    await write(store, 1, 77)
    await write(store, 2, 77, State.CLOSED)
    assert await store.measure_by(b"tables")
    assert [one.no for one in await store.unmeasured(9)] == [1]
    await write(store, 1, 78, rev=2)
    assert not await store.measure_by(b"tables")
    assert await store.unmeasured(9) == []
    assert await store.measure_by(b"others")


async def test_complaints_of_an_earlier_schema_are_unmeasured_when_it_is_opened(tmp_path: Path) -> None:
    place = tmp_path / "local.db"
    writer = open_writer(sqlite_url(place), durability="FULL")
    await migrate(writer, "local", "0003")
    async with writer.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO complaint (key, tracking, state, rev, received_at_ms, changed_at_ms, packed)"
                " VALUES (:key, 'PKL', 1, 1, 0, 0, :packed)"
            ),
            {"key": key_of(1), "packed": pack_state(state_of(1))},
        )
    await writer.dispose()
    store = await SqlLocalStore.open(place)
    try:
        (held,) = await store.unmeasured(9)
        assert (held.key, held.clocks, held.slot) == (key_of(1), None, None)
    finally:
        await store.close()


async def test_lists_of_what_is_due_walk_the_index_alone(tmp_path: Path) -> None:
    store = await SqlLocalStore.create(tmp_path / "local.db")
    try:
        async with store.readers.connect() as connection:
            rows = await connection.execute(
                text(
                    "EXPLAIN QUERY PLAN SELECT * FROM complaint WHERE slot < 33554432 AND (slot, no) > (1, 1)"
                    " AND slot <= 9 ORDER BY slot, no LIMIT 5"
                )
            )
            plan = [row[3] for row in rows.all()]
    finally:
        await store.close()
    assert plan == ["SEARCH complaint USING INDEX complaint_by_due (slot>? AND slot<?)"]
