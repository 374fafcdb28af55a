"""The pusher's side of a local node's store: chain, sets, receipts, attempts (node/local/ports.py LocalStore)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import delete, func, select, update

from node.store.local_base import LocalBase, driver_of, held_set
from node.store.local_records import Acknowledgement, ChainEnd, HeldSet, Seen, SetStatus, SignedSet, UnsentLine
from node.store.local_tables import ChangeRow, ChangeSetRow, NodeRow, SetFramesRow, SetReceiptRow, table_of
from node.store.local_transaction import SqlLocalTransaction, find_chain_end, move_seen
from sync_protocol.backoff import Schedule
from sync_protocol.errors import Corrupt
from sync_protocol.halts import Halt, HaltReason
from sync_protocol.outbox import OutboxView
from sync_protocol.values import Digest

_CHANGE, _SET, _NODE = table_of(ChangeRow), table_of(ChangeSetRow), table_of(NodeRow)
_FRAMES, _RECEIPT = table_of(SetFramesRow), table_of(SetReceiptRow)
_LIVE: Final = _SET.c.status != SetStatus.WITHDRAWN
_UNSENT: Final = "SELECT no, line, content FROM change WHERE no > ? ORDER BY no LIMIT ?"


class LocalOutbox(LocalBase):
    """What the next step depends on, and what its outcome leaves."""

    async def outbox(self) -> OutboxView:
        async with self.readers.connect() as connection:
            end = await find_chain_end(connection)
            node = (await connection.execute(select(_NODE))).one()
            newest_no = (await connection.execute(select(func.max(_CHANGE.c.no)))).scalar() or 0
            acknowledged = select(func.max(_SET.c.seq)).where(_SET.c.status == SetStatus.ACKNOWLEDGED)
            acknowledged_seq = (await connection.execute(acknowledged)).scalar() or 0
            pending = select(_SET.c.epoch).where(_SET.c.seq == acknowledged_seq + 1, _LIVE)
            signed_at = select(_SET.c.at_ms).where(_SET.c.seq == end.seq, _LIVE)
            return OutboxView(
                epoch=node.epoch,
                signed_seq=end.seq,
                acknowledged_seq=acknowledged_seq,
                pending_epoch=(await connection.execute(pending)).scalar(),
                unsent=max(newest_no - end.last_no, 0),
                last_signed_at_ms=(await connection.execute(signed_at)).scalar(),
                schedule=_schedule(node),
                halt=Halt(HaltReason(node.halt_reason), node.halt_detail or "") if node.halt_reason else None,
            )

    async def chain_end(self) -> ChainEnd:
        async with self.readers.connect() as connection:
            return await find_chain_end(connection)

    async def unsent_lines(self, after_no: int, limit: int) -> list[UnsentLine]:
        async with self.readers.connect() as connection:
            driver = driver_of(await connection.get_raw_connection())
            return list(await driver.execute_fetchall(_UNSENT, (after_no, limit)))

    async def cut(self, end: ChainEnd, last_no: int, sign: Callable[[], SignedSet]) -> bool:
        async with self.writing() as connection:
            transaction = SqlLocalTransaction(connection)
            if await transaction.chain_end() != end:
                return False
            # A crash from here to the commit leaves nothing: what was signed never left this process.
            signed = await asyncio.to_thread(sign)
            await transaction.add_set(signed, end.last_no + 1, last_no)
            return True

    async def live_set(self, seq: int) -> HeldSet | None:
        rows = await self.read_rows(select(_SET).where(_SET.c.seq == seq, _LIVE))
        return held_set(rows[0]) if rows else None

    async def live_sets(self, from_seq: int, limit: int) -> list[HeldSet]:
        query = select(_SET).where(_SET.c.seq >= from_seq, _LIVE).order_by(_SET.c.seq).limit(limit)
        return [held_set(row) for row in await self.read_rows(query)]

    async def first_seq_at(self, index: int) -> int | None:
        seq: int | None = await self.read_scalar(select(func.min(_SET.c.seq)).where(_SET.c.idx >= index, _LIVE))
        return seq

    async def set_frames(self, set_id: int) -> tuple[bytes, bytes]:
        rows = await self.read_rows(select(_FRAMES).where(_FRAMES.c.set_id == set_id))
        if not rows:
            raise Corrupt("the bytes of a set are not kept any more", next_step="Use a copy of the hub's export.")
        return rows[0].head, rows[0].contents

    async def set_receipt(self, set_id: int) -> bytes | None:
        receipt: bytes | None = await self.read_scalar(select(_RECEIPT.c.receipt).where(_RECEIPT.c.set_id == set_id))
        return receipt

    async def sets_with_hidden(self, shown_again_max: int, limit: int) -> list[HeldSet]:
        lacking = (_SET.c.hidden > _SET.c.erased, _SET.c.shown_again < shown_again_max)
        query = select(_SET).where(_SET.c.status == SetStatus.ACKNOWLEDGED, *lacking).order_by(_SET.c.seq).limit(limit)
        return [held_set(row) for row in await self.read_rows(query)]

    async def record_attempt(self, schedule: Schedule, seq: int | None = None, *, shown_again: bool = False) -> None:
        async with self.writing() as connection:
            await connection.execute(update(_NODE).values(_schedule_columns(schedule)))
            if seq is not None:
                counted: dict[str, Any] = {"attempts": _SET.c.attempts + 1}
                if shown_again:
                    counted["shown_again"] = _SET.c.shown_again + 1
                await connection.execute(update(_SET).where(_SET.c.seq == seq, _LIVE).values(counted))

    async def set_schedule(self, schedule: Schedule, *, trouble: str | None, hub_seen_at_ms: int | None = None) -> None:
        values = {**_schedule_columns(schedule), "trouble": trouble}
        if hub_seen_at_ms is not None:
            values["hub_seen_at_ms"] = hub_seen_at_ms
        async with self.writing() as connection:
            await connection.execute(update(_NODE).values(values))

    async def acknowledge(self, receipt: Acknowledgement, schedule: Schedule) -> None:
        values = {**_schedule_columns(schedule), "trouble": None, "hub_seen_at_ms": receipt.at_ms}
        async with self.writing() as connection:
            await SqlLocalTransaction(connection).acknowledge(receipt)
            await connection.execute(update(_NODE).values(values))

    async def seen(self) -> Seen:
        rows = await self.read_rows(select(_NODE))
        if not rows:
            raise Corrupt("this node is not enrolled", next_step="Run `simpul node enrol`.")
        return Seen(rows[0].seen_size, Digest(rows[0].seen_root), rows[0].seen_sig, rows[0].seen_note)

    async def move_seen(self, seen: Seen) -> None:
        async with self.writing() as connection:
            await move_seen(connection, seen)

    async def halt(self, halt: Halt, at_ms: int) -> None:
        values = {"halt_reason": halt.reason.value, "halt_detail": halt.detail, "halted_at_ms": at_ms}
        async with self.writing() as connection:
            await connection.execute(update(_NODE).where(_NODE.c.halt_reason.is_(None)).values(values))

    async def clear_halt(self) -> None:
        values = {"halt_reason": None, "halt_detail": None, "halted_at_ms": None, "trouble": None}
        async with self.writing() as connection:
            await connection.execute(update(_NODE).values({**values, **_schedule_columns(Schedule())}))

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


def _schedule(node: Any) -> Schedule:
    return Schedule(node.failures, node.failing_since_ms, node.attempted_at_ms, node.next_attempt_at_ms)


def _schedule_columns(schedule: Schedule) -> dict[str, Any]:
    return {
        "failures": schedule.failures,
        "failing_since_ms": schedule.since_ms,
        "attempted_at_ms": schedule.attempted_at_ms,
        "next_attempt_at_ms": schedule.next_attempt_at_ms,
    }
