"""One write transaction of a local node's store (node/local/ports.py LocalTransaction)."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import delete, func, select, text, tuple_, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from node.store.local_base import driver_of, held_set, in_bunches, pack_state, unpack_state
from node.store.local_records import (
    Acknowledgement,
    Answer,
    ChainEnd,
    HeldChange,
    HeldComplaint,
    HeldSet,
    RowConflict,
    Seen,
    SetAside,
    SetStatus,
    SignedSet,
    WrittenChange,
    WrittenComplaint,
)
from node.store.local_tables import (
    AnswerRow,
    ChangeRow,
    ChangeSetRow,
    ComplaintRow,
    NodeRow,
    SetAsideRow,
    SetFramesRow,
    SetReceiptRow,
    table_of,
)
from sync_protocol.errors import Corrupt
from sync_protocol.values import Digest, parse_timestamp

_COMPLAINT, _CHANGE, _SET = table_of(ComplaintRow), table_of(ChangeRow), table_of(ChangeSetRow)
_FRAMES, _RECEIPT, _ANSWER = table_of(SetFramesRow), table_of(SetReceiptRow), table_of(AnswerRow)
_ASIDE, _NODE = table_of(SetAsideRow), table_of(NodeRow)

_LIVE: Final = _SET.c.status != SetStatus.WITHDRAWN
_UPSERT_COMPLAINT: Final = (
    "INSERT INTO complaint (key, tracking, source_system, source_id, state, rev, unit, received_at_ms,"
    " changed_at_ms, packed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
    " state = excluded.state, rev = excluded.rev, unit = excluded.unit, changed_at_ms = excluded.changed_at_ms,"
    " packed = excluded.packed"
)
_INSERT_CHANGE: Final = (
    "INSERT INTO change (complaint_no, line, content)"
    " VALUES (CASE WHEN ?1 IS NULL THEN 0 ELSE (SELECT no FROM complaint WHERE key = ?1) END, ?2, ?3)"
)
_COMPLAINTS: Final = "SELECT no, key, packed, changed_at_ms FROM complaint WHERE key IN ({})"
_ANSWERS: Final = "SELECT key, body, answer, at_ms FROM answer WHERE key IN ({})"
_INSERT_ANSWER: Final = "INSERT INTO answer (key, body, answer, at_ms) VALUES (?, ?, ?, ?)"


class SqlLocalTransaction:
    """See LocalTransaction. Lives no longer than the connection's transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def complaints(self, keys: Collection[bytes]) -> dict[bytes, HeldComplaint]:
        found: dict[bytes, HeldComplaint] = {}
        for bunch in in_bunches(keys):
            rows = await self._fetch(_COMPLAINTS, bunch)
            found.update((key, HeldComplaint(no, key, unpack_state(packed), at_ms)) for no, key, packed, at_ms in rows)
        return found

    async def sources(self, sources: Collection[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        return await find_sources(self._connection, sources)

    async def answers(self, keys: Collection[bytes]) -> dict[bytes, Answer]:
        found: dict[bytes, Answer] = {}
        for bunch in in_bunches(keys):
            found.update((row[0], Answer(*row)) for row in await self._fetch(_ANSWERS, bunch))
        return found

    async def record(
        self, complaints: Sequence[WrittenComplaint], changes: Sequence[WrittenChange], answers: Sequence[Answer] = ()
    ) -> None:
        await self._many(_UPSERT_COMPLAINT, [_complaint_row(written) for written in complaints])
        await self._many(_INSERT_CHANGE, [(change.key, change.line, change.content) for change in changes])
        await self._many(_INSERT_ANSWER, [(a.key, a.body, a.answer, a.at_ms) for a in answers])

    async def last_no(self) -> int:
        given = await self._connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = 'change'"))
        return int(given.scalar() or 0)

    async def chain_end(self, up_to_seq: int | None = None) -> ChainEnd:
        return await find_chain_end(self._connection, up_to_seq)

    async def live_set(self, seq: int) -> HeldSet | None:
        rows = await self._rows(select(_SET).where(_SET.c.seq == seq, _LIVE))
        return held_set(rows[0]) if rows else None

    async def changes(self, after_no: int) -> list[tuple[HeldChange, bytes]]:
        query = (
            select(_CHANGE.c.no, _CHANGE.c.line, _CHANGE.c.content, _COMPLAINT.c.key)
            .join(_COMPLAINT, _COMPLAINT.c.no == _CHANGE.c.complaint_no)
            .where(_CHANGE.c.no > after_no)
            .order_by(_CHANGE.c.no)
        )
        return [(HeldChange(row.no, row.line, row.content), row.key) for row in await self._rows(query)]

    async def history(self, keys: Collection[bytes], up_to_no: int) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        for bunch in in_bunches(keys):
            query = (
                select(_COMPLAINT.c.key, _CHANGE.c.line)
                .join(_COMPLAINT, _COMPLAINT.c.no == _CHANGE.c.complaint_no)
                .where(_COMPLAINT.c.key.in_(bunch), _CHANGE.c.no <= up_to_no)
                .order_by(_CHANGE.c.no)
            )
            found += [(row.key, row.line) for row in await self._rows(query)]
        return found

    async def forget_changes(self, after_no: int, complaints: Collection[bytes]) -> None:
        await self._connection.execute(delete(_CHANGE).where(_CHANGE.c.no > after_no))
        for bunch in in_bunches(complaints):
            kept = select(_CHANGE.c.complaint_no).where(_CHANGE.c.complaint_no == _COMPLAINT.c.no).exists()
            await self._connection.execute(delete(_COMPLAINT).where(_COMPLAINT.c.key.in_(bunch), ~kept))

    async def withdraw_sets(self, from_seq: int) -> int:
        done = await self._connection.execute(
            update(_SET)
            .where(_SET.c.seq >= from_seq, _SET.c.status == SetStatus.SIGNED)
            .values(status=SetStatus.WITHDRAWN)
        )
        return done.rowcount

    async def add_set(self, signed: SignedSet, first_no: int, last_no: int) -> None:
        row = {
            "epoch": signed.epoch,
            "seq": signed.seq,
            "digest": signed.digest,
            "kid": signed.kid,
            "first_no": first_no,
            "last_no": last_no,
            "changes": signed.changes,
            "size": signed.size,
            "status": SetStatus.SIGNED,
            "at_ms": signed.at_ms,
            "attempts": 0,
            "hidden": 0,
            "erased": 0,
            "shown_again": 0,
            "manifest": signed.manifest.encode("ascii"),
        }
        try:
            added = await self._connection.execute(_SET.insert().values(row).returning(_SET.c.id))
        except IntegrityError:
            raise Corrupt(
                f"a set of epoch {signed.epoch}, seq {signed.seq} was signed before",
                next_step="Nothing was signed twice. Start the node again; if this stays, run `simpul node recover`.",
            ) from None
        frames = {"set_id": added.scalar_one(), "head": signed.head_frame, "contents": signed.contents_frame}
        await self._connection.execute(_FRAMES.insert().values(frames))

    async def acknowledge(self, receipt: Acknowledgement) -> None:
        held = await self.live_set(receipt.seq)
        if held is None:
            raise Corrupt(f"a receipt for set {receipt.seq}, which is not here")
        values = {
            "status": SetStatus.ACKNOWLEDGED,
            "idx": receipt.index,
            "receipt_at_ms": receipt.at_ms,
            "hidden": receipt.hidden,
            "erased": receipt.erased,
        }
        await self._connection.execute(update(_SET).where(_SET.c.id == held.id).values(values))
        row = insert(_RECEIPT).values(set_id=held.id, receipt=receipt.receipt)
        keep_newest = row.on_conflict_do_update(index_elements=["set_id"], set_={"receipt": row.excluded.receipt})
        await self._connection.execute(keep_newest)
        await self._connection.execute(update(_NODE).values(last_receipt_at_ms=receipt.at_ms))
        if receipt.seen is not None:
            await move_seen(self._connection, receipt.seen)

    async def set_epoch(self, epoch: int) -> None:
        await self._connection.execute(update(_NODE).values(epoch=func.max(_NODE.c.epoch, epoch)))

    async def add_set_aside(self, changes: Sequence[SetAside]) -> None:
        rows = [
            {
                "at_ms": change.at_ms,
                "complaint": change.complaint,
                "change_id": change.change_id,
                "reason": change.reason,
                "line": change.line,
                "content": change.content,
            }
            for change in changes
        ]
        if rows:
            await self._connection.execute(_ASIDE.insert(), rows)

    async def _rows(self, query: Any) -> Sequence[Any]:
        return (await self._connection.execute(query)).all()

    async def _fetch(self, query: str, values: Sequence[Any]) -> list[Any]:
        """Rows for `… IN (values)`, in one call to the driver: each call costs a change of threads and back."""
        driver = driver_of(await self._connection.get_raw_connection())
        return list(await driver.execute_fetchall(query.format(", ".join("?" * len(values))), values))

    async def _many(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """The driver's bulk call, within the transaction."""
        if not rows:
            return
        driver = driver_of(await self._connection.get_raw_connection())
        try:
            await driver.executemany(statement, rows)
        except sqlite3.IntegrityError as error:
            raise RowConflict(str(error)) from None


def _complaint_row(written: WrittenComplaint) -> tuple[Any, ...]:
    state = written.state
    source = state.source
    return (
        written.key,
        state.tracking,
        source.system if source else None,
        source.id if source else None,
        int(state.state),
        state.rev,
        state.unit,
        parse_timestamp(state.received_at),
        written.changed_at_ms,
        pack_state(state),
    )


async def find_chain_end(connection: AsyncConnection, up_to_seq: int | None = None) -> ChainEnd:
    """The newest live set (of those up to a seq); before the first, the newest enrolment of this agency."""
    query = select(_SET).where(_LIVE).order_by(_SET.c.seq.desc()).limit(1)
    if up_to_seq is not None:
        query = query.where(_SET.c.seq <= up_to_seq)
    row = (await connection.execute(query)).first()
    if row is not None:
        return ChainEnd(row.seq, row.epoch, Digest(row.digest), row.last_no)
    digest = (await connection.execute(select(_NODE.c.enrolment))).scalar()
    if digest is None:
        raise Corrupt("this node is not enrolled", next_step="Run `simpul node enrol`.")
    return ChainEnd(0, 1, Digest(digest), 0)


async def find_last_sent_no(connection: AsyncConnection) -> int:
    """The last change that is in a live set, 0 before the first set."""
    query = select(_SET.c.last_no).where(_LIVE).order_by(_SET.c.seq.desc()).limit(1)
    return int((await connection.execute(query)).scalar() or 0)


async def find_sources(
    connection: AsyncConnection, sources: Collection[tuple[str, str]]
) -> dict[tuple[str, str], bytes]:
    """Key of a complaint for each (system, id) that has one; of several the first."""
    found: dict[tuple[str, str], bytes] = {}
    for bunch in in_bunches(sources):
        wanted = [(number, system) for system, number in bunch]
        query = (
            select(_COMPLAINT.c.source_system, _COMPLAINT.c.source_id, _COMPLAINT.c.key)
            .where(tuple_(_COMPLAINT.c.source_id, _COMPLAINT.c.source_system).in_(wanted))
            .order_by(_COMPLAINT.c.no.desc())
        )
        rows = (await connection.execute(query)).all()
        found.update(((row.source_system, row.source_id), row.key) for row in rows)
    return found


async def move_seen(connection: AsyncConnection, seen: Seen) -> None:
    """The checkpoint, unless a newer one is there."""
    values = {"seen_size": seen.size, "seen_root": seen.root, "seen_sig": seen.signature, "seen_note": seen.note}
    await connection.execute(update(_NODE).where(_NODE.c.seen_size <= seen.size).values(values))
