"""The pusher's side of a local node's store: chain, sets, receipts, attempts (node/local/ports.py LocalStore)."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Final

from sqlalchemy import delete, func, select, update

from node.store.local_base import SET_COLUMNS, LocalBase, fetch, held_set
from node.store.local_cut import read_cuttable, read_outgoing, write_cut
from node.store.local_receipt import ACKNOWLEDGE, acknowledge_values, what_a_receipt_moves
from node.store.local_records import (
    Acknowledgement,
    ChainEnd,
    Cuttable,
    HeldSet,
    Outgoing,
    Seen,
    SetStatus,
    Signing,
)
from node.store.local_tables import ChangeRow, ChangeSetRow, NodeRow, SetFramesRow, SetReceiptRow, table_of
from node.store.local_transaction import LIVE_SET, find_chain_end, frames_gone, move_seen, not_enrolled
from sync_protocol.backoff import Schedule
from sync_protocol.halts import Halt, HaltReason
from sync_protocol.outbox import OutboxView
from sync_protocol.values import Digest

_CHANGE, _SET, _NODE = table_of(ChangeRow), table_of(ChangeSetRow), table_of(NodeRow)
_FRAMES, _RECEIPT = table_of(SetFramesRow), table_of(SetReceiptRow)
_LIVE: Final = _SET.c.status != SetStatus.WITHDRAWN
_OUTBOX: Final = """
SELECT node.epoch, node.halt_reason, node.halt_detail, (SELECT max(no) FROM change), acknowledged.seq,
    (SELECT epoch FROM change_set WHERE seq = acknowledged.seq + 1 AND status <> 2),
    newest.seq, newest.last_no, newest.at_ms, node.is_claimed, node.adopted_at_ms,
    node.failures, node.failing_since_ms, node.attempted_at_ms, node.next_attempt_at_ms
FROM node
JOIN (SELECT coalesce(max(seq), 0) AS seq FROM change_set WHERE status = 1) AS acknowledged
LEFT JOIN (SELECT seq, last_no, at_ms FROM change_set WHERE status <> 2 ORDER BY seq DESC LIMIT 1) AS newest
"""
_LIVE_SETS: Final = f"SELECT {SET_COLUMNS} FROM change_set WHERE seq >= ? AND status <> 2 ORDER BY seq LIMIT ?"  # noqa: S608 - constants
_WITH_HIDDEN: Final = (
    f"SELECT {SET_COLUMNS} FROM change_set"  # noqa: S608 - constants
    " WHERE status = 1 AND hidden > erased AND shown_again < ? ORDER BY seq LIMIT ?"
)
_SCHEDULE: Final = "failures = ?, failing_since_ms = ?, attempted_at_ms = ?, next_attempt_at_ms = ?"
_SET_SCHEDULE: Final = f"UPDATE node SET {_SCHEDULE}"  # noqa: S608 - constants
_SET_OUTCOME: Final = f"{_SET_SCHEDULE}, trouble = ?, hub_seen_at_ms = coalesce(?, hub_seen_at_ms)"
_SET_BEHIND: Final = "UPDATE node SET is_behind = ?"
_CLAIM: Final = (
    "UPDATE node SET epoch = ?, is_claimed = 1 WHERE epoch = ? AND is_claimed = 0"
    " AND NOT EXISTS (SELECT 1 FROM change_set WHERE status = 0) RETURNING id"
)
_COUNT_ATTEMPT: Final = (
    "UPDATE change_set SET attempts = attempts + 1, shown_again = shown_again + ? WHERE seq = ? AND status <> 2"
)


class LocalOutbox(LocalBase):
    """What the next step depends on, and what its outcome leaves."""

    async def outbox(self) -> OutboxView:
        return await self.plain.read(_read_outbox, small=True)

    async def claim_epoch(self, raised_from: int, epoch: int) -> bool:
        async with self.writing() as connection:
            return bool(await fetch(connection, _CLAIM, (epoch, raised_from)))

    async def chain_end(self) -> ChainEnd:
        async with self.readers.connect() as connection:
            return await find_chain_end(connection)

    async def cuttable(self, limit: int) -> Cuttable:
        return await self.plain.read(partial(read_cuttable, limit=limit))

    async def cut(
        self, sign: Signing, limit: int, attempt: Schedule | None = None, *, few: bool = False
    ) -> Outgoing | None:
        def write(connection: sqlite3.Connection) -> Outgoing | None:
            outgoing = write_cut(connection, limit, sign)
            if outgoing is not None and attempt is not None:
                _count_attempt(connection, attempt, outgoing.seq)
            return outgoing

        async with self.turn:
            return await self.plain.write(write, small=few)

    async def outgoing(self, seq: int) -> Outgoing | None:
        return await self.plain.read(partial(read_outgoing, seq=seq), small=True)

    async def live_set(self, seq: int) -> HeldSet | None:
        found = await self.fetch(LIVE_SET, seq)
        return held_set(found[0]) if found else None

    async def live_sets(self, from_seq: int, limit: int) -> list[HeldSet]:
        return [held_set(row) for row in await self.fetch(_LIVE_SETS, from_seq, limit)]

    async def first_seq_at(self, index: int) -> int | None:
        seq: int | None = await self.read_scalar(select(func.min(_SET.c.seq)).where(_SET.c.idx >= index, _LIVE))
        return seq

    async def set_frames(self, set_id: int) -> tuple[bytes, bytes]:
        found = await self.fetch("SELECT head, contents FROM set_frames WHERE set_id = ?", set_id)
        if not found:
            raise frames_gone()
        head, contents = found[0]
        return head, contents

    async def set_receipt(self, set_id: int) -> bytes | None:
        found = await self.fetch("SELECT receipt FROM set_receipt WHERE set_id = ?", set_id)
        return found[0][0] if found else None

    async def sets_with_hidden(self, shown_again_max: int, limit: int) -> list[HeldSet]:
        return [held_set(row) for row in await self.fetch(_WITH_HIDDEN, shown_again_max, limit)]

    async def record_attempt(self, schedule: Schedule, seq: int | None = None, *, shown_again: bool = False) -> None:
        async with self.turn:
            work = partial(_count_attempt, schedule=schedule, seq=seq, shown_again=shown_again)
            await self.plain.write(work, small=True)

    async def set_schedule(self, schedule: Schedule, *, trouble: str | None, hub_seen_at_ms: int | None = None) -> None:
        values = (*_schedule_values(schedule), trouble, hub_seen_at_ms)
        async with self.turn:
            await self.plain.write(lambda connection: connection.execute(_SET_OUTCOME, values), small=True)

    async def acknowledge(self, receipt: Acknowledgement, schedule: Schedule) -> OutboxView | None:
        def write(connection: sqlite3.Connection) -> OutboxView | None:
            found = connection.execute(ACKNOWLEDGE, acknowledge_values(receipt)).fetchall()
            if not found:
                return None
            for statement, values in what_a_receipt_moves(receipt, found[0][0]):
                connection.execute(statement, values)
            connection.execute(_SET_OUTCOME, (*_schedule_values(schedule), None, receipt.at_ms))
            return _read_outbox(connection)

        async with self.turn:
            return await self.plain.write(write, small=True)

    async def seen(self) -> Seen:
        found = await self.fetch("SELECT seen_size, seen_root, seen_sig, seen_note FROM node")
        if not found:
            raise not_enrolled()
        size, root, signature, note = found[0]
        return Seen(size, Digest(root), signature, note)

    async def move_seen(self, seen: Seen) -> None:
        async with self.writing() as connection:
            await move_seen(connection, seen)

    async def halt(self, halt: Halt, at_ms: int) -> None:
        values = {"halt_reason": halt.reason.value, "halt_detail": halt.detail, "halted_at_ms": at_ms}
        async with self.writing() as connection:
            await connection.execute(update(_NODE).where(_NODE.c.halt_reason.is_(None)).values(values))

    async def clear_halt(self) -> None:
        values = {"halt_reason": None, "halt_detail": None, "halted_at_ms": None, "adopted_at_ms": None}
        async with self.writing() as connection:
            await connection.execute(update(_NODE).values(values))
            await fetch(connection, _SET_OUTCOME, (*_schedule_values(Schedule()), None, None))

    async def is_behind(self) -> bool:
        return bool(await self.fetch("SELECT 1 FROM node WHERE is_behind"))

    async def set_behind(self, *, is_behind: bool) -> None:
        async with self.turn:
            await self.plain.write(lambda connection: connection.execute(_SET_BEHIND, (is_behind,)), small=True)

    async def signing_kids(self) -> set[str]:
        return {row.kid for row in await self.read_rows(select(_SET.c.kid).distinct())}

    async def retire_sets(self, before_ms: int, keep_newest: int) -> int:
        async with self.writing() as connection:
            end = await find_chain_end(connection)
            old = select(_SET.c.id).where(
                _SET.c.status != SetStatus.SIGNED, _SET.c.at_ms < before_ms, _SET.c.seq <= end.seq - keep_newest
            )
            done = await connection.execute(delete(_FRAMES).where(_FRAMES.c.set_id.in_(old)))
            await connection.execute(delete(_RECEIPT).where(_RECEIPT.c.set_id.in_(old)))
            return done.rowcount

    async def last_receipt_at_ms(self) -> int | None:
        at_ms: int | None = await self.read_scalar(select(_NODE.c.last_receipt_at_ms))
        return at_ms

    async def unacknowledged(self) -> int:
        query = select(func.sum(_SET.c.changes)).where(_SET.c.status == SetStatus.SIGNED)
        return int(await self.read_scalar(query) or 0)

    async def trouble(self) -> str | None:
        trouble: str | None = await self.read_scalar(select(_NODE.c.trouble))
        return trouble


def _read_outbox(connection: sqlite3.Connection) -> OutboxView:
    found = connection.execute(_OUTBOX).fetchone()
    if found is None:
        raise not_enrolled()
    epoch, halt_reason, halt_detail, newest_no, acknowledged_seq, pending_epoch = found[:6]
    signed_seq, last_no, signed_at_ms, is_claimed, adopted_at_ms = found[6:11]
    return OutboxView(
        epoch=epoch,
        signed_seq=signed_seq or 0,
        acknowledged_seq=acknowledged_seq,
        pending_epoch=pending_epoch,
        unsent=max((newest_no or 0) - (last_no or 0), 0),
        last_signed_at_ms=signed_at_ms,
        schedule=Schedule(*found[11:]),
        halt=Halt(HaltReason(halt_reason), halt_detail or "") if halt_reason else None,
        is_claimed=bool(is_claimed),
        adopted_at_ms=adopted_at_ms,
    )


def _count_attempt(
    connection: sqlite3.Connection, schedule: Schedule, seq: int | None, *, shown_again: bool = False
) -> None:
    connection.execute(_SET_SCHEDULE, _schedule_values(schedule))
    if seq is not None:
        connection.execute(_COUNT_ATTEMPT, (int(shown_again), seq))


def _schedule_values(schedule: Schedule) -> tuple[int | None, ...]:
    return schedule.failures, schedule.since_ms, schedule.attempted_at_ms, schedule.next_attempt_at_ms
